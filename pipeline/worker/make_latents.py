"""Latents as a job writes them: means that a model gives, or samples, pooled, of unit length, of mirrored images."""

import hashlib
import math
from collections.abc import Iterable, Mapping

import numpy as np

from lake.core.records import Array, Records
from lake.images.types import Group
from model.runtime.batching import Failed
from model.runtime.runtime import Runtime
from model.spatial import SpatialAutoencoder
from pipeline.options.latent_form import LatentForm
from pipeline.worker.conditions import told_of


class LatentMaker:
    """Makes the columns of latents of a job. Thread-safe.

    Args:
      runtime: the model.
      form: how latents are made.
      variance: whether there is a column of variances.
    """

    def __init__(self, runtime: Runtime | SpatialAutoencoder, form: LatentForm, *, variance: bool) -> None:
        self._runtime, self._form, self._variance = runtime, form, variance
        self._forms = [form, *(form.alone(one) for one in form.further)]

    def columns(self, group: Group, records: Records, failed: Failed, told: Array | None = None) -> list[Array]:
        """The latents of some records, then those of the mirrored images, then the variances, as far as there are any.

        Further latents follow, each with those of the mirrored images.

        Args:
          group: pixels of the records.
          records: the batch that they are of.
          failed: receives the rows for which the model raises an error.
          told: what a conditional model is told of all records of the batch; None for another model.

        Returns:
          float32 ``[m, D]`` each; ``[m, h, w, c]`` of a model of any size.
        """
        given = told_of(told, group.positions)
        latents, variance = self._of(group.pixels, group, records, failed, given, flipped=False)
        columns = [[one] for one in latents]
        if self._form.flip:
            mirrored = np.ascontiguousarray(group.pixels[:, :, ::-1])
            flipped, _ = self._of(mirrored, group, records, failed, given, flipped=True)
            columns = [[*one, other] for one, other in zip(columns, flipped, strict=True)]
        if self._variance and variance is not None:
            columns[0].append(variance)
        return [column for one in columns for column in one]

    def _of(
        self,
        pixels: Array,
        group: Group,
        records: Records,
        failed: Failed,
        given: Mapping[str, Array],
        *,
        flipped: bool,
    ) -> tuple[list[Array], Array | None]:
        form, variance, made, own = self._form, None, dict[str, Array](), self._form.own_name or ""
        if form.names and isinstance(self._runtime, Runtime):
            made = dict(zip(self._runtime.spec.latents, self._runtime.encode_all(pixels, failed, **given), strict=True))
        # For a sample beside others the trunk runs twice: no function of a bundle gives all latents and a variance.
        if self._variance or form.seed is not None:
            made[own], variance = self._runtime.encode_variance(pixels, failed, **given)
        elif not made:
            made[own] = self._runtime.encode(pixels, failed, **given)
        if form.seed is not None and variance is not None:
            identities = _identities(records, group.positions)
            noise = noise_of(form.seed, identities, math.prod(variance.shape[1:]), flipped=flipped)
            made[own] = made[own] + np.sqrt(variance) * noise.reshape(variance.shape)
        return [_finished(made[one.name or ""], one) for one in self._forms], variance


def _finished(latents: Array, form: LatentForm) -> Array:
    """Latents as they are written, float32 ``[n, D]``, of a model of any size ``[n, h, w, c]``."""
    if form.pool and len(form.shape) > 1:
        latents = pooled(latents.reshape(len(latents), -1, form.shape[-1]), form.pool)
    return of_unit_length(latents) if form.normalize else latents


def pooled(grids: Array, how: str) -> Array:
    """One vector for each grid of tokens.

    Args:
      grids: float32 ``[n, T, D]``.
      how: 'mean' of all tokens, or 'cls' for the first one.

    >>> pooled(np.array([[[1.0, 2.0], [3.0, 4.0]]], np.float32), "mean").tolist()
    [[2.0, 3.0]]
    """
    if how == "cls":
        return np.ascontiguousarray(grids[:, 0])
    mean: Array = grids.mean(axis=1, dtype=np.float64).astype(np.float32)
    return mean


def of_unit_length(latents: Array) -> Array:
    """Each latent divided by its Euclidean length; one of zeros stays zeros, as in scikit-learn and FAISS.

    >>> of_unit_length(np.array([[3.0, 4.0], [0.0, 0.0]], np.float32)).astype(float).round(3).tolist()
    [[0.6, 0.8], [0.0, 0.0]]
    """
    lengths = np.sqrt(np.square(latents, dtype=np.float64).sum(axis=1, keepdims=True))
    unit: Array = (latents / np.where(lengths == 0, 1, lengths)).astype(np.float32)
    return unit


def noise_of(seed: int, records: Iterable[tuple[str, int]], length: int, *, flipped: bool = False) -> Array:
    """Standard normal noise for each record, float32 ``[n, length]``.

    It depends on the seed and on the record alone, not on its batch: the generator is Philox4x64-10 (Salmon et al.,
    2011), keyed by a hash of the seed and the shard's path, with the record's index in its counter.

    Args:
      seed: of the job.
      records: shard and index of each.
      length: numbers of noise.
      flipped: of the mirrored image, whose noise is another one.
    """
    return np.stack([_noise(seed, shard, index, length, flipped) for shard, index in records])


def _noise(seed: int, shard: str, index: int, length: int, flipped: bool) -> Array:
    digest = hashlib.sha256(f"{seed} {int(flipped)} {shard}".encode(errors="surrogateescape")).digest()
    # Shifting the number leaves 2**128 counter values to each record, so that their streams never overlap.
    philox = np.random.Philox(key=int.from_bytes(digest[:16], "little"), counter=index << 128)
    return np.random.Generator(philox).standard_normal(length, np.float32)


def _identities(records: Records, positions: Array) -> Iterable[tuple[str, int]]:
    for position in positions.tolist():
        shard = records.shard if isinstance(records.shard, str) else records.shard[position]
        yield shard, int(records.index[position])
