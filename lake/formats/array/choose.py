"""Which arrays of a shard are its images, keys and carried columns, by their headers; ``reader`` has the rules."""

import pyarrow as pa

from lake.core.errors import InputError, NoColumnError
from lake.core.records import Shard
from lake.formats.array.members import Members
from lake.formats.common.array_rows import RowLayout
from lake.formats.common.pixels import channels_first
from lake.formats.reader import ColumnSelection
from lake.images.types import PixelLayout

_IMAGES = ("x", "images", "image", "x_train", "arr_0")
_LABELS = ("label", "labels", "y", "y_train")


def problem_of(layout: RowLayout, most: int) -> str | None:
    """Why the rows of an array cannot be records, in words that follow its name; None if they can."""
    kind = layout.dtype.kind if layout.dtype else ""
    if kind not in "iufb" or not kind:
        return f"holds {layout.descr}, not numbers"
    if not 2 <= len(layout.shape) <= 4:
        return f"has the shape {layout.shape}, not [n, d], [n, H, W] or [n, H, W, C]"
    if not 0 < layout.row_bytes <= most:
        return f"has records of {layout.row_bytes} bytes, not 1 to {most}"
    return None


def misfit_of(layout: RowLayout, selection: ColumnSelection) -> str | None:
    """Why a model cannot take the rows of an array, in words that follow its name; None if it can."""
    shape, length = layout.shape[1:], selection.length
    if length is not None and shape != (length,):
        return f"has records of shape {shape}, and the model takes vectors of {length} numbers"
    if selection.layout is None and _has_channels_first(layout, selection):
        return f"has images of {' x '.join(map(str, shape))}, channels first; give --layout chw, or hwc if they are not"
    return None


def layout_of(layout: RowLayout, selection: ColumnSelection) -> PixelLayout | None:
    """The layout of the images, told by those of the first shard if that is asked for."""
    if selection.layout != PixelLayout.AUTO:
        return selection.layout
    return PixelLayout.CHW if _has_channels_first(layout, selection) else PixelLayout.HWC


def _has_channels_first(layout: RowLayout, selection: ColumnSelection) -> bool:
    return channels_first(layout.shape[1:], selection.shape[2] if selection.shape else None)


def image_of(shard: Shard, found: Members, selection: ColumnSelection) -> str:
    """The name of the array of images or vectors.

    Raises:
      InputError: none has the name that was asked for, or none is the only one that it can be.
    """
    if selection.image is not None:
        return _asked(shard, found, selection.image, "--image")
    usual = [name for name in _IMAGES if name in found]
    usable = usual or [name for name, opened in found.items() if len(opened().layout.shape) >= 2]
    if not usual and len(usable) != 1:
        raise InputError(
            f"{shard.path}: {len(usable)} arrays have rows and none has a usual name; name one with --image. "
            f"There are: {', '.join(found)}"
        )
    return usable[0]


def _asked(shard: Shard, found: Members, name: str, option: str) -> str:
    if name not in found:
        text = f"{shard.path}: no array {name!r}; set {option} to one of: {', '.join(found)}"
        raise NoColumnError(text, option.removeprefix("--"), name)
    return name


def key_of(shard: Shard, found: Members, images: RowLayout, selection: ColumnSelection) -> str | None:
    """The name of the array of keys; None if keys are the records' numbers.

    Raises:
      InputError: it is not there, or has not one key for each image.
    """
    if selection.key is None:
        return None
    layout = found[_asked(shard, found, selection.key, "--key")]().layout
    if type_of(layout) is None or layout.rows != images.rows:
        raise InputError(f"{shard.path}: array {selection.key!r} is {described(layout)}, not one key for each record")
    return selection.key


def carry_of(shard: Shard, found: Members, image: str, images: RowLayout, selection: ColumnSelection) -> pa.Schema:
    """Names and types of the carried columns.

    Raises:
      InputError: one that was asked for is not there, or has not one value for each image.
    """
    names = ("label",) if selection.carry is None else selection.carry
    fields = []
    for name in names:
        source = source_of(found, image, name)
        layout = found[source]().layout if source in found else None
        if layout and type_of(layout) is not None and layout.rows == images.rows:
            fields.append(pa.field(name, type_of(layout)))
        elif selection.carry is not None:
            _asked(shard, found, source, "--carry")
            raise InputError(
                f"{shard.path}: array {source!r} is no column of {images.rows} values; leave it from --carry"
            )
    return pa.schema(fields)


def source_of(found: Members, image: str, name: str) -> str:
    """The array of a carried column: its namesake, or for ``label`` the labels of the image."""
    if name != "label":
        return name
    partner = ("y" + image[1:],) if image.startswith("x") else ()
    return next((other for other in (*partner, *_LABELS) if other in found), name)


def type_of(layout: RowLayout) -> pa.DataType | None:
    """Arrow's type if each row is a single value; None if it is more than that."""
    if layout.dtype is None or layout.dtype.kind in "cmM" or not layout.shape or layout.shape[1:] not in ((), (1,)):
        return None
    text_types = {"U": pa.string(), "S": pa.binary()}
    return text_types.get(layout.dtype.kind) or pa.from_numpy_dtype(layout.dtype.newbyteorder("="))


def described(layout: RowLayout) -> str:
    """An array in words."""
    return f"{layout.shape} of {layout.descr}"
