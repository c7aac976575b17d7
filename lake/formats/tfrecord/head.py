"""About how many records a TFRecord shard has, told from its first bytes."""

from lake.formats.tfrecord.lengths import FRAME, HEADER, record_length

_ENOUGH = 200  # records that are looked at


def about_records_in(head: bytes, size: int) -> float | None:
    """About how many records a shard has, if they go on as they begin; None if the bytes do not tell it.

    Args:
      head: its first bytes.
      size: bytes of all of it.

    >>> from lake.formats.tfrecord.framing import framed
    >>> about_records_in(framed([b"abc"] * 10), 19_000)
    1000.0
    >>> about_records_in(b"no record", 19_000) is None
    True
    """
    at = count = 0
    while count < _ENOUGH and (length := record_length(head[at : at + HEADER])) is not None:
        at, count = at + FRAME + length, count + 1
    return size * count / at if count else None
