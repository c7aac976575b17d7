"""A shard of MDS: the number of samples, where each begins, the columns as JSON, and the samples."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from lake.core.records import Array
from lake.formats.common.array_rows import exactly
from lake.formats.mds.encodings import size_of
from lake.formats.mds.latents import DESCRIPTION_FIELD

_LONGEST = 64 << 20  # most bytes of the description, which may have a scale for each number of a latent
_MOST = 1 << 26  # most samples
_WORD = np.dtype("<u4")


@dataclass(frozen=True, slots=True, kw_only=True)
class MdsHead:
    """What a shard says of its samples.

    Attributes:
      encodings: of each column, by its name, in their order.
      sizes: bytes of a value of each column; None where they differ.
      offsets: where each sample begins, uint32 ``[n + 1]``, and where the last one ends.
      metadata: what the shard says about itself, if ``MdsWriter`` wrote it.
    """

    encodings: Mapping[str, str]
    sizes: Sequence[int | None]
    offsets: Array
    metadata: Mapping[str, Any]

    def values(self, data: bytes) -> dict[str, bytes]:
        """The values of a sample, by column.

        Args:
          data: of the sample.

        Raises:
          ValueError: it is damaged.
        """
        count = sum(size is None for size in self.sizes)
        told = iter(np.frombuffer(data, _WORD, count).tolist())  # raises a ValueError if there are fewer bytes
        at, found = count * _WORD.itemsize, dict[str, bytes]()
        for name, fixed in zip(self.encodings, self.sizes, strict=True):
            size = next(told) if fixed is None else fixed
            found[name] = data[at : at + size]
            at += size
        if at != len(data):
            raise ValueError(f"{len(data)} bytes where its sizes announce {at}")
        return found


def read_head(stream: BinaryIO, size: int) -> MdsHead:
    """Read the head of a shard. The stream is left at the first sample.

    Args:
      stream: at the start of the shard.
      size: bytes of the shard.

    Raises:
      ValueError: this is no shard of MDS, or a damaged one.
      EOFError: the shard ends within its head.
    """
    count = int(np.frombuffer(exactly(stream, _WORD.itemsize, "the head"), _WORD)[0])
    begin = _WORD.itemsize * (count + 2)
    if count > _MOST or begin > size:
        raise ValueError(f"{count} samples in {size} bytes")
    offsets = np.frombuffer(exactly(stream, begin - _WORD.itemsize, "the head"), _WORD).astype(np.int64)
    if offsets[0] < begin or (np.diff(offsets) < 0).any() or offsets[-1] != size:
        raise ValueError(f"its samples do not follow each other up to its end at byte {size}")
    if offsets[0] - begin > _LONGEST:
        raise ValueError(f"a description of {offsets[0] - begin} bytes")
    return _described(exactly(stream, int(offsets[0]) - begin, "the head"), offsets)


def _described(text: bytes, offsets: Array) -> MdsHead:
    try:
        said = json.loads(text)
        names, encodings, sizes = (said[f"column_{field}"] for field in ("names", "encodings", "sizes"))
        if not all(isinstance(value, str) for value in (*names, *encodings)) or len({*names}) != len(encodings):
            raise ValueError("its columns have no names and encodings")
        if len(sizes) != len(names) or not all(size is None or (type(size) is int and size >= 0) for size in sizes):
            raise ValueError("its columns have no sizes")
        for encoding in encodings:
            size_of(encoding)  # raises a ValueError for an array of no type
        metadata = said.get(DESCRIPTION_FIELD)
    except (TypeError, LookupError, AttributeError, RecursionError) as error:
        raise ValueError(f"its description is damaged: {type(error).__name__}") from error
    return MdsHead(
        encodings=dict(zip(names, encodings, strict=True)),
        sizes=[size or None for size in sizes],  # as in MDSReader: what has no size of its own says it
        offsets=offsets,
        metadata=metadata if isinstance(metadata, dict) else {},
    )
