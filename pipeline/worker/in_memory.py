"""Encode images that are in memory already, without shards and output files. ``EncodeImages`` is built on it."""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
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
from pipeline.options.latent_form import LatentForm
from pipeline.worker.conditions import condition_fault, conditions_of, with_conditions
from pipeline.worker.make_latents import LatentMaker
from pipeline.worker.process import Worker
from pipeline.worker.verbs.many_sizes import too_large
from pipeline.worker.verbs.verb import model_faults

Item = tuple[Any, ...]  # key and image, and of a conditional model its condition

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


def encode_items(
    items: Sequence[Item],
    worker: Worker,
    form: LatentForm | None = None,
    on_clipped: Callable[[int], None] = lambda _: None,
) -> Iterator[tuple[Any, Array] | RejectedItem]:
    """Encode images, each by itself: a bad one is rejected and the others are not affected.

    Args:
      items: ``(key, image)``; an image is an encoded image file, or an array: pixels ``[H, W, C]`` or a vector ``[d]``
        of dtype uint8, uint16 or float32. With a conditional model ``(key, image, condition)``: a class, or a list or
        array of numbers. Whatever else an item is, it is rejected.
      worker: the model and the decoder.
      form: how latents are made and stored; None for the usual. A sample's noise is that of the shard job where the key
        is ``(shard, index)``; else it follows from the key, a text or a number.
      on_clipped: is told how many numbers were clipped to the range of their type.

    Yields:
      For every item ``(key, latent)``, the latent float32 ``[D]``, of a model of any size ``[h, w, c]``, or in the
      numbers that a table would have, or a ``RejectedItem``. Items come out grouped by kind (files, arrays of one shape
      and dtype), not in the order of the input.
    """
    form = form or LatentForm()
    encoder = _Encoder(worker, form, on_clipped)
    kinds: dict[Hashable, dict[int, bytes | Array]] = defaultdict(dict)
    for position, item in enumerate(items):
        try:
            image = _image(item, worker)
            if form.seed is not None:
                _identity(item[0])
        except ImageError as error:
            yield _rejected(item, error.fault(), worker)
        else:
            kinds["file" if isinstance(image, bytes) else (image.shape, image.dtype)][position] = image
    for kind, images in kinds.items():
        for batch in _batches(items, images, files=kind == "file", sampled=form.seed is not None):
            for position, outcome in encoder.outcomes(batch):
                item = batch.items[position]
                yield _rejected(item, outcome, worker) if isinstance(outcome, Fault) else (item[0], outcome)


def _image(item: Any, worker: Worker) -> bytes | Array:
    """The image of an item, as a file or as an array in this machine's byte order.

    Raises:
      ImageError: the item holds none.
    """
    if not _is_item(item, worker):
        told = worker.runtime.spec.input.condition is not None
        what = "no key, image and condition, in this order" if told else "no pair of a key and an image"
        raise ImageError(Reason.INVALID_RECORD, f"{_a(item)} is {what}", Stage.READ)
    image = item[1]
    if image is None:
        raise ImageError(Reason.MISSING_IMAGE, "no image")
    if isinstance(image, (bytes, bytearray, memoryview)):
        return _file(image)
    if not isinstance(image, np.ndarray) or isinstance(image, np.ma.MaskedArray):
        raise ImageError(Reason.WRONG_TYPE, f"{_a(image)} is neither an image file in bytes nor an array of numbers")
    return _array(np.asarray(image), worker.target)


def _identity(key: Any) -> tuple[str, int]:
    """The shard and the index by which a sample's noise is told.

    Raises:
      ImageError: the key tells none.
    """
    with suppress(ValueError):  # half a character has no UTF-8, and a number of thousands of digits no text
        if isinstance(key, tuple) and [type(part) for part in key] == [str, int] and key[1] >= 0:
            key[0].encode()
            return key[0], key[1]
        if isinstance(key, (str, int)):
            str(key).encode()
            return str(key), 0
    detail = f"a key of type {type(key).__name__}; of a sample it is text in UTF-8, a number, or (shard, index)"
    raise ImageError(Reason.INVALID_RECORD, detail, Stage.READ)


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


