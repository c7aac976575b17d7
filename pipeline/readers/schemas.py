"""Which columns of a Parquet schema a job reads: chosen on the first shard, found again on every other.

By the request, or else:

- image: ``image``, ``img``, ``jpg``, ``png``, ``bytes``, ``content``, ``image_bytes``, or the only column that fits;
  for vectors ``latent``, ``vector``, ``embedding``, ``features``, ``x``, or the only column of lists of numbers.
- key: the image struct's ``path``, else ``key``, ``filename``, ``path``, ``id``, ``__key__``, else the row's number,
  which also stands in for a null.
- carried: ``label``, ``labels``, ``class``, ``cls``, ``target``, ``*_label``; of a dictionary column its values.
"""

from collections.abc import Callable

import pyarrow as pa

from pipeline.errors import InputError, ShardError
from pipeline.readers import lists
from pipeline.readers.base import Columns, Request
from pipeline.records import Shard

_IMAGES = ("image", "img", "jpg", "png", "bytes", "content", "image_bytes")
_VECTORS = ("latent", "vector", "embedding", "features", "x")
_KEYS = ("key", "filename", "path", "id", "__key__")
_LABELS = ("label", "labels", "class", "cls", "target")


def choose_image(shard: Shard, schema: pa.Schema, request: Request) -> str:
    """The column of images, or of vectors where the request is numeric.

    Raises:
      InputError: the one asked for is not there, is there twice or has the wrong type; or none can be told.
    """
    fits, kind = _fits(request.numeric), _kind(request.numeric)
    if request.image is not None:
        found = _asked(shard, schema, request.image, "--image")
        if not fits(found.type):
            raise InputError(f"{shard.path}: column {found.name!r} is {found.type}, not {kind}; set --image")
        return request.image
    usable = [field.name for field in schema if fits(field.type)]
    usual = [name for name in (_VECTORS if request.numeric else _IMAGES) if name in usable]
    if not usual and len(usable) != 1:
        raise InputError(
            f"{shard.path}: {len(usable)} columns are {kind} and none has a usual name; name one with --image. "
            f"There are: {_there(schema)}"
        )
    return str(_asked(shard, schema, (usual or usable)[0], "--image").name)


def choose_key(shard: Shard, schema: pa.Schema, image: str, request: Request) -> str | None:
    """The column of keys; ``path_of(image)`` for the image struct's own, None for the rows' numbers.

    Raises:
      InputError: the one asked for is not there, is there twice or is nested.
    """
    if request.key in (None, path_of(image)) and has_path(schema.field(image).type):
        return path_of(image)
    if request.key is not None:
        found = _asked(shard, schema, request.key, "--key")
        if pa.types.is_nested(found.type):
            raise InputError(f"{shard.path}: column {found.name!r} is {found.type}, not text; set --key")
        return request.key
    scalars = {field.name for field in schema if not pa.types.is_nested(field.type)} - {image}
    return next((name for name in _KEYS if name in scalars), None)


def choose_carry(shard: Shard, schema: pa.Schema, request: Request) -> pa.Schema:
    """The carried columns with their types.

    Raises:
      InputError: one asked for is not there, or is there twice.
    """
    if request.carry is None:
        fields = [field for field in schema if field.name in _LABELS or field.name.endswith("_label")]
    else:
        fields = [_asked(shard, schema, name, "--carry") for name in request.carry]
    return pa.schema([pa.field(field.name, plain(field.type)) for field in fields])


def check(shard: Shard, schema: pa.Schema, columns: Columns) -> None:
    """Make sure that a shard has the columns that were settled on the first one.

    Raises:
      ShardError: one is missing or has another type.
    """
    fits, kind = _fits(columns.numeric), _kind(columns.numeric)
    if not fits(_found(shard, schema, columns.image)):
        raise ShardError(shard.path, f"column {columns.image!r} is {schema.field(columns.image).type}, not {kind}")
    if columns.key == path_of(columns.image) and not has_path(schema.field(columns.image).type):
        raise ShardError(shard.path, f"column {columns.image!r} has no child 'path' as in the first shard")
    if columns.key not in (None, path_of(columns.image)):
        _found(shard, schema, columns.key)
    for field in columns.carry:
        there = plain(_found(shard, schema, field.name))
        if there != field.type:
            raise ShardError(shard.path, f"column {field.name!r} is {there}, and {field.type} in the first shard")


def plain(kind: pa.DataType) -> pa.DataType:
    """The type of a column's values: a dictionary column's are those it refers to."""
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def path_of(image: str) -> str:
    """How a key that is the image struct's own path is named."""
    return f"{image}.path"


def has_path(kind: pa.DataType) -> bool:
    """Whether images of this type bring their own path."""
    return bool(pa.types.is_struct(kind)) and kind.get_field_index("path") >= 0


def _asked(shard: Shard, schema: pa.Schema, name: str, option: str) -> pa.Field:
    count = schema.names.count(name)
    if count != 1:
        problem = "no column" if count == 0 else f"{count} columns"
        raise InputError(f"{shard.path}: {problem} {name!r}; set {option} to one of: {_there(schema)}")
    return schema.field(name)


def _found(shard: Shard, schema: pa.Schema, name: str) -> pa.DataType:
    if schema.names.count(name) != 1:
        raise ShardError(shard.path, f"not one column {name!r} as in the first shard; there are: {_there(schema)}")
    return schema.field(name).type


def _there(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name}: {field.type}" for field in schema)


def _fits(numeric: bool) -> Callable[[pa.DataType], bool]:
    return lists.is_vector if numeric else _is_files


def _kind(numeric: bool) -> str:
    return "a list of numbers" if numeric else "binary or struct<bytes, path>"


def _is_files(kind: pa.DataType) -> bool:
    """Whether a column of this type keeps files: binary of any kind, or a struct with a binary child ``bytes``."""
    if pa.types.is_struct(kind):
        at = kind.get_field_index("bytes")
        return at >= 0 and _is_binary(kind.field(at).type)
    return _is_binary(kind)


def _is_binary(kind: pa.DataType) -> bool:
    kind = plain(kind)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind))
