"""The latent table: one row for every result, in the order of the source."""

from collections.abc import Iterable

import pyarrow as pa

from pipeline.records import Array

SHARD_TYPE = pa.dictionary(pa.int32(), pa.string())
_IDENTITY = ("key", "shard", "index")
_FIXED = ("latent", "mse", "psnr", "latent_variance")


def latent_schema(dimension: int, errors: bool, carry: pa.Schema, variance: bool = False) -> pa.Schema:
    """Columns of the table.

    Args:
      dimension: D, the length of every latent.
      errors: whether the table has the error columns of reconstruct.
      carry: carried columns; one whose name the table uses itself is carried as ``source_<name>``.
      variance: whether the table has the variance of every latent.
    """
    columns = [*identity_fields(), _latent_field("latent", dimension)]
    if variance:
        columns.append(_latent_field("latent_variance", dimension))
    if errors:
        columns += [pa.field(name, pa.float32(), nullable=False) for name in ("mse", "psnr")]
    return pa.schema(columns + carried_fields(carry, _FIXED))


def identity_fields() -> list[pa.Field]:
    """The columns that say which record a row is of."""
    return [
        pa.field("key", pa.string(), nullable=False),
        pa.field("shard", SHARD_TYPE, nullable=False),
        pa.field("index", pa.int64(), nullable=False),
    ]


def latent_column(latents: Array) -> pa.Array:
    """Latents float32 ``[n, D]`` as a fixed-size list column, without a copy."""
    values = pa.array(latents.reshape(-1))
    element = pa.field("element", pa.float32(), nullable=False)
    return pa.FixedSizeListArray.from_arrays(values, type=pa.list_(element, latents.shape[1]))


def carried_fields(carry: pa.Schema, own: Iterable[str]) -> list[pa.Field]:
    """Carried columns; one whose name the table has of its ``own`` is called ``source_<name>``."""
    fixed = {*_IDENTITY, *own}
    taken = {*fixed, *carry.names}
    return [field.with_name(_free_name(field.name, fixed, taken)) for field in carry]


def _latent_field(name: str, dimension: int) -> pa.Field:
    element = pa.field("element", pa.float32(), nullable=False)
    return pa.field(name, pa.list_(element, dimension), nullable=False)


def _free_name(name: str, fixed: set[str], taken: set[str]) -> str:
    if name not in fixed:
        return name
    while name in taken:
        name = f"source_{name}"
    return name
