"""The length of a record in a TFRecord shard, and how checksums are stored; ``framing`` describes the format."""

from functools import lru_cache
from struct import unpack

import google_crc32c
import numpy as np

HEADER = 12  # bytes of the length and its checksum
FOOTER = 4  # bytes of the data's checksum
FRAME = HEADER + FOOTER  # bytes of a record besides its data
MASK = 0xA282EAD8  # the masked checksum of no data


# Most shards have few different lengths, so each header's checksum is computed once.
@lru_cache(maxsize=1 << 14)
def record_length(header: bytes) -> int | None:
    """The length in a record's header; None if the header is short or its checksum does not match.

    Args:
      header: the first 12 bytes of a record.
    """
    if len(header) < HEADER:
        return None
    length, crc = unpack("<QI", header)
    return int(length) if masked(np.uint32(google_crc32c.value(header[:8]))) == crc else None


def begins(head: bytes) -> bool:
    """Whether a plain shard may begin so."""
    return record_length(head[:HEADER]) is not None


def masked(crc: np.ndarray | np.uint32) -> np.ndarray:
    """CRC-32C as the format stores it, uint32 of the same shape.

    Args:
      crc: of some data, or of several.
    """
    # The checksum is rotated by 15 bits and a constant is added, so that the CRC of data that contains CRCs is still
    # useful.
    with np.errstate(over="ignore"):
        return np.asarray((crc >> np.uint32(15) | crc << np.uint32(17)) + np.uint32(MASK))
