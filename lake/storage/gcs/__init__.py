"""Google Cloud Storage, ``gs://``."""
