"""Object stores as processes of this machine, and a proxy in front of them that injects faults."""
