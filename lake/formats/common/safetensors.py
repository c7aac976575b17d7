"""Files of tensors in safetensors (https://huggingface.co/docs/safetensors, "Format")."""

import json
import struct
from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np

from lake.core.printable import printable
from lake.core.records import Array, Reason, Stage
from lake.images.types import ImageError

SUFFIX = "safetensors"
BFLOAT16 = "BF16"
_TYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    BFLOAT16: "<u2",  # its bits: NumPy has no such type
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "|i1",
    "U8": "|u1",
}
_NAMES = {np.dtype(kind): name for name, kind in _TYPES.items() if name != BFLOAT16}
_LENGTH = struct.Struct("<Q")
_LONGEST = 1 << 20  # most bytes of a header that is read
_ALIGNED = 8
_SHOWN = 200  # most characters of what is wrong with a file


def safetensors_file(tensors: Mapping[str, Array], *, bfloat16: bool = False) -> bytes:
    """A file of some tensors, in their order.

    Args:
      tensors: by name, of at least one number each.
      bfloat16: they are the bits of such numbers, as uint16.

    >>> data = safetensors_file({"latent": np.ones((2, 1), np.float16)})
    >>> data[8:60]
    b'{"latent":{"dtype":"F16","shape":[2,1],"data_offsets'
    >>> tensor_of(data, "latent")[0].tolist()
    [[1.0], [1.0]]
    """
    fields, at, parts = dict[str, Any](), 0, list[bytes]()
    for name, tensor in tensors.items():
        data = tensor.astype(tensor.dtype.newbyteorder("<"), copy=False).tobytes()
        kind = BFLOAT16 if bfloat16 else _NAMES[tensor.dtype.newbyteorder("<")]
        fields[name] = {"dtype": kind, "shape": list(tensor.shape), "data_offsets": [at, at + len(data)]}
        at += len(data)
        parts.append(data)
    header = json.dumps(fields, separators=(",", ":")).encode()
    header += b" " * (-len(header) % _ALIGNED)
    return b"".join((_LENGTH.pack(len(header)), header, *parts))


def tensor_of(data: bytes, name: str) -> tuple[Array, str]:
    """A tensor of a file, and its type as the file says it.

    Args:
      data: the whole file.
      name: of the tensor; of a file with a single one, that is taken whatever its name.

    Raises:
      ImageError: INVALID_RECORD, for a file that is damaged, or has no such tensor of numbers.
    """
    found = _read(data)
    if name not in found and len(found) != 1:
        raise _invalid(f"it has no tensor {name!r}")
    return found[name] if name in found else next(iter(found.values()))


def tensors_of(data: bytes) -> dict[str, Array]:
    """All tensors of a file, by name.

    Args:
      data: the whole file.

    Raises:
      ImageError: INVALID_RECORD, for a damaged file.
    """
    return {name: tensor for name, (tensor, _) in _read(data).items()}


def _read(data: bytes) -> dict[str, tuple[Array, str]]:
    length = _LENGTH.unpack(data[:8])[0] if len(data) >= _LENGTH.size else _LONGEST + 1
    try:
        if length > min(_LONGEST, len(data) - 8):
            raise ValueError("its header is cut or too long")
        fields, body = json.loads(data[8 : 8 + length]), data[8 + length :]
        return {
            name: (_tensor(body, field["dtype"], field["shape"], field["data_offsets"]), field["dtype"])
            for name, field in fields.items()
            if name != "__metadata__"
        }
    except KeyError as error:
        raise _invalid(f"a tensor of type or without {error}") from error
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise _invalid(str(error)) from error


def _tensor(data: bytes, kind: str, shape: list[int], edges: list[int]) -> Array:
    dtype = np.dtype(_TYPES[kind])
    start, stop = edges
    sides = [*shape, start, stop]
    if not all(isinstance(side, int) and not isinstance(side, bool) and 0 <= side < 1 << 40 for side in sides):
        raise ValueError("a shape or place that is no list of numbers")
    if stop > len(data) or stop - start != prod(shape) * dtype.itemsize:
        raise ValueError(f"{stop - start} bytes for a tensor of {' x '.join(map(str, shape))}")
    return np.frombuffer(data, dtype, prod(shape), start).reshape(shape)


def _invalid(problem: str) -> ImageError:
    detail = f"not a safetensors file of latents: {printable(problem, _SHOWN)}"
    return ImageError(Reason.INVALID_RECORD, detail, Stage.READ)
