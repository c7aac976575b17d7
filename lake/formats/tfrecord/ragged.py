"""One feature of many records."""

from typing import NamedTuple

import numpy as np

from lake.core.records import Array

BYTES, FLOAT, INT64 = "bytes", "float", "int64"  # the kinds of a feature, named after the lists of tf.train.Feature


class Ragged(NamedTuple):
    """One feature of a batch of ``n`` records: the values of record ``i`` are ``values[splits[i]:splits[i + 1]]``.

    Attributes:
      values: object (bytes), float32 or int64.
      splits: int32 ``[n + 1]``.
    """

    values: Array
    splits: Array

    @property
    def counts(self) -> Array:
        """Number of values of each record, ``[n]``; 0 if the feature is missing or empty."""
        return np.diff(self.splits)
