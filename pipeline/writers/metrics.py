"""The table of denoised images: one row for every result, in the order of the source."""

import pyarrow as pa

from pipeline.writers.latents import carried_fields, identity_fields

_FIXED = ("height", "width", "noise_level", "mse", "psnr", "psnr_reference", "ssim_reference")


def metrics_schema(carry: pa.Schema, reference: bool) -> pa.Schema:
    """Columns of the table.

    Args:
      carry: carried columns; one whose name the table uses itself is carried as ``source_<name>``.
      reference: whether there are clean images to compare with.
    """
    columns = [
        *identity_fields(),
        pa.field("height", pa.int32(), nullable=False),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("noise_level", pa.float32()),
        pa.field("mse", pa.float32(), nullable=False),
        pa.field("psnr", pa.float32(), nullable=False),
    ]
    if reference:
        columns += [pa.field(name, pa.float32(), nullable=False) for name in ("psnr_reference", "ssim_reference")]
    return pa.schema(columns + carried_fields(carry, _FIXED))
