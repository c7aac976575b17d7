"""Who may write to an output: the lease of a run, its heartbeat, and how a run is stopped."""
