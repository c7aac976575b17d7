"""Check what a user asks of a model of any size with latents, and settle the sizes that images get."""

from dataclasses import replace
from typing import TYPE_CHECKING

from lake.core.errors import InputError, NoColumnError, UsageError
from lake.formats.reader import ColumnSelection, RecordSchema
from lake.images.buckets import Buckets
from lake.inputs.columns import settle
from lake.inputs.discover import Found
from pipeline.output.layout import LATENTS
from pipeline.output.units.tables import SIZE
from pipeline.worker.verbs import VERBS

if TYPE_CHECKING:
    from model.spec import Spec
    from pipeline.options.job_options import JobOptions

_AREA = 1024 * 1024  # pixels
# Formats whose latents may have shapes of their own.
_WITH_SHAPES = ("parquet", "arrow", "webdataset", "mds", "arrayrecord")


def buckets_for(options: "JobOptions", spec: "Spec") -> Buckets | None:
    """Settle the sizes that images are resized and cropped to.

    Args:
      options: the options of the job.
      spec: the model's description.

    Returns:
      The sizes; None where images keep their own, or all get the model's.

    Raises:
      UsageError: an option does not fit the model or another option.
    """
    sized = VERBS[options.verb].table == LATENTS and spec.input.any_size
    resize = (options.retry_policies or {}).get("resize", options.resize)
    if sized and resize is not None:
        raise UsageError("--resize is for a model of one size; this one takes any: leave it out, or give --bucket 64")
    if options.bucket is None:
        if options.max_area is not None:
            raise UsageError("--max-area goes with --bucket; add --bucket 64, or leave it out")
        return None
    if not sized:
        raise UsageError("--bucket is for latents of a model that takes images of any size; leave it out")
    buckets = Buckets(step=options.bucket, max_area=_AREA if options.max_area is None else options.max_area)
    _check(buckets, spec, options.max_pixels)
    return buckets


def _check(buckets: Buckets, spec: "Spec", max_pixels: int) -> None:
    from model.spatial import LARGEST_WHOLE

    multiple = spec.input.multiple
    if buckets.step % multiple:
        raise UsageError(f"--bucket {buckets.step}: the model takes sides that are multiples of {multiple}")
    most = max_pixels if spec.local else min(max_pixels, LARGEST_WHOLE)
    if not buckets.step**2 <= buckets.max_area <= most:
        raise UsageError(
            f"--max-area {buckets.max_area}: from {buckets.step**2}, the smallest square with --bucket {buckets.step}, "
            f"to {most} pixels" + ("" if spec.local else ", since the model sees all of an image at once")
        )


def check_latent_formats(options: "JobOptions", spec: "Spec", found: Found) -> None:
    """Check that the input can hold latents of many shapes, where the job reads such.

    Raises:
      InputError: a format of the input cannot.
    """
    if not (VERBS[options.verb].takes_latents and spec.input.any_size):
        return
    if others := [format for format in found.by_format if format not in _WITH_SHAPES]:
        raise InputError(
            f"{others[0]} shards do not say the shapes of latents, and the model's may have any; give "
            f"{', '.join(_WITH_SHAPES[:-1])} or {_WITH_SHAPES[-1]} shards"
        )


def with_sizes(found: Found, selection: ColumnSelection, columns: RecordSchema) -> RecordSchema:
    """Settled columns, with those of the images' sizes where latents have shapes of their own and the shards have them.

    Args:
      found: the input's shards.
      selection: what the user and the model ask of each record.
      columns: the same, settled.

    Raises:
      InputError: these columns hold something else.
    """
    if not selection.shaped or not columns.settled:
        return columns
    carry = tuple(dict.fromkeys((*columns.carry.names, *SIZE)))
    try:
        return settle(found, replace(selection, carry=carry))
    except NoColumnError:
        return columns
