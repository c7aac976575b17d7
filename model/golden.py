"""Inputs made from a seed, and what the model made of them when its bundle was written."""

import io
import zipfile
from collections.abc import Mapping
from math import prod

import numpy as np
import numpy.typing as npt

from model.pixels import Floats
from model.spec import Input, Shape, Spec
from pipeline.errors import BundleError

COUNT = 4
_HEADER = 4096  # more than the header of an .npy file of four dimensions needs


def golden_inputs(takes: Input, seed: int) -> npt.NDArray[np.generic]:
    """``COUNT`` seeded inputs: vectors spread over the value range, or black and white patterns, fine to coarse.

    Coarse patterns of full contrast drive activations far from zero, so that two activation functions which agree
    near zero (relu and relu6, say) still give themselves away.
    """
    rng = np.random.default_rng(seed)
    if len(takes.shape) == 1:
        low, high = takes.value_range
        return rng.uniform(low, high, (COUNT, *takes.shape)).astype(np.float32)
    return np.stack([_pattern(rng, takes.shape, 2 * 3**k - 1) for k in range(COUNT)])


def golden_levels(count: int) -> Floats:
    """The noise levels that golden outputs are made with, as fractions of white, float32 [count]."""
    return np.resize(np.array([5, 15, 25, 50], np.float32) / np.float32(255), count)


def _pattern(rng: np.random.Generator, shape: Shape, block: int) -> npt.NDArray[np.uint8]:
    height, width, channels = shape
    cells = (-(-height // block), -(-width // block), channels)
    coarse = rng.integers(0, 256, cells, np.uint8)
    return coarse.repeat(block, 0).repeat(block, 1)[:height, :width]


def pack(arrays: Mapping[str, npt.NDArray[np.generic]]) -> bytes:
    """The arrays as the bytes of an ``.npz`` file, the same bytes for the same arrays."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, array in arrays.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, np.ascontiguousarray(array), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), member.getvalue())
    return stream.getvalue()


def unpack(data: bytes, spec: Spec, where: str) -> dict[str, npt.NDArray[np.generic]]:
    """The arrays ``input`` and, as far as the model has them, ``latent``, ``output`` and ``variance``.

    Raises:
      BundleError: a member is missing, or its shape or type is not what the spec makes it.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return {name: _array(archive, name, *form, where) for name, form in _forms(spec).items()}
    except (KeyError, ValueError, EOFError, OSError, zipfile.BadZipFile, NotImplementedError) as error:
        raise BundleError(f"{where}: not the golden outputs of this model ({error}); export the model again") from error


def _forms(spec: Spec) -> dict[str, tuple[Shape, str]]:
    count = spec.golden.count
    forms = {"input": ((count, *spec.input.shape), spec.input.dtype)}
    if spec.latent:
        forms["latent"] = ((count, spec.dimension), "float32")
    if spec.functions != ("encode",):
        forms["output"] = ((count, *spec.input.shape), "float32")
    if spec.variance:
        forms["variance"] = ((count, spec.dimension), "float32")
    return forms


def _array(archive: zipfile.ZipFile, name: str, shape: Shape, dtype: str, where: str) -> npt.NDArray[np.generic]:
    size = prod(shape) * np.dtype(dtype).itemsize
    info = archive.getinfo(f"{name}.npy")
    if not size < info.file_size <= size + _HEADER:  # before any of it is read
        raise BundleError(f"{where}: {name} has {info.file_size} bytes for the shape {shape}; export the model again")
    content = archive.read(info)
    expected = io.BytesIO()
    np.lib.format.write_array(expected, np.empty(0, dtype), allow_pickle=False)
    stream = io.BytesIO(content)
    version = np.lib.format.read_magic(stream)
    if version != (1, 0):
        raise BundleError(f"{where}: {name} has an .npy header of version {version}; export the model again")
    found = np.lib.format.read_array_header_1_0(stream)
    if found != (shape, False, np.dtype(dtype)) or len(content) - stream.tell() != size:
        raise BundleError(f"{where}: {name} is {found}, not {dtype} {shape}; export the model again")
    return np.frombuffer(content, dtype, offset=stream.tell()).reshape(shape)
