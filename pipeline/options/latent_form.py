"""How a job makes and writes its latents, as far as that is not the usual."""

import json
from dataclasses import dataclass
from typing import Any

from lake.formats.common.vector_storage import FLOAT32, VectorStorage

PARQUET, WEBDATASET, TENSORS, MDS = "parquet", "webdataset", "webdataset-safetensors", "mds"
LATENT_FORMATS = (PARQUET, WEBDATASET, TENSORS, MDS)
NORMALIZE = ("l2",)
POOL = ("mean", "cls")


@dataclass(frozen=True, slots=True, kw_only=True)
class LatentOptions:
    """What a user asks of latents that no job writes, by the fields of ``JobOptions``."""

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
    """

    storage: VectorStorage = FLOAT32
    shape: tuple[int, ...] = ()
    seed: int | None = None
    pool: str | None = None
    normalize: str | None = None
    flip: bool = False
    format: str = PARQUET

    @property
    def usual(self) -> bool:
        """Whether latents are written as the model gives them, in tables."""
        return self.storage.plain and not self._changes() and not self.flip and self.format == PARQUET

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
        return {**storage, **self._changes(), **flip, **format}

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
        return {**self.storage.to_json(), "shape": list(self.shape), **self._changes()}

    def metadata(self) -> str:
        """The same as JSON text, as it is in the footer of a table; ``storage_of`` reads it."""
        return json.dumps(self.said())

    def _changes(self) -> dict[str, Any]:
        values = {"sample": self.seed, "pool": self.pool, "normalize": self.normalize}
        return {name: value for name, value in values.items() if value is not None}
