"""The latents of WebDataset samples, as ``LatentTarWriter`` or others wrote them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from lake.core.errors import InputError, ShardError
from lake.core.records import Array, Fault, Reason, Shard, Stage
from lake.formats.common.latent_arrays import StoredLatent, check_reversible, latent_files, latent_rows, storage_said
from lake.formats.common.npy import MAGIC
from lake.formats.common.safetensors import BFLOAT16, tensor_of
from lake.formats.common.vector_storage import FIRST, FLOAT32, VectorStorage
from lake.formats.reader import ColumnSelection, RecordSchema
from lake.formats.webdataset.latents import said_by
from lake.formats.webdataset.npy_vectors import npy_layout
from lake.formats.webdataset.samples import Sample
from lake.images.types import ImageError

IMAGE_SIZES = ("height", "width")  # of the image that a latent is of: fields of ``.json``
JSON = b"json"
_SIDES = (1, 2, 3, 4)  # of an array that may be a latent
_VARIANCE = "variance"


class SampleLatents:
    """Reads the latents of some samples of one shard.

    Args:
      samples: the samples.
      files: the member with the latent of each; None for a missing one.
      storage: how the shard says that they are stored; None where each sample's ``.json`` does, or nothing.
    """

    def __init__(self, samples: Sequence[Sample], files: Sequence[bytes | None], storage: VectorStorage | None) -> None:
        self._samples, self._files, self._storage = samples, files, storage

    def payload(self, columns: RecordSchema, faults: dict[int, Fault]) -> pa.Array | Array:
        """The latents of all samples: rows of float32, or ``.npy`` files where they have shapes of their own.

        Args:
          columns: what is read of each sample.
          faults: by position; extended here.
        """
        if columns.image.startswith(_VARIANCE):  # what is said of latents does not hold for their variance
            self._storage = FLOAT32
        count, found = len(self._files), dict[int, Fault]()
        payload: pa.Array | Array
        if columns.shaped:
            payload = pa.array(latent_files(self.latent, count, columns.max_record_bytes, found), pa.binary())
        else:
            payload = latent_rows(self.latent, count, columns.length or 0, found)
        for position, fault in found.items():
            faults.setdefault(position, replace(fault, data=self._files[position]))
        return payload

    def latent(self, position: int) -> StoredLatent | None:
        """The latent of one sample; None if it has no member with one.

        Args:
          position: of the sample.

        Raises:
          ImageError: the member holds no latent.
        """
        data = self._files[position]
        if data is None:
            return None
        array, storage = _array(data)
        said = json_of(self._samples[position])
        latent = said.get(FIRST)
        fields = latent if isinstance(latent, Mapping) else {}
        if self._storage is not None:
            storage = self._storage
        elif "type" in fields:
            storage = _said(fields)
        return StoredLatent(array=array, storage=storage, channels=_channels(fields))


def check_latents(
    shard: Shard, samples: Sequence[Sample], files: Sequence[bytes | None], selection: ColumnSelection
) -> None:
    """Check that the members of a shard are latents of the model, as far as the first samples tell.

    Args:
      shard: the shard.
      samples: the first ones.
      files: the member with the latent of each.
      selection: what the model asks for.

    Raises:
      InputError: they are not.
    """
    try:
        storage = storage_said(said_by(shard), selection.length)
    except ValueError as error:
        raise InputError(f"{shard.path}: {error}") from error
    if selection.shaped:
        return
    faults = dict[int, Fault]()
    latent_rows(SampleLatents(samples, files, storage).latent, len(samples), selection.length or 0, faults)
    if len(faults) == len(samples):
        problem = f"the members are no latents of the model: {faults[0].detail}"
        raise InputError(f"{shard.path}: {problem}; name others with --image")


def storage_of_shard(shard: Shard, columns: RecordSchema) -> VectorStorage | None:
    """How a shard says that its latents are stored; None if it does not.

    Args:
      shard: the shard.
      columns: what is read of its samples.

    Raises:
      ShardError: what it says makes no sense, or its latents cannot be had back.
    """
    try:
        return storage_said(said_by(shard), None if columns.shaped else columns.length)
    except ValueError as error:
        raise ShardError(shard.path, str(error)) from error


def is_image_size(name: str, samples: Sequence[Sample], selection: ColumnSelection) -> bool:
    """Whether a column is a field of ``.json`` with the size of the images that latents are of.

    Args:
      name: of the column.
      samples: the first ones of a shard.
      selection: what the user and the model ask for.
    """
    return (
        selection.latents and name in IMAGE_SIZES and any(json_of(sample).get(name) is not None for sample in samples)
    )


def size_column(samples: Sequence[Sample], name: str) -> pa.Array:
    """The height or width of each sample's image, int32, by its ``.json``; null where that does not say it.

    Args:
      samples: the samples.
      name: one of ``IMAGE_SIZES``.
    """
    found = [json_of(sample).get(name) for sample in samples]
    numbers = [value if type(value) is int and abs(value) < 1 << 31 else None for value in found]
    return pa.array(numbers, pa.int32())


def key_of_record(sample: Sample) -> bytes:
    """The key of the record that a latent is of, which ``.json`` says; of another's sample its name.

    Args:
      sample: the sample.
    """
    said = json_of(sample)
    key = said.get("key") if isinstance(said.get(FIRST), Mapping) else None
    return key.encode("utf-8", "replace") if isinstance(key, str) else sample.key


def json_of(sample: Sample) -> Mapping[str, Any]:
    """The ``.json`` of a sample; empty where there is none, or no object.

    Args:
      sample: the sample.
    """
    try:
        found = json.loads(sample.members.get(JSON, b"{}"))
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _array(data: bytes) -> tuple[Array, VectorStorage | None]:
    """The array of a member, and how it is stored if its own type says it.

    Raises:
      ImageError: it holds none.
    """
    if not data.startswith(MAGIC):
        tensor, kind = tensor_of(data, FIRST)
        return tensor, VectorStorage(type="bfloat16") if kind == BFLOAT16 else None
    return npy_array(data), None


def npy_array(data: bytes) -> Array:
    """The latent in a ``.npy`` file, as it is stored.

    Args:
      data: the whole file.

    Raises:
      ImageError: INVALID_RECORD, if it holds none.
    """
    layout = npy_layout(data, _SIDES, "a latent")
    if isinstance(layout, str):
        raise ImageError(Reason.INVALID_RECORD, layout, Stage.READ)
    values = np.frombuffer(data, layout.dtype, offset=layout.offset)
    return values.reshape(layout.shape, order="F" if layout.fortran else "C")


def _said(fields: Mapping[str, Any]) -> VectorStorage:
    try:
        check_reversible(fields)
        return VectorStorage.from_json(fields)
    except ValueError as error:
        raise ImageError(Reason.INVALID_RECORD, f"{error} (by its .json)", Stage.READ) from error


def _channels(fields: Mapping[str, Any]) -> int | None:
    shape = fields.get("shape")
    last = shape[-1] if isinstance(shape, list) and shape else None
    return last if type(last) is int and last > 0 else None
