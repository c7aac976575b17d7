"""The latent table: one row for every result, in the order of the source."""

import pyarrow as pa

from pipeline.records import Array

SHARD_TYPE = pa.dictionary(pa.int32(), pa.string())
_FIXED = ("key", "shard", "index", "latent", "mse", "psnr")


def latent_schema(dimension: int, errors: bool, carry: pa.Schema) -> pa.Schema:
    """Columns of the table.

    Args:
      dimension: D, the length of every latent.
      errors: whether the table has the error columns of reconstruct.
      carry: carried columns; one whose name the table uses itself is carried as ``source_<name>``.
    """
    columns = [
        pa.field("key", pa.string(), nullable=False),
        pa.field("shard", SHARD_TYPE, nullable=False),
        pa.field("index", pa.int64(), nullable=False),
        pa.field("latent", pa.list_(pa.field("element", pa.float32(), nullable=False), dimension), nullable=False),
    ]
    if errors:
        columns += [pa.field(name, pa.float32(), nullable=False) for name in ("mse", "psnr")]
    taken = {*_FIXED, *carry.names}
    return pa.schema(columns + [field.with_name(_carried_name(field.name, taken)) for field in carry])


def latent_column(latents: Array) -> pa.Array:
    """Latents float32 ``[n, D]`` as a fixed-size list column, without a copy."""
    values = pa.array(latents.reshape(-1))
    element = pa.field("element", pa.float32(), nullable=False)
    return pa.FixedSizeListArray.from_arrays(values, type=pa.list_(element, latents.shape[1]))


def _carried_name(name: str, taken: set[str]) -> str:
    if name not in _FIXED:
        return name
    while name in taken:
        name = f"source_{name}"
    return name
