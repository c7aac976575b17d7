"""Arrays of pixels or vectors: NumPy's ``.npy`` and ``.npz``, and IDX, plain and gzip, as MNIST is distributed.

Rows ``[n, H, W]`` or ``[n, H, W, C]`` are pixels: uint8, uint16, or floating and then given as float32. Rows ``[n, d]``
are vectors of any number type, given as float32. The arrays are named by the request or else:

- image: of ``.npz`` the member ``x``, ``images``, ``image``, ``x_train`` or ``arr_0``, or the only one with rows.
- key: the row's number; a member of text or integers where the request names one.
- carried: ``label``, which is the member ``y…`` of an image ``x…``, or ``label``, ``labels``, ``y`` or ``y_train``; of
  MNIST's ``…-images-idx3-ubyte`` the file ``…-labels-idx1-ubyte`` beside it. Any other member by its name.
- ``Records.source``: every other array that has one row for each image, by name, ``[n, ...]`` as it is stored.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pipeline.errors import InputError, ShardError, UnreadableError
from pipeline.readers import idx, npy
from pipeline.readers.base import BATCH_BYTES, Columns, Request
from pipeline.readers.damage import as_planned
from pipeline.readers.layout import Layout
from pipeline.readers.members import Member, Members, beside, has_rows, is_packed, members
from pipeline.readers.text import text
from pipeline.records import Array, Records, Shard, Unit

_IMAGES = ("x", "images", "image", "x_train", "arr_0")
_LABELS = ("label", "labels", "y", "y_train")

_PART = 8 << 20  # bytes of rows that can be read by themselves


class ArrayReader:
    """Plain arrays split at any row; what is packed is read from its start."""

    suffixes = (".npy", ".npz", ".idx3-ubyte")
    grouped = False

    def recognises(self, name: str, head: bytes) -> bool:
        """By suffix, MNIST's names or content. A file of MNIST's labels is no shard by itself."""
        name = name.lower().rpartition("/")[2]
        zipped = head[:2] == b"PK" and head[30 : 30 + int.from_bytes(head[26:28], "little")].endswith(b".npy")
        return name.endswith(self.suffixes) or head.startswith(npy.MAGIC) or zipped or idx.is_images(name, head)

    def settle(self, shard: Shard, request: Request) -> Columns:
        """Choose arrays by their headers. ``numeric`` is always true: an array keeps numbers."""
        with ExitStack() as stack:
            found = members(shard, stack)
            image = _image(shard, found, request)
            layout = found[image]().layout
            problem = _problem(layout, request.max_record_bytes) or _misfit(layout, request.length)
            if problem:
                raise InputError(f"{shard.path}: array {image!r} {problem}; name another with --image")
            return Columns(
                image=image,
                key=_key(shard, found, layout, request),
                carry=_carry(shard, found, image, layout, request),
                numeric=True,
                max_record_bytes=request.max_record_bytes,
                length=layout.shape[1] if len(layout.shape) == 2 else None,
                whole=request.whole,
                salvage=request.salvage,
            )

    def rows(self, shard: Shard) -> Sequence[int] | None:
        """Parts of equal size, a power of two of rows so that batches seldom straddle their edges."""
        if is_packed(shard):
            return None
        with ExitStack() as stack:
            layout = members(shard, stack)["image"]().layout
        part = 1 << max(0, (_PART // max(1, layout.row_bytes)).bit_length() - 1)
        whole, rest = divmod(layout.rows, part)
        return (part,) * whole + (rest,) * (rest > 0)

    def read(self, unit: Unit, columns: Columns, size: int, room: int = BATCH_BYTES) -> Iterator[Records]:
        """Records of rows ``[unit.start, unit.stop)``.

        Numbers have no framing that would tell where damage begins: of an array all is given or, where damage is to
        be salvaged, nothing of it. For that a packed array is read twice.
        """
        (shard,) = unit.shards
        with as_planned(shard, *beside(shard)), ExitStack() as stack:
            found = members(shard, stack, proven=columns.salvage)
            image = _opened(shard, found, columns.image)
            problem = _problem(image.layout, columns.max_record_bytes)
            if problem:
                raise ShardError(shard.path, f"array {columns.image!r} {problem}")
            arrays = _arrays(shard, found, columns, image)
            row = sum(member.layout.row_bytes for member in arrays.opened.values())
            yield from _records(unit, columns, min(size, max(1, room // row)), arrays)


# ---- choosing arrays


def _problem(layout: Layout, most: int) -> str | None:
    """Why rows of an array cannot be records, in words that follow its name."""
    kind = layout.dtype.kind if layout.dtype else ""
    if kind not in "iuf" or not kind:
        return f"holds {layout.descr}, not numbers"
    if not 2 <= len(layout.shape) <= 4:
        return f"has the shape {layout.shape}, not [n, d], [n, H, W] or [n, H, W, C]"
    if len(layout.shape) > 2 and kind != "f" and layout.descr.lstrip("<>|=") not in ("u1", "u2"):
        return f"holds {layout.descr}; pixels must be uint8, uint16 or floating"
    if not 0 < layout.row_bytes <= most:
        return f"has records of {layout.row_bytes} bytes, not 1 to {most}"
    return None


def _misfit(layout: Layout, length: int | None) -> str | None:
    if length is None or layout.shape[1:] == (length,):
        return None
    return f"has records of shape {layout.shape[1:]}, and the model takes vectors of {length} numbers"


def _image(shard: Shard, found: Members, request: Request) -> str:
    if request.image is not None:
        return _asked(shard, found, request.image, "--image")
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
        raise InputError(f"{shard.path}: no array {name!r}; set {option} to one of: {', '.join(found)}")
    return name


def _key(shard: Shard, found: Members, images: Layout, request: Request) -> str | None:
    if request.key is None:
        return None
    layout = found[_asked(shard, found, request.key, "--key")]().layout
    if _type(layout) is None or layout.rows != images.rows:
        raise InputError(f"{shard.path}: array {request.key!r} is {_words(layout)}, not one key for each record")
    return request.key


def _carry(shard: Shard, found: Members, image: str, images: Layout, request: Request) -> pa.Schema:
    names = ("label",) if request.carry is None else request.carry
    fields = []
    for name in names:
        source = _source(found, image, name)
        layout = found[source]().layout if source in found else None
        if layout and _type(layout) is not None and layout.rows == images.rows:
            fields.append(pa.field(name, _type(layout)))
        elif request.carry is not None:
            _asked(shard, found, source, "--carry")
            raise InputError(
                f"{shard.path}: array {source!r} is no column of {images.rows} values; leave it from --carry"
            )
    return pa.schema(fields)


def _source(found: Members, image: str, name: str) -> str:
    """The array that a carried column comes from: its namesake, or for ``label`` the labels of the image."""
    if name != "label":
        return name
    partner = ("y" + image[1:],) if image.startswith("x") else ()
    return next((other for other in (*partner, *_LABELS) if other in found), name)


def _type(layout: Layout) -> pa.DataType | None:
    """Arrow's type for one value of a row each; None where a row is more than a value."""
    if layout.dtype is None or layout.dtype.kind in "cmM" or not layout.shape or layout.shape[1:] not in ((), (1,)):
        return None
    text_types = {"U": pa.string(), "S": pa.binary()}
    return text_types.get(layout.dtype.kind) or pa.from_numpy_dtype(layout.dtype.newbyteorder("="))