def _is_item(item: Any, worker: Worker) -> bool:
    """Whether it is a tuple of as many parts as the model needs."""
    parts = 2 if worker.runtime.spec.input.condition is None else 3
    return isinstance(item, (tuple, list)) and len(item) == parts


def _a(value: Any) -> str:
    return f"a value of type {type(value).__name__}"


def _rejected(item: Any, fault: Fault, worker: Worker) -> RejectedItem:
    # Of what is no item the whole is kept.
    key, image = item[:2] if _is_item(item, worker) else (None, item)
    return RejectedItem(key=key, image=image, stage=fault.stage, reason=fault.reason, detail=fault.detail)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Batch:
    """Items of one kind.

    Attributes:
      items: as they were passed in.
      records: their images.
    """

    items: Sequence[Item]
    records: Records


def _batches(
    items: Sequence[Item], images: Mapping[int, bytes | Array], *, files: bool, sampled: bool
) -> Iterator[_Batch]:
    """Make batches of images of one kind."""
    for positions in _bounded(
        {p: len(image) if isinstance(image, bytes) else image.nbytes for p, image in images.items()}
    ):
        chosen = [images[position] for position in positions]
        payload = pa.array(chosen, pa.binary()) if files else np.stack(chosen)
        # The caller's keys may be of any type. They stay outside the batch and are matched by position.
        key, chosen_items = pa.repeat("", len(positions)), [items[position] for position in positions]
        records = Records(shard="", index=np.arange(len(positions)), key=key, payload=payload, carried={})
        if sampled:
            shards, numbers = zip(*(_identity(item[0]) for item in chosen_items), strict=True)
            records = replace(records, shard=shards, index=np.array(numbers))
        yield _Batch(items=chosen_items, records=records)


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


class _Encoder:
    """Encodes batches of images."""

    def __init__(self, worker: Worker, form: LatentForm, on_clipped: Callable[[int], None]) -> None:
        self._worker, self._storage, self._on_clipped = worker, form.storage, on_clipped
        self._condition = worker.runtime.spec.input.condition
        self._spatial = _spatial(worker.runtime) if worker.target.any_size else None
        # A latent is all that there is of a record, so there is none of its mirror image.
        own = replace(form, flip=False)
        self._maker = LatentMaker(self._spatial or worker.runtime, own, variance=False)

    def outcomes(self, batch: _Batch) -> Iterator[tuple[int, Array | Fault]]:
        """The latent or the fault of each item, with its position in the batch."""
        faults = dict[int, Fault]()
        told = self._told(batch, faults)
        for group in with_conditions(self._groups(batch.records, faults), told, faults):
            yield from self._latents(group, batch.records, told)
        yield from faults.items()

    def _told(self, batch: _Batch, faults: dict[int, Fault]) -> Array | None:
        if self._condition is None:
            return None
        told, wrong = conditions_of([item[2] for item in batch.items], self._condition)
        faults |= {position: condition_fault(f"the condition is {what}") for position, what in wrong.items()}
        return told

    def _groups(self, records: Records, faults: dict[int, Fault]) -> Iterator[Group]:
        if self._spatial is None:
            decoded = self._worker.decoder.decode(records)
            faults |= decoded.faults
            yield from decoded.groups
            return
        for group in SizedDecoder(self._worker.target).groups(records, faults):
            if self._spatial.takes(*group.pixels.shape[1:3]):
                yield group
            else:
                faults.update(dict.fromkeys(group.positions.tolist(), too_large(*group.pixels.shape[1:3])))

    def _latents(self, group: Group, records: Records, told: Array | None) -> Iterator[tuple[int, Array | Fault]]:
        failed: Failed = {}
        (latents,) = self._maker.columns(group, records, failed, told)
        finite: Array = np.isfinite(latents).all(axis=tuple(range(1, latents.ndim)))
        faults = dict.fromkeys(group.positions[~finite].tolist(), NON_FINITE)
        faults |= model_faults(group.positions, failed)
        stored, clipped = self._storage.pack(latents[finite])
        self._on_clipped(clipped)
        yield from faults.items()
        yield from zip(group.positions[finite].tolist(), stored, strict=True)


@cache
def _spatial(runtime: Runtime) -> SpatialAutoencoder:
    return SpatialAutoencoder(runtime)
