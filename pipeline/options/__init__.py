"""The options of every command: one dataclass (``job_options``) and one table of command-line flags (``flags``)."""
