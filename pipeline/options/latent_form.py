"""How a job makes and writes its latents, as far as that is not the usual."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from lake.formats.common.vector_storage import FLOAT32, FURTHER, VectorStorage, further_column

PARQUET, WEBDATASET, TENSORS, MDS = "parquet", "webdataset", "webdataset-safetensors", "mds"
ARRAYRECORD = "arrayrecord"
LATENT_FORMATS = (PARQUET, WEBDATASET, TENSORS, MDS, ARRAYRECORD)
NORMALIZE = ("l2",)
POOL = ("mean", "cls")


@dataclass(frozen=True, slots=True, kw_only=True)
class LatentOptions:
    """What a user asks of latents that no job writes, by the fields of ``JobOptions``."""

    latent: Sequence[str] | None = None
    latent_type: str = "float32"
    latent_quantization: str | None = None
    latent_scale: float = 1.0
    latent_shift: float = 0.0
    pool: str | None = None
    normalize: str | None = None
    sample: int | None = None
    flip: bool = False
    variance: bool = False
    latent_format: str = PARQUET


@dataclass(frozen=True, slots=True, kw_only=True)
class FurtherLatent:
    """A latent of the model that is written beside the first one, in the same way.

    Attributes:
      name: of ``model.spec.Spec.latents``.
      shape: of one.
      storage: as of ``LatentForm``.
      own: likewise.
    """

    name: str
    shape: tuple[int, ...]
    storage: VectorStorage
    own: bool = False

    @property
    def column(self) -> str:
        """The column that has it."""
        return further_column(self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class LatentForm:
    """How latents are made from what the model gives, and how they are written.

    In this order: sampled, pooled, normalized, scaled and rounded.

    Attributes:
      storage: the type of the stored numbers, and how latents are converted to it.
      shape: of one latent of the model; empty where every image has a shape of its own.
      seed: latents are samples of the distributions that a variational autoencoder gives; None for their means.
      pool: a grid of tokens ``[T, D]`` or of places ``[h, w, D]`` becomes one vector ``[D]``: 'mean' of all, or 'cls',
        the first token; None to keep it.
      normalize: 'l2' to divide each latent by its Euclidean length, a latent of zeros stays one; None to keep it.
      flip: there is a second latent, of the mirrored image.
      format: of the files, one of ``LATENT_FORMATS``.
      name: of the latent that is written first, of ``model.spec.Spec.latents``; None for the model's own alone.
      own: this is the model's own, which it decodes.
      further: latents of the same pass that are written beside it.
    """

    storage: VectorStorage = FLOAT32
    shape: tuple[int, ...] = ()
    seed: int | None = None
    pool: str | None = None
    normalize: str | None = None
    flip: bool = False
    format: str = PARQUET
    name: str | None = None
    own: bool = True
    further: tuple[FurtherLatent, ...] = ()

    @property
    def usual(self) -> bool:
        """Whether latents are written as the model gives them, in tables."""
        unchanged = self.storage.plain and not self._changes() and not self.flip
        return unchanged and self.format == PARQUET and self.name is None

    @property
    def names(self) -> tuple[str, ...]:
        """The latents that are written, by name; none where that is the model's own alone."""
        return () if self.name is None else (self.name, *(one.name for one in self.further))

    @property
    def own_name(self) -> str | None:
        """The model's own latent by name, if it is one of ``names``."""
        return self.name if self.own else next((one.name for one in self.further if one.own), None)

    def alone(self, latent: FurtherLatent) -> "LatentForm":
        """How a further latent is made and written.

        Args:
          latent: one of ``further``.
        """
        return replace(self, name=latent.name, shape=latent.shape, storage=latent.storage, own=latent.own, further=())

    def length(self, dimension: int) -> int:
        """Length of a written latent.

        Args:
          dimension: of a latent of the model.

        >>> LatentForm(shape=(7, 7, 32), pool="mean").length(1568)
        32
        """
        return self.shape[-1] if self.pool and self.shape else dimension

    def options(self) -> dict[str, Any]:
        """The fields as JSON values, for the fingerprint and for ``_job.json``."""
        flip = {"flip": True} if self.flip else {}
        format = {} if self.format == PARQUET else {"format": self.format}
        storage = {} if self.storage.plain else {"storage": self.storage.to_json()}
        names = {} if self.name is None else {"names": list(self.names), "own": self.own_name}
        quantized = [one for one in self.further if one.storage.scale]
        scales = {"further": {one.name: one.storage.to_json() for one in quantized}} if quantized else {}
        return {**storage, **self._changes(), **flip, **format, **names, **scales}

    def written_shape(self, dimension: int | None) -> tuple[int, ...] | None:
        """Shape of a written latent; None where each has its own.

        Args:
          dimension: of a latent of the model; None where each has its own.

        >>> LatentForm(shape=(7, 7, 32), pool="mean").written_shape(1568)
        (32,)
        """
        if dimension is None:
            return None
        return (self.length(dimension),) if self.pool or not self.shape else self.shape

    def said(self) -> dict[str, Any]:
        """What a file says of its latents, as JSON values."""
        changes = self._changes()
        if len(self.shape) == 1:  # one vector, which stays as it is where others are pooled
            changes.pop("pool", None)
        name = {} if self.name is None else {"name": self.name, "own": self.own}
        return {**self.storage.to_json(), "shape": list(self.shape), **changes, **name}

    def metadata(self) -> str:
        """The same as JSON text, as it is in the footer of a table; ``storage_of`` reads it."""
        further = {one.column: self.alone(one).said() for one in self.further}
        return json.dumps({**self.said(), **({FURTHER: further} if further else {})})

    def _changes(self) -> dict[str, Any]:
        values = {"sample": self.seed, "pool": self.pool, "normalize": self.normalize}
        return {name: value for name, value in values.items() if value is not None}
