"""The Parquet tables of a unit: latents, metrics of denoised images, rejects. Rows are in the order of the source."""

from collections.abc import Iterable, Iterator, Sequence

import pyarrow as pa

from lake.core.records import Array, Reject
from lake.formats.common.identity_columns import carried_fields, identity_fields

_LATENT_COLUMNS = ("latent", "mse", "psnr", "latent_variance")


def latent_schema(dimension: int, errors: bool, carry: pa.Schema, variance: bool = False) -> pa.Schema:
    """Return the schema of the latent table.

    Args:
      dimension: length D of every latent.
      errors: whether it has the error columns of ``reconstruct``, mse and psnr (in dB).
      carry: carried columns. One whose name the table itself uses is carried as ``source_<name>``.
      variance: whether it has the variance of every latent.

    >>> latent_schema(8, errors=True, carry=pa.schema([("label", pa.int64())])).names
    ['key', 'shard', 'index', 'latent', 'mse', 'psnr', 'label']
    """
    columns = [*identity_fields(), _latent_field("latent", dimension)]
    if variance:
        columns.append(_latent_field("latent_variance", dimension))
    if errors:
        columns += [pa.field(name, pa.float32(), nullable=False) for name in ("mse", "psnr")]
    return pa.schema(columns + carried_fields(carry, _LATENT_COLUMNS))


def latent_column(latents: Array) -> pa.Array:
    """Convert latents float32 ``[n, D]`` to a fixed-size list column, without a copy.

    >>> import numpy as np
    >>> latent_column(np.zeros((2, 3), np.float32)).type
    FixedSizeListType(fixed_size_list<element: float not null>[3])
    """
    values = pa.array(latents.reshape(-1))
    element = pa.field("element", pa.float32(), nullable=False)
    return pa.FixedSizeListArray.from_arrays(values, type=pa.list_(element, latents.shape[1]))


def _latent_field(name: str, dimension: int) -> pa.Field:
    element = pa.field("element", pa.float32(), nullable=False)
    return pa.field(name, pa.list_(element, dimension), nullable=False)


_METRIC_COLUMNS = ("height", "width", "noise_level", "mse", "psnr", "psnr_reference", "ssim_reference")


def metrics_schema(carry: pa.Schema, reference: bool) -> pa.Schema:
    """Return the schema of the metrics table of denoised images.

    Args:
      carry: carried columns. One whose name the table itself uses is carried as ``source_<name>``.
      reference: whether it has the columns of a comparison with clean images, PSNR (in dB) and SSIM.
    """
    columns = [
        *identity_fields(),
        pa.field("height", pa.int32(), nullable=False),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("noise_level", pa.float32()),  # null if the model is not told
        pa.field("mse", pa.float32(), nullable=False),
        pa.field("psnr", pa.float32(), nullable=False),
    ]
    if reference:
        columns += [pa.field(name, pa.float32(), nullable=False) for name in ("psnr_reference", "ssim_reference")]
    return pa.schema(columns + carried_fields(carry, _METRIC_COLUMNS))


REJECT_SCHEMA = pa.schema(
    [
        pa.field("shard", pa.string(), nullable=False),
        pa.field("index", pa.int64(), nullable=False),
        pa.field("key", pa.string(), nullable=False),
        pa.field("stage", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("detail", pa.string(), nullable=False),
        pa.field("data", pa.binary()),
        pa.field("data_truncated", pa.bool_(), nullable=False),
    ]
)


def reject_rows(rejects: Sequence[Reject], cap: int, room: int | None = None) -> pa.RecordBatch:
    """Convert rejects to rows of ``REJECT_SCHEMA``.

    Args:
      rejects: the rejected records of a batch.
      cap: how many of a record's original bytes are kept; ``data_truncated`` says whether there were more.
      room: how many bytes are kept in all; None for any number. A record that has no room keeps none.
    """
    kept = list(_kept(rejects, cap, room))
    rows = [
        {
            "shard": r.shard,
            "index": r.index,
            "key": r.key,
            "stage": str(r.stage),
            "reason": str(r.reason),
            "detail": r.detail,
            "data": data,
            "data_truncated": r.data is not None and (data is None or len(data) < len(r.data)),
        }
        for r, data in zip(rejects, kept, strict=True)
    ]
    return pa.RecordBatch.from_pylist(rows, schema=REJECT_SCHEMA)


def _kept(rejects: Iterable[Reject], cap: int, room: int | None) -> Iterator[bytes | None]:
    for reject in rejects:
        data = None if reject.data is None else reject.data[:cap]
        if data is not None and room is not None:
            if len(data) > room:
                data = None
            else:
                room -= len(data)
        yield data
