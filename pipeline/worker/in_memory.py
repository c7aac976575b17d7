"""Encode images that are in memory already, without shards and output files. ``EncodeImages`` is built on it."""

from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa

from lake.core.records import (
    NON_FINITE,
    Array,
    Fault,
    Reason,
    Records,
    Stage,
)
from lake.images.sized_decoder import SizedDecoder
from lake.images.types import Group, ImageError, Target
from model.runtime.batching import Failed
from model.runtime.runtime import Runtime
from model.spatial import SpatialAutoencoder
from pipeline.worker.process import Worker
from pipeline.worker.verbs.many_sizes import too_large
from pipeline.worker.verbs.verb import model_faults

Item = tuple[Any, bytes | Array]

_MOST_BYTES = 1 << 30  # of one file, and of the files or arrays of one batch; a column of Arrow ends at 2 GiB


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectedItem:
    """A record without a latent.

    Attributes:
      key: the record's key; None for an item that is no pair of a key and an image.
      image: the image as it was passed in; such an item as a whole.
      stage: the stage that rejected it.
      reason: one of the documented reasons.
      detail: what is wrong, in words.
    """

    key: Any
    image: Any
    stage: Stage
    reason: Reason
    detail: str


def encode_items(items: Sequence[Item], worker: Worker) -> Iterator[tuple[Any, Array] | RejectedItem]:
    """Encode images, each by itself: a bad one is rejected and the others are not affected.

    Args:
      items: ``(key, image)``; an image is an encoded image file, or an array: pixels ``[H, W, C]`` or a vector ``[d]``
        of dtype uint8, uint16 or float32. Whatever else an item is, it is rejected.
      worker: the model and the decoder.

    Yields:
      For every item ``(key, latent)``, the latent float32 ``[D]``, of a model of any size ``[h, w, c]``, or a
      ``RejectedItem``. Items come out grouped by kind (files, arrays of one shape and dtype), not in the order of the
      input.
    """
    kinds: dict[Hashable, dict[int, bytes | Array]] = defaultdict(dict)
    for position, item in enumerate(items):
        try:
            image = _image(item, worker.target)
        except ImageError as error:
            yield _rejected(item, error.fault())
        else:
            kinds["file" if isinstance(image, bytes) else (image.shape, image.dtype)][position] = image
    for kind, images in kinds.items():
        for positions, records in _batches(images, files=kind == "file"):
            for position, outcome in (_of_any_size if worker.target.any_size else _outcomes)(records, worker):
                item = items[positions[position]]
                yield _rejected(item, outcome) if isinstance(outcome, Fault) else (item[0], outcome)


def _image(item: Any, target: Target) -> bytes | Array:
    """The image of an item, as a file or as an array in this machine's byte order.

    Raises:
      ImageError: the item holds none.
    """
    if not _is_pair(item):
        raise ImageError(Reason.INVALID_RECORD, f"{_a(item)} is no pair of a key and an image", Stage.READ)
    image = item[1]
    if image is None:
        raise ImageError(Reason.MISSING_IMAGE, "no image")
    if isinstance(image, (bytes, bytearray, memoryview)):
        return _file(image)
    if not isinstance(image, np.ndarray) or isinstance(image, np.ma.MaskedArray):
        raise ImageError(Reason.WRONG_TYPE, f"{_a(image)} is neither an image file in bytes nor an array of numbers")
    return _array(np.asarray(image), target)


def _file(image: bytes | bytearray | memoryview) -> bytes:
    if (size := memoryview(image).nbytes) > _MOST_BYTES:
        raise ImageError(Reason.RECORD_TOO_LARGE, f"{size} bytes, more than {_MOST_BYTES}")
    return bytes(image)


def _array(image: Array, target: Target) -> Array:
    kind = image.dtype
    # Numbers of any kind can be a vector's. Integers as pixels do not say what white is.
    if not (kind.kind == "f" or kind.type in (np.uint8, np.uint16) or (len(target.shape) == 1 and kind.kind in "iub")):
        raise ImageError(Reason.WRONG_TYPE, f"an array of {kind}; give uint8, uint16 or float32")
    if not image.size:
        raise ImageError(Reason.EMPTY_IMAGE, f"an array of shape {image.shape}")
    if image.size > 4 * target.max_pixels:  # channels
        raise ImageError(
            Reason.TOO_MANY_PIXELS, f"an array of shape {image.shape}, more than {target.max_pixels} pixels"
        )
    return image.astype(kind.newbyteorder("="), copy=False)


def _is_pair(item: Any) -> bool:
    return isinstance(item, (tuple, list)) and len(item) == 2


def _a(value: Any) -> str:
    return f"a value of type {type(value).__name__}"


def _rejected(item: Any, fault: Fault) -> RejectedItem:
    key, image = item if _is_pair(item) else (None, item)
    return RejectedItem(key=key, image=image, stage=fault.stage, reason=fault.reason, detail=fault.detail)


def _batches(images: Mapping[int, bytes | Array], *, files: bool) -> Iterator[tuple[list[int], Records]]:
    """Make batches of images of one kind, each with the positions of its items."""
    for positions in _bounded(
        {p: len(image) if isinstance(image, bytes) else image.nbytes for p, image in images.items()}
    ):
        chosen = [images[position] for position in positions]
        payload = pa.array(chosen, pa.binary()) if files else np.stack(chosen)
        # The caller's keys may be of any type. They stay outside the batch and are matched by position.
        key = pa.repeat("", len(positions))
        yield positions, Records(shard="", index=np.arange(len(positions)), key=key, payload=payload, carried={})


def _bounded(sizes: Mapping[int, int]) -> Iterator[list[int]]:
    """Divide positions into groups of at most ``_MOST_BYTES``, or of one."""
    group, total = list[int](), 0
    for position, size in sizes.items():
        if group and total + size > _MOST_BYTES:
            yield group
            group, total = [], 0
        group.append(position)
        total += size
    yield group


def _outcomes(records: Records, worker: Worker) -> Iterator[tuple[int, Array | Fault]]:
    decoded = worker.decoder.decode(records)
    yield from decoded.faults.items()
    for group in decoded.groups:
        failed: Failed = {}
        yield from _latents(group, worker.runtime.encode(group.pixels, failed), failed)


def _of_any_size(records: Records, worker: Worker) -> Iterator[tuple[int, Array | Fault]]:
    model, faults = _spatial(worker.runtime), dict[int, Fault]()
    for group in SizedDecoder(worker.target).groups(records, faults):
        if not model.takes(*group.pixels.shape[1:3]):
            faults.update(dict.fromkeys(group.positions.tolist(), too_large(*group.pixels.shape[1:3])))
            continue
        failed: Failed = {}
        yield from _latents(group, model.encode(group.pixels, failed), failed)
    yield from faults.items()


def _latents(group: Group, latents: Array, failed: Failed) -> Iterator[tuple[int, Array | Fault]]:
    finite: Array = np.isfinite(latents).all(axis=tuple(range(1, latents.ndim)))
    faults = dict.fromkeys(group.positions[~finite].tolist(), NON_FINITE)
    faults |= model_faults(group.positions, failed)
    for position, latent in zip(group.positions.tolist(), latents, strict=True):
        yield position, faults.get(position, latent)


@cache
def _spatial(runtime: Runtime) -> SpatialAutoencoder:
    return SpatialAutoencoder(runtime)