# ---- reading


@dataclass(frozen=True, slots=True, kw_only=True)
class _Arrays:
    """What is read of one shard."""

    opened: Mapping[str, Member]  # the image first
    columns: Sequence[str]  # of the carried columns, then of the key if it has one
    others: Sequence[str]  # of ``Records.source``


def _arrays(shard: Shard, found: Members, columns: Columns, image: Member) -> _Arrays:
    chosen = dict(_columns(shard, found, columns, image.layout))
    others = dict(_others(shard, found, columns, image.layout)) if columns.whole else {}
    names = [_source(found, columns.image, name) for name in columns.carry.names]
    return _Arrays(
        opened={columns.image: image} | others | chosen,
        columns=names if columns.key is None else [*names, columns.key],
        others=[*others],
    )


def _others(shard: Shard, found: Members, columns: Columns, images: Layout) -> Iterator[tuple[str, Member]]:
    """Every other array with rows, by name."""
    for name, opened in found.items():
        if name != columns.image and has_rows((member := opened()).layout, images):
            if member.layout.row_bytes > columns.max_record_bytes:
                problem = f"has rows of {member.layout.row_bytes} bytes; the most is {columns.max_record_bytes}"
                raise ShardError(shard.path, f"array {name!r} {problem}")
            yield name, member


