"""The Parquet tables of a unit: latents, metrics of denoised images, rejects. Rows are in the order of the source."""

from collections.abc import Iterable, Iterator, Sequence

import pyarrow as pa

from lake.core.records import Reject
from lake.formats.common.identity_columns import carried_fields, identity_fields
from lake.formats.common.parquet_file import open_parquet
from lake.images.types import Target
from lake.storage import store_for
from pipeline.options.values import NoiseLevel
from pipeline.output.units.latent_columns import LatentColumns

# A carried column never has these names, also where the table does not.
_LATENT_COLUMNS = ("latent", "mse", "psnr", "latent_variance")
SIZE = ("height", "width")  # of the image that a latent is of, in pixels
# Of the upright image before it was resized, and where its bucket begins in it afterwards, in pixels.
ORIGINAL = ("original_height", "original_width", "crop_top", "crop_left")


def size_columns(target: Target) -> tuple[str, ...]:
    """The columns of a latent table that say the sizes of images, where these have any.

    Args:
      target: what images are decoded to.
    """
    if not target.any_size:
        return ()
    return SIZE if target.buckets is None else (*SIZE, *ORIGINAL)


def latent_schema(
    columns: LatentColumns, errors: bool, carry: pa.Schema, hashes: bool = False, sizes: Sequence[str] = ()
) -> pa.Schema:
    """Return the schema of the latent table.

    Args:
      columns: its columns with latents.
      errors: whether it has the error columns of ``reconstruct``, mse and psnr (in dB).
      carry: carried columns. One whose name the table itself uses is carried as ``source_<name>``.
      hashes: whether it has the columns of ``--hash``.
      sizes: what ``size_columns`` gives.

    >>> latent_schema(LatentColumns(dimension=8), errors=True, carry=pa.schema([("label", pa.int64())])).names
    ['key', 'shard', 'index', 'latent', 'mse', 'psnr', 'label']
    """
    own = [*columns.fields(), *(pa.field(name, pa.int32(), nullable=False) for name in sizes)]
    errors_of = [pa.field(name, pa.float32(), nullable=False) for name in ("mse", "psnr")] if errors else []
    made = [*own, *errors_of, *hash_fields(hashes)]
    return pa.schema([*identity_fields(), *made, *carried_fields(carry, _names(_LATENT_COLUMNS, made))])


def hash_fields(hashes: bool) -> list[pa.Field]:
    """The fields of ``--hash``; none where it is not given.

    Args:
      hashes: whether it is.
    """
    fields = [pa.field("sha256", pa.binary(32), nullable=False), pa.field("phash", pa.int64())]  # vectors have no phash
    return fields if hashes else []


def _names(always: Iterable[str], fields: Iterable[pa.Field]) -> set[str]:
    return {*always, *(field.name for field in fields)}


# "psnr" is what earlier versions called psnr_input.
_METRIC_COLUMNS = ("height", "width", "noise_level", "mse", "psnr", "psnr_input", "psnr_reference", "ssim_reference")


def noise_fields(noise: NoiseLevel | None) -> list[pa.Field]:
    """The fields of the metrics table that say more of the noise than ``noise_level``.

    Args:
      noise: what the job says of it; None where the model is not told.
    """
    if noise is None or not noise.detailed:
        return []
    numbers = pa.list_(pa.float32())  # one for each colour channel
    if noise.camera:
        return [pa.field(name, numbers, nullable=False) for name in ("gain", "read_noise", "black_level")]
    # The error is null where an image says nothing of its noise.
    return [pa.field("noise_level_error", pa.float32()), pa.field("noise_levels", numbers, nullable=False)]


def metrics_schema(
    carry: pa.Schema, reference: bool, hashes: bool = False, noise: NoiseLevel | None = None
) -> pa.Schema:
    """Return the schema of the metrics table of denoised images.

    ``mse`` and ``psnr_input`` (in dB) are of the output against the input: how much was changed, not how good it is.

    Args:
      carry: carried columns. One whose name the table itself uses is carried as ``source_<name>``.
      reference: whether it has the columns of a comparison with clean images, PSNR (in dB) and SSIM.
      hashes: whether it has the columns of ``--hash``.
      noise: what the job says of the noise.
    """
    columns = [
        *identity_fields(),
        pa.field("height", pa.int32(), nullable=False),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("noise_level", pa.float32()),  # null if the model is not told
        pa.field("mse", pa.float32(), nullable=False),
        pa.field("psnr_input", pa.float32(), nullable=False),
    ]
    if reference:
        columns += [pa.field(name, pa.float32(), nullable=False) for name in ("psnr_reference", "ssim_reference")]
    columns += [*noise_fields(noise), *hash_fields(hashes)]
    return pa.schema(columns + carried_fields(carry, _names(_METRIC_COLUMNS, columns)))


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


def schema_of(uri: str) -> pa.Schema:
    """Read the columns of a table that was written.

    Args:
      uri: of the table.

    Raises:
      OSError: it is not there, cannot be read, or is damaged.
      ValueError: it is damaged: names in it are no text.
      pa.ArrowException: it is damaged.
    """
    with store_for(uri).open(uri) as file:
        return open_parquet(file).schema_arrow
