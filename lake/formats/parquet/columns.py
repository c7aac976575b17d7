"""The columns of a Parquet schema that a job reads: chosen on the first shard, and checked on every other one.

Columns are chosen by the selection, or else by these names:

- image: ``image``, ``img``, ``jpg``, ``png``, ``bytes``, ``content``, ``image_bytes``, or the only column of files;
  where there are no files, one of these names, or ``pixels``, of nested lists of pixels, else of flat ones; for vectors
  ``latent``, ``vector``, ``embedding``, ``features``, ``x``, or the only column of lists of numbers.
- key: the image struct's ``path``, else ``key``, ``filename``, ``path``, ``id``, ``__key__``, else the row's number,
  which also replaces a null key.
- carried: ``label``, ``labels``, ``class``, ``cls``, ``target``, ``*_label``; of a dictionary column its values.
"""

from collections.abc import Callable

import pyarrow as pa

from lake.core.errors import InputError, NoColumnError, ShardError
from lake.core.records import Shard
from lake.formats.common.image_names import check_one_image
from lake.formats.parquet import pixels, types, vectors
from lake.formats.reader import ColumnSelection, RecordSchema

_IMAGES = ("image", "img", "jpg", "png", "bytes", "content", "image_bytes", "pixels")
_VECTORS = ("latent", "vector", "embedding", "features", "x")
_KEYS = ("key", "filename", "path", "id", "__key__")
SHAPES = "latent_shape"  # column with the shapes of latents that have one of their own
_LABELS = ("label", "labels", "class", "cls", "target")


def choose_image(shard: Shard, schema: pa.Schema, selection: ColumnSelection) -> str:
    """The column of images, or of vectors if the selection is numeric.

    Args:
      shard: for errors.
      schema: of the shard.
      selection: what the user and the model ask for.

    Raises:
      InputError: the requested column is missing, ambiguous or of the wrong type, or none can be chosen.
    """
    fits, kind = _fits(selection.numeric), _kind(selection.numeric)
    if selection.image is not None:
        found = _asked(shard, schema, selection.image, "--image")
        if not fits(found.type):
            raise InputError(f"{shard.path}: column {found.name!r} is {found.type}, not {kind}; set --image")
        _check_written(shard, found, selection)
        return selection.image
    usable = _usable(schema, selection.numeric)
    usual = [name for name in (_VECTORS if selection.numeric else _IMAGES) if name in usable]
    if not usual and len(usable) != 1:
        raise InputError(
            f"{shard.path}: {len(usable)} columns are {kind} and none has a usual name; name one with --image. "
            f"There are: {_there(schema)}"
        )
    check_one_image(shard, usual)
    found = _asked(shard, schema, (usual or usable)[0], "--image")
    _check_written(shard, found, selection)
    return str(found.name)


def _usable(schema: pa.Schema, numeric: bool) -> list[str]:
    """Columns that may be the image or vector. Lists may be anything, so those of pixels have the name of an image."""
    found = [field.name for field in schema if (vectors.is_vector if numeric else is_files)(field.type)]
    if found or numeric:
        return found
    named = [field for field in schema if field.name in _IMAGES]
    nested = [field.name for field in named if pixels.is_nested(field.type)]
    return nested or [field.name for field in named if pixels.is_flat(field.type)]


def _check_written(shard: Shard, field: pa.Field, selection: ColumnSelection) -> None:
    if selection.whole and not selection.numeric and not is_files(field.type):
        raise InputError(
            f"{shard.path}: column {field.name!r} holds bare pixels; choose another --output-format for files"
        )


def choose_key(shard: Shard, schema: pa.Schema, image: str, selection: ColumnSelection) -> str | None:
    """The column of keys; ``path_of(image)`` for the image struct's own path, None for row numbers.

    Args:
      shard: for errors.
      schema: of the shard.
      image: the column of images.
      selection: what the user and the model ask for.

    Raises:
      InputError: the requested column is missing, ambiguous or nested.
    """
    if selection.key in (None, path_of(image)) and has_path(schema.field(image).type):
        return path_of(image)
    if selection.key is not None:
        found = _asked(shard, schema, selection.key, "--key")
        if pa.types.is_nested(found.type):
            raise InputError(f"{shard.path}: column {found.name!r} is {found.type}, not text; set --key")
        return selection.key
    scalars = {field.name for field in schema if not pa.types.is_nested(field.type)} - {image}
    return next((name for name in _KEYS if name in scalars), None)


def choose_carry(shard: Shard, schema: pa.Schema, selection: ColumnSelection) -> pa.Schema:
    """The carried columns with their types.

    Args:
      shard: for errors.
      schema: of the shard.
      selection: what the user and the model ask for.

    Raises:
      InputError: a requested column is missing or ambiguous.
    """
    if selection.carry is None:
        fields = [field for field in schema if field.name in _LABELS or field.name.endswith("_label")]
    else:
        fields = [_asked(shard, schema, name, "--carry") for name in selection.carry]
    return pa.schema([pa.field(field.name, plain(field.type)) for field in fields])


