"""The long forms of tests, which take an hour: ``python -m tests.torture``, ``python -m tests.torture.fuzz``."""
