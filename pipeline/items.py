"""The model over records of somebody's own: encoded images or arrays in memory, without shards and files."""

from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from model.calls import Failed
from pipeline.images.base import Decoded
from pipeline.records import NON_FINITE, Array, Fault, Reason, Records, Stage
from pipeline.verbs.base import model_faults
from pipeline.worker import Worker

Item = tuple[Any, bytes | Array]


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectedItem:
    """A record that gave no latent, with its key and the image as it came."""

    key: Any
    image: bytes | Array
    stage: Stage
    reason: Reason
    detail: str


def encode_items(items: Sequence[Item], worker: Worker) -> Iterator[tuple[Any, Array] | RejectedItem]:
    """Latents float32 ``[D]`` by key, and rejects; one for every item, those of one kind of image in order.

    Args:
      items: key and image: an encoded image file, or pixels ``[H, W, C]`` or a vector ``[d]`` (uint8, uint16, float32).
      worker: the model and the decoder.
    """
    for positions, records in _columns([image for _, image in items]):
        decoded = worker.decoder.decode(records)
        for position, outcome in _outcomes(decoded, worker):
            key, image = items[positions[position]]
            if isinstance(outcome, Fault):
                yield RejectedItem(
                    key=key, image=image, stage=outcome.stage, reason=outcome.reason, detail=outcome.detail
                )
            else:
                yield key, outcome


def _columns(images: Sequence[bytes | Array]) -> Iterator[tuple[list[int], Records]]:
    """Images of one kind together: files, and arrays by shape and dtype."""
    kinds: dict[Hashable, list[int]] = defaultdict(list)
    for position, image in enumerate(images):
        kinds["file" if isinstance(image, bytes) else (image.shape, image.dtype.str)].append(position)
    for kind, positions in kinds.items():
        chosen = [images[position] for position in positions]
        payload = pa.array(chosen, pa.binary()) if kind == "file" else np.stack(chosen)
        key = pa.repeat("", len(positions))
        yield positions, Records(shard="", index=np.arange(len(positions)), key=key, payload=payload, carried={})


def _outcomes(decoded: Decoded, worker: Worker) -> Iterator[tuple[int, Array | Fault]]:
    yield from decoded.faults.items()
    for group in decoded.groups:
        failed: Failed = {}
        latents = worker.runtime.encode(group.pixels, failed)
        finite: Array = np.logical_and.reduce(np.isfinite(latents), axis=1)
        faults = dict.fromkeys(group.positions[~finite].tolist(), NON_FINITE)
        faults |= model_faults(group.positions, failed)
        for position, latent in zip(group.positions.tolist(), latents, strict=True):
            yield position, faults.get(position, latent)
