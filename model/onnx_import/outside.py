"""Weights that an ONNX file has in other files beside it, as PyTorch's exporter writes them."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from lake.core.errors import BundleError
from lake.core.printable import printable
from model.export_parts import read_file
from model.onnx_import.package import onnx

_LOCATION = b"location"  # stands in every file that has such weights
_MOST = 1 << 31  # bytes of a message of protobuf


def with_weights(data: bytes, where: str) -> bytes:
    """The bytes of an ONNX file with all of its weights within it.

    What is no ONNX file, or names a file that is not beside it, comes back as it is: the audit says so.

    Args:
      data: bytes of the file.
      where: its name, which tells the directory of the others.

    Raises:
      BundleError: a file of weights is missing or cut off, or they are too large for one file.
    """
    if _LOCATION not in data:
        return data
    model = onnx().ModelProto()
    with suppress(Exception):  # protobuf has several classes for what it does not parse
        model.ParseFromString(data)
    tensors = [tensor for tensor in _tensors(model.graph) if onnx().external_data_helper.uses_external_data(tensor)]
    places = [{entry.key: entry.value for entry in tensor.external_data} for tensor in tensors]
    if not tensors or not all(_is_beside(place.get("location", "")) for place in places):
        return data
    folder = where[: len(where) - len(where.rpartition("/")[2])]
    files = {name: _read(f"{folder}{name}", where) for name in sorted({place["location"] for place in places})}
    parts = [_cut(files[place["location"]], place, where) for place in places]
    # A weight may be there for several others, but not so often that a small file fills the memory.
    if len(data) + sum(map(len, parts)) >= min(_MOST, 2 * (len(data) + sum(map(len, files.values())))):
        raise BundleError(f"{where}: its weights have {sum(map(len, parts)):,} bytes, more than are taken in one file")
    for tensor, part in zip(tensors, parts, strict=True):
        tensor.raw_data = bytes(part)
        tensor.ClearField("data_location")
        tensor.ClearField("external_data")
    whole: bytes = model.SerializeToString()
    return whole


def _tensors(graph: Any) -> Iterator[Any]:
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)


def _is_beside(name: str) -> bool:
    """Whether a name is that of a file in the same directory."""
    return name not in ("", ".", "..") and not {"/", "\\", "\0"} & {*name}


def _read(uri: str, where: str) -> memoryview:
    try:
        return memoryview(read_file(uri))
    except FileNotFoundError as error:
        name = printable(uri.rpartition("/")[2], 100)
        raise BundleError(f"{where}: its weights are in {name!r}, which is not beside it; copy it there") from error


def _cut(file: memoryview, place: dict[str, str], where: str) -> memoryview:
    """The part of a file that is one weight."""
    name = printable(place["location"], 100)
    try:
        start = int(place.get("offset", 0))
        length = int(place.get("length", len(file) - start))
    except ValueError as error:
        raise BundleError(
            f"{where}: does not say where in {name!r} its weights are; export the network again"
        ) from error
    if start < 0 or length < 0 or start + length > len(file):
        raise BundleError(
            f"{where}: its weights are in {name!r}, which is cut off at {len(file):,} bytes, or is another network's; "
            "copy both files again"
        )
    return file[start : start + length]
