"""Audit of the weights in a ``.keras`` file: plain arrays in an HDF5 file, no larger than the file itself."""

from collections.abc import Iterator
from math import prod
from typing import Any

from lake.core.errors import BundleError
from lake.core.printable import printable
from model.keras.archive import WEIGHTS, refused

_UNPACK = "copy it without: h5repack -f NONE OLD NEW"
_MAX_LINKS = 1 << 16  # names in all groups; the largest published models have some 10,000


def check_weights(stream: Any, size: int, where: str, name: str = WEIGHTS) -> int:
    """Check an HDF5 file of weights without reading them.

    Args:
      stream: the file, opened.
      size: its bytes.
      where: name of the file that it is or that it is a member of, for messages.
      name: what messages call it itself.

    Returns:
      Number of elements of all weights.

    Raises:
      BundleError: it is damaged, claims more than its size, or holds anything but plain arrays.
    """
    import h5py

    try:
        with h5py.File(stream, "r") as file:
            datasets = list(_datasets(file, where, name))
            count = sum(prod(item.shape or ()) for item in datasets)
            claimed = sum(prod(item.shape or ()) * item.dtype.itemsize for item in datasets)
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        why = printable(str(error))
        raise BundleError(f"{where}: {name} is damaged ({why}); save the model again") from error
    # Keras does not compress weights, so they cannot be larger than their file.
    if claimed > size:
        raise refused(where, f"{name} claims {claimed} bytes of weights in {size}")
    return count


def _datasets(file: Any, where: str, called: str) -> Iterator[Any]:
    """Yield every dataset of an HDF5 file once, checked.

    Hard links may form a cycle, so groups are visited only once, too.
    """
    import h5py

    visited, waiting, links = set(), [file], 0  # hard links can form a cycle
    while waiting:
        group = waiting.pop()
        links += len(group)
        if links > _MAX_LINKS:
            raise refused(where, f"{called} holds more than {_MAX_LINKS} groups and arrays")
        for name in group:
            if type(group.get(name, getlink=True)) is not h5py.HardLink:
                raise refused(where, f"{name!r} in {group.name!r} of {called} is a link to another place or file")
            item = group[name]
            address = h5py.h5o.get_info(item.id).addr
            if address in visited:
                continue
            visited.add(address)
            if isinstance(item, h5py.Group):
                waiting.append(item)
            else:
                _check_dataset(item, where, called)
                yield item


def _check_dataset(item: Any, where: str, called: str) -> None:
    import h5py

    what = f"{item.name!r} in {called}"
    if not isinstance(item, h5py.Dataset):
        raise refused(where, f"{what} is a {type(item).__name__}")
    # Both would read files of this machine.
    if item.external or item.is_virtual:
        raise refused(where, f"{what} takes its data from another file")
    # A filter can expand a few bytes to any size, or load a plug-in.
    if item.id.get_create_plist().get_nfilters():
        raise refused(where, f"{what} is compressed or filtered", _UNPACK)
    if item.dtype.kind not in "fiubV" or item.dtype.hasobject:
        raise refused(where, f"{what} is of type {item.dtype}")
