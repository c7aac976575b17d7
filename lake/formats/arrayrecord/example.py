"""One record of latents, for who looks at records themselves."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lake.core.records import Array
from lake.formats.arrayrecord.names import SHAPE, TYPE, feature
from lake.formats.common.vector_storage import FIRST, VECTOR_TYPES, VectorStorage
from lake.formats.tfrecord.example import features
from lake.formats.tfrecord.ragged import BYTES, FLOAT, INT64


@dataclass(frozen=True, slots=True)
class LatentExample:
    """A parsed record that ``ArrayRecordWriter`` wrote.

    Attributes:
      features: kind and values of each, by name.
    """

    features: Mapping[str, tuple[str, Sequence[Any]]]

    @classmethod
    def of(cls, record: bytes) -> "LatentExample":
        """Parse a record.

        Args:
          record: a serialized tf.train.Example.

        Raises:
          ValueError: it is none.
        """
        if (found := features(record)) is None:
            raise ValueError("a record is not a tf.train.Example")
        return cls(found)

    def text(self, name: str) -> str:
        """The text in a feature.

        Args:
          name: of the feature.

        Raises:
          ValueError: there is none.
        """
        value: bytes = self._value(name, BYTES)
        return value.decode(errors="replace")

    def number(self, name: str) -> int:
        """The integer in a feature. Arguments and errors are as of ``text``."""
        value: int = self._value(name, INT64)
        return value

    def arrays(self) -> Iterator[Array]:
        """The numbers of each latent, as they are stored.

        Raises:
          ValueError: they are of no known type.
        """
        dtype = stored_dtype(self.text(feature(FIRST, TYPE)))
        for name, (kind, values) in self.features.items():
            if feature(name, SHAPE) in self.features:
                yield np.array(values, np.float32) if kind == FLOAT else np.frombuffer(values[0], dtype)

    def _value(self, name: str, kind: str) -> Any:
        found, values = self.features.get(name, ("", ()))
        if found != kind:
            raise ValueError(f"a record has no {kind} in a feature {name!r}")
        return values[0]


def stored_dtype(kind: str) -> np.dtype:
    """The type of one stored number, in bytes.

    Args:
      kind: of latents, one of ``VECTOR_TYPES``.

    Raises:
      ValueError: it is none of these.

    >>> stored_dtype("bfloat16").itemsize
    2
    """
    if kind not in VECTOR_TYPES:
        raise ValueError(f"latents of the type {kind[:20]!r}")
    found: np.dtype = np.dtype(VectorStorage(type=kind).element.to_pandas_dtype()).newbyteorder("<")
    return found
