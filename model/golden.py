"""Golden inputs and outputs: seeded inputs, and what the model gave for them when its bundle was written.

They prove on every machine that the loaded model computes what the exported one did.
"""

import io
import zipfile
import zlib
from collections.abc import Mapping
from math import prod

import numpy as np
import numpy.typing as npt

from lake.core.errors import BundleError
from lake.core.printable import printable
from lake.formats.common.npy import read_npy_header
from model.input_spec import Input, Shape
from model.pixels import Floats
from model.spec import Spec
from model.zip_members import read_member

COUNT = 4  # golden inputs
_HEADER = 4096  # bytes, more than the header of an .npy file with four dimensions needs


def golden_inputs(takes: Input, seed: int) -> npt.NDArray[np.generic]:
    """Return ``COUNT`` seeded inputs for a model.

    Args:
      takes: what the model takes.
      seed: seed of the inputs.

    Returns:
      Vectors float32 ``[COUNT, d]``, uniform over the value range; or images uint8 ``[COUNT, H, W, C]``, random
      patterns of black and white, from fine to coarse.

    >>> golden_inputs(Input(shape=(8, 8, 1), dtype="uint8", value_range=(0.0, 1.0), color="gray"), seed=0).shape
    (4, 8, 8, 1)
    """
    rng = np.random.default_rng(seed)
    if len(takes.shape) == 1:
        low, high = takes.value_range
        return rng.uniform(low, high, (COUNT, *takes.shape)).astype(np.float32)
    # Coarse patterns of full contrast drive activations far from zero, where activation functions differ that agree
    # near zero, such as relu and relu6.
    return np.stack([_pattern(rng, takes.shape, 2 * 3**k - 1) for k in range(COUNT)])


def golden_latents(dimension: int, seed: int) -> Floats:
    """Return ``COUNT`` seeded latents for a decoder alone, standard normal, float32 ``[COUNT, dimension]``.

    Args:
      dimension: length of a latent.
      seed: seed of the latents.
    """
    return np.random.default_rng(seed).standard_normal((COUNT, dimension), np.float32)


def golden_levels(count: int) -> Floats:
    """Return the noise levels of golden outputs as fractions of white, float32 ``[count]``.

    >>> (golden_levels(4) * 255).round().tolist()
    [5.0, 15.0, 25.0, 50.0]
    """
    # np.resize repeats the four levels.
    return np.resize(np.array([5, 15, 25, 50], np.float32) / np.float32(255), count)


def _pattern(rng: np.random.Generator, shape: Shape, block: int) -> npt.NDArray[np.uint8]:
    height, width, channels = shape
    cells = (-(-height // block), -(-width // block), channels)
    coarse = rng.integers(0, 256, cells, np.uint8)
    return coarse.repeat(block, 0).repeat(block, 1)[:height, :width]


def pack(arrays: Mapping[str, npt.NDArray[np.generic]]) -> bytes:
    """Pack arrays as the bytes of an ``.npz`` file. Equal arrays give equal bytes, because no time stamp is stored.

    Args:
      arrays: name -> array.
    """
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, array in arrays.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, np.ascontiguousarray(array), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), member.getvalue())
    return stream.getvalue()


def unpack(data: bytes, spec: Spec, where: str) -> dict[str, npt.NDArray[np.generic]]:
    """Unpack golden outputs: ``input``, and as far as it has any ``condition``, ``latent``, ``output``, ``variance``.

    Further latents are ``latent_NAME``. The input of a decoder alone is latents.

    Args:
      data: bytes of an ``.npz`` file that ``pack`` wrote.
      spec: the model's description, which determines the shapes and dtypes.
      where: name of the file, for messages.

    Raises:
      BundleError: a member is missing, or does not have its shape or dtype.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return {name: _array(archive, name, *form, where) for name, form in _forms(spec).items()}
    except (KeyError, ValueError, EOFError, OSError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise BundleError(f"{where}: not the golden outputs of this model ({error}); export the model again") from error


def _forms(spec: Spec) -> dict[str, tuple[Shape, str]]:
    count, condition = spec.golden.count, spec.input.condition
    told = {} if condition is None else {"condition": ((count, *condition.shape), condition.dtype)}
    if spec.kind == "decoder":
        images = ((count, *spec.input.shape), "float32")
        return {"input": ((count, spec.dimension), "float32"), **told, "output": images}
    forms = {"input": ((count, *spec.input.shape), spec.input.dtype), **told}
    latent: Shape = (count, *(spec.latent.shape if spec.latent and spec.input.any_size else (spec.dimension,)))
    if spec.latent:
        forms["latent"] = (latent, "float32")
    if spec.functions != ("encode",):
        forms["output"] = ((count, *spec.input.shape), "float32")
    if spec.variance:
        forms["variance"] = (latent, "float32")
    forms |= {f"latent_{one.name}": ((count, one.dimension), "float32") for one in spec.further}
    return forms


def _array(archive: zipfile.ZipFile, name: str, shape: Shape, dtype: str, where: str) -> npt.NDArray[np.generic]:
    size = prod(shape) * np.dtype(dtype).itemsize
    info = archive.getinfo(f"{name}.npy")
    # Compared before anything is read: a small archive can claim a huge member.
    if not size < info.file_size <= size + _HEADER:
        raise BundleError(f"{where}: {name} has {info.file_size} bytes for the shape {shape}; export the model again")
    content = read_member(archive, info.filename, size + _HEADER)
    found = read_npy_header(b"", io.BytesIO(content))
    if (found.shape, found.fortran, found.dtype, len(content) - found.offset) != (shape, False, np.dtype(dtype), size):
        raise BundleError(
            f"{where}: {name} is {printable(found.descr)} {found.shape}, not {dtype} {shape}; export the model again"
        )
    return np.frombuffer(content, dtype, offset=found.offset).reshape(shape)