def _columns(shard: Shard, found: Members, columns: Columns, images: Layout) -> Iterator[tuple[str, Member]]:
    """The arrays of the carried columns and of the key, by name; all as the first shard had them."""
    for field in columns.carry:
        name = _source(found, columns.image, field.name)
        member = _opened(shard, found, name)
        if _type(member.layout) != field.type or member.layout.rows != images.rows:
            raise ShardError(
                member.shard.path,
                f"column {field.name!r} is {_words(member.layout)}, not {images.rows} values of {field.type}",
            )
        yield name, member
    if columns.key is not None:
        member = _opened(shard, found, columns.key)
        if _type(member.layout) is None or member.layout.rows != images.rows:
            raise ShardError(shard.path, f"array {columns.key!r} is {_words(member.layout)}, not {images.rows} keys")
        yield columns.key, member


def _opened(shard: Shard, found: Members, name: str) -> Member:
    if name not in found:
        raise ShardError(shard.path, f"no array {name!r} as in the first shard; there are: {', '.join(found)}")
    return found[name]()


def _words(layout: Layout) -> str:
    return f"{layout.shape} of {layout.descr}"


def _records(unit: Unit, columns: Columns, size: int, arrays: _Arrays) -> Iterator[Records]:
    shard, rows = unit.shards[0], arrays.opened[columns.image].layout.rows
    stop = rows if unit.stop is None else unit.stop
    if not 0 <= unit.start <= stop <= rows:
        raise UnreadableError(shard.path, f"no rows {unit.start} to {stop}; it changed since it was planned")
    readers = [member.blocks(unit.start, stop, size) for member in arrays.opened.values()]
    for at, parts in zip(range(unit.start, stop, size), zip(*readers, strict=True), strict=True):
        blocks = dict(zip(arrays.opened, parts, strict=True))
        values = [_values(shard, blocks[name]) for name in arrays.columns]
        index = np.arange(at, at + len(parts[0]))
        yield Records(
            shard=shard.path,
            index=index,
            key=text(pa.array(index) if columns.key is None else values.pop()),
            payload=_payload(blocks[columns.image]),
            carried=dict(zip(columns.carry.names, values, strict=True)),
            source={name: blocks[name] for name in arrays.others} if columns.whole else None,
        )


def _payload(rows: Array) -> Array:
    """Pixels with a channel axis, or vectors; in this machine's byte order."""
    if rows.ndim == 3:
        rows = rows[..., np.newaxis]
    kind = np.float32 if rows.ndim == 2 or rows.dtype.kind == "f" else rows.dtype.newbyteorder("=")
    with np.errstate(over="ignore"):  # infinity is a reject of its own, later
        return rows.astype(kind, copy=False)


def _values(shard: Shard, rows: Array) -> pa.Array:
    native = np.ascontiguousarray(rows.reshape(-1), rows.dtype.newbyteorder("="))
    try:
        if native.dtype.kind in "US":  # of an array, Arrow takes text up to its first NUL only
            return pa.array(native.tolist(), pa.string() if native.dtype.kind == "U" else pa.binary())
        return pa.array(native)
    except ValueError as error:  # code points that are none
        raise ShardError(shard.path, f"text that is not Unicode: {error}") from error
