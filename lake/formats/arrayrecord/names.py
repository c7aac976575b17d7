"""Names of the files of latents in ArrayRecord, and of what their records say of a latent."""

RECORDS_SUFFIX = ".arrayrecord"
SUFFIXES = (RECORDS_SUFFIX, ".array_record")  # as array_record's own pipelines and as TFDS name them
SHAPE, TYPE = "shape", "type"  # what records say of a latent, among others
DESCRIPTION_SUFFIX = ".json"  # of the file beside one, with what it says about itself


def description_of(path: str) -> str:
    """The name of the file that describes one of records.

    Args:
      path: of the records, or its URI.

    >>> description_of("latents/a/train-0.arrayrecord")
    'latents/a/train-0.json'
    """
    suffix = next((suffix for suffix in SUFFIXES if path.lower().endswith(suffix)), "")
    return path[: len(path) - len(suffix)] + DESCRIPTION_SUFFIX


def feature(column: str, what: str) -> str:
    """The feature that says something of the latents of a column.

    Args:
      column: of latents.
      what: is said.

    >>> feature("latent", "shape")
    'latent/shape'
    """
    return f"{column}/{what}"
