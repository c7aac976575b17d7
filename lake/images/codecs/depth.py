"""Samples of other numbers of bits as pixels of 8 or 16."""

import numpy as np

from lake.core.records import Array


def at_full_scale(samples: Array, bits: int) -> Array:
    """Integers whose white is the largest number of their type, as PNG brings samples to its depths (section 13.12).

    Args:
      samples: uint8 or uint16, from 0 to 2^bits - 1; others come back as they are.
      bits: of a sample, at most those of the type.

    Returns:
      The nearest integers to the same fractions of 255 or 65,535.

    >>> at_full_scale(np.array([0, 1, 512, 1023], np.uint16), 10).tolist()
    [0, 64, 32800, 65535]
    """
    if samples.dtype not in (np.uint8, np.uint16) or bits == 8 * samples.dtype.itemsize:
        return samples
    white, most = np.iinfo(samples.dtype).max, (1 << bits) - 1
    scaled: Array = (np.minimum(samples, most).astype(np.uint32) * white + most // 2) // most
    return scaled.astype(samples.dtype)
