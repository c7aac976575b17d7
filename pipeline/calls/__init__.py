"""Jobs that are called from Python: each runs in a process of its own, whatever the caller has loaded."""
