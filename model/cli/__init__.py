"""The command line of models: ``train``, ``export`` and ``check``."""