def check_shapes(shard: Shard, schema: pa.Schema) -> None:
    """Check that there is a column that says the shapes of latents.

    Args:
      shard: for errors.
      schema: of the shard.

    Raises:
      InputError: there is none, or it holds something else.
    """
    if schema.names.count(SHAPES) != 1:
        raise InputError(
            f"{shard.path}: not one column {SHAPES!r} with height, width and channels of each latent, and the model's "
            f"may have any shape; there are: {_there(schema)}"
        )
    if not vectors.is_vector(kind := schema.field(SHAPES).type) or not pa.types.is_integer(kind.value_type):
        raise InputError(f"{shard.path}: column {SHAPES!r} is {kind}, not three integers for each latent")


def check_columns(shard: Shard, schema: pa.Schema, columns: RecordSchema) -> None:
    """Check that a shard has the columns that were chosen on the first one.

    Args:
      shard: for errors.
      schema: of the shard.
      columns: what was chosen.

    Raises:
      ShardError: a column is missing, or has a type of another kind.
    """
    fits, kind = _fits(columns.numeric), _kind(columns.numeric)
    there = _found(shard, schema, columns.image)
    if not fits(there) and not pa.types.is_null(there):  # a column without values has no type
        raise ShardError(shard.path, f"column {columns.image!r} is {schema.field(columns.image).type}, not {kind}")
    if columns.length is None and pixels.is_flat(schema.field(columns.image).type) and not columns.numeric:
        raise ShardError(shard.path, f"column {columns.image!r} holds flat lists, and other images in the first shard")
    if columns.key == path_of(columns.image) and not has_path(there) and not pa.types.is_null(there):
        raise ShardError(shard.path, f"column {columns.image!r} has no child 'path' as in the first shard")
    if columns.key not in (None, path_of(columns.image)):
        _found(shard, schema, columns.key)
    if columns.shaped:
        try:
            check_shapes(shard, schema)
        except InputError as error:
            raise ShardError(shard.path, str(error).removeprefix(f"{shard.path}: ")) from error
    for field in columns.carry:
        kind_there = plain(_found(shard, schema, field.name))
        if not types.castable(kind_there, field.type):
            raise ShardError(shard.path, f"column {field.name!r} is {kind_there}, and {field.type} in the first shard")


def widened(schema: pa.Schema, carry: pa.Schema) -> pa.Schema:
    """The carried columns with types that hold the values of another shard, too.

    Args:
      schema: of that shard. A column that it lacks, or has of another kind, stays as it is.
      carry: the carried columns.
    """
    return pa.schema([field.with_type(_widened(schema, field)) for field in carry])


def _widened(schema: pa.Schema, field: pa.Field) -> pa.DataType:
    if schema.names.count(field.name) != 1:
        return field.type
    return types.unified(field.type, plain(schema.field(field.name).type)) or field.type


def plain(kind: pa.DataType) -> pa.DataType:
    """The type of a column's values; for a dictionary column, of the values that it refers to."""
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def path_of(image: str) -> str:
    """The name of a key that is the image struct's own path.

    >>> path_of("image")
    'image.path'
    """
    return f"{image}.path"


def has_path(kind: pa.DataType) -> bool:
    """Whether an image column of this type is a struct with a path."""
    return bool(pa.types.is_struct(kind)) and kind.get_field_index("path") >= 0


def _asked(shard: Shard, schema: pa.Schema, name: str, option: str) -> pa.Field:
    count = schema.names.count(name)
    if count == 0:
        text = f"{shard.path}: no column {name!r}; set {option} to one of: {_there(schema)}"
        raise NoColumnError(text, option.removeprefix("--"), name)
    if count > 1:
        raise InputError(f"{shard.path}: {count} columns {name!r}; set {option} to one of: {_there(schema)}")
    return schema.field(name)


def _found(shard: Shard, schema: pa.Schema, name: str) -> pa.DataType:
    if schema.names.count(name) != 1:
        raise ShardError(shard.path, f"not one column {name!r} as in the first shard; there are: {_there(schema)}")
    return schema.field(name).type


def _there(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name}: {field.type}" for field in schema)


def _fits(numeric: bool) -> Callable[[pa.DataType], bool]:
    return vectors.is_vector if numeric else _is_images


def _is_images(kind: pa.DataType) -> bool:
    return is_files(kind) or pixels.is_nested(kind) or pixels.is_flat(kind)


def _kind(numeric: bool) -> str:
    return "a list of numbers" if numeric else "binary or struct<bytes, path>"


def is_files(kind: pa.DataType) -> bool:
    """Whether a column of this type holds files: any binary type, or a struct with a binary child ``bytes``."""
    if pa.types.is_struct(kind):
        at = kind.get_field_index("bytes")
        return at >= 0 and _is_binary(kind.field(at).type)
    return _is_binary(kind)


def _is_binary(kind: pa.DataType) -> bool:
    kind = plain(kind)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind))
