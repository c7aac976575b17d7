"""What a job reads, and how it writes images of that: settled at launch, from the options, the model and the input."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lake.formats.reader import ColumnSelection, RecordSchema
from lake.images.center_crop import CenterCrop
from lake.images.types import Alpha, Resize, Target
from lake.inputs import sampled
from lake.inputs.apart import check_apart
from lake.inputs.columns import settle
from lake.inputs.discover import Found, find_shards
from lake.inputs.one_image import told_apart
from lake.inputs.reference import CleanShards, Reference, find_reference
from lake.inputs.sampled import LatentSampling
from pipeline.config import ImagesOut, NoiseLevel
from pipeline.job.any_size import buckets_for, check_latent_formats, with_sizes
from pipeline.job.checks import check_ensemble, images_out, noise_level
from pipeline.job.columns import check_noise_column, with_noise_column
from pipeline.job.conditions import (
    condition_name,
    condition_source,
    sampled_columns,
    sampled_source,
    with_condition_column,
)
from pipeline.job.kept_rules import with_kept_spots
from pipeline.job.partition import check_partition_by, with_partition_column
from pipeline.job.sampling import latent_sampling
from pipeline.options.condition import ConditionSource
from pipeline.options.job_options import JobOptions
from pipeline.output.state.job_file import JobFile, settled_schema
from pipeline.worker.verbs import VERBS

if TYPE_CHECKING:
    from model.bundle import Bundle
    from model.spec import Spec


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSource:
    """What a job reads, and how it writes images of that.

    Attributes:
      found: the input's shards; none for a job that samples its latents.
      selection: what the user and the model ask of each record.
      columns: the same, settled on the first shard.
      images: how images are written; None for a job that writes none.
      noise: what a denoiser is told about the noise.
      condition: where a conditional model's condition is read; None for a model that is told nothing.
      sampling: how latents are sampled; None for a job that reads its records.
      reference: the clean images to compare with.
      clean: the shards of these.
    """

    found: Found
    selection: ColumnSelection
    columns: RecordSchema
    images: ImagesOut | None
    noise: NoiseLevel | None
    condition: ConditionSource | None
    sampling: LatentSampling | None
    reference: Reference | None
    clean: CleanShards | None


def find_source(options: JobOptions, bundle: "Bundle", job_file: JobFile | None) -> JobSource:
    """Find the input, and settle what is read of it and how images are written.

    Args:
      options: the options of the job.
      bundle: the model.
      job_file: what an earlier run wrote; None for a first run.

    Raises:
      UsageError: an option, the input or the model does not fit.
    """
    check_partition_by(options)
    sampling = latent_sampling(options, bundle.spec)
    found = Found(root="", format=sampled.FORMAT, shards=()) if sampling else _find_shards(options, bundle)
    check_latent_formats(options, bundle.spec, found)
    images = images_out(options, bundle.spec, None if sampling else found)
    check_ensemble(options, bundle.spec)
    noise, told = noise_level(options, bundle.spec), condition_name(options, bundle.spec)
    selection = _selection(options, bundle, whole=images is not None and images.rewrite)
    reference, clean = find_reference(options.reference, found, selection) if options.reference else (None, None)
    columns = _columns(job_file, found, selection, noise, told, sampling)
    columns = with_partition_column(found, selection, columns, options.partition_by)
    source = condition_source(columns, told, bundle.spec)
    return JobSource(
        found=found,
        selection=selection,
        columns=columns,
        images=images,
        noise=with_kept_spots(noise, job_file, overwrite=options.overwrite),
        condition=sampled_source(sampling.condition, bundle.spec) if sampling else source,
        sampling=sampling,
        reference=reference,
        clean=clean,
    )


def _find_shards(options: JobOptions, bundle: "Bundle") -> Found:
    found = find_shards(options.input, options.format, follow_links=options.follow_links)
    check_apart(list(found.followed), options.output, "linked directory")
    return told_apart(found, _selection(options, bundle, whole=False)) if options.format == "auto" else found


def _selection(options: JobOptions, bundle: "Bundle", whole: bool) -> ColumnSelection:
    numeric = VERBS[options.verb].takes_latents or bundle.spec.numeric
    shape = decoded_shape(options.verb, bundle.spec)
    return ColumnSelection(
        image=options.image,
        key=options.key,
        # A column that is named twice is carried once.
        carry=None if options.carry is None else tuple(dict.fromkeys(options.carry)),
        numeric=numeric,
        length=shape[0] if numeric else None,
        shaped=VERBS[options.verb].takes_latents and bundle.spec.input.any_size,
        shape=None if numeric or None in shape else tuple(side for side in shape if side is not None),
        layout=options.layout,
        image_shape=options.image_shape,
        image_dtype=options.image_dtype,
        latents=VERBS[options.verb].takes_latents,
        max_record_bytes=options.max_record_bytes,
        whole=whole,
        salvage=options.on_damage == "reject",
    )


def _columns(
    job_file: JobFile | None,
    found: Found,
    selection: ColumnSelection,
    noise: NoiseLevel | None,
    told: str | None,
    sampling: LatentSampling | None,
) -> RecordSchema:
    """Settle the columns. An output keeps those of its first run, whatever shards come later."""
    if sampling is not None:
        most, carry = selection.max_record_bytes, sampled_columns(sampling.condition)
        return RecordSchema(image="", key=None, carry=carry, numeric=True, max_record_bytes=most)
    columns = settled_schema(job_file, selection)
    if columns is not None and columns.formats:
        columns = settle(found, selection, columns)
    elif columns is None:
        columns = with_sizes(found, selection, settle(found, selection))
        columns = with_noise_column(found, selection, columns, noise)
        columns = with_condition_column(found, selection, columns, told)
    check_noise_column(columns, noise)
    return columns


def resize_policy(verb: str, resize: Resize | None, spec: "Spec") -> Resize | CenterCrop | None:
    """Return how images of other sizes come to the model's: as the job says, or else as its bundle does.

    Args:
      verb: what the job computes.
      resize: what the job says.
      spec: the model's description.
    """
    return spec.input.resize if resize is None and not VERBS[verb].takes_latents else resize


def decoded_shape(verb: str, spec: "Spec") -> tuple[int | None, ...]:
    """Return the shape that records are decoded to: latents or images, either of any size, or the model's input.

    Args:
      verb: what the job computes.
      spec: the model's description.
    """
    if VERBS[verb].takes_latents:
        return (None, None, spec.latent.shape[2]) if spec.latent and spec.input.any_size else (spec.dimension,)
    return (None, None, spec.input.shape[2]) if spec.input.any_size else spec.input.shape


def decoding_target(options: JobOptions, spec: "Spec") -> Target:
    """Return what images are decoded to, by a user's options.

    Args:
      options: the options of a job.
      spec: its model's description.
    """
    return Target(
        shape=decoded_shape(options.verb, spec),
        resize=resize_policy(options.verb, options.resize, spec),
        decode=options.decode,
        orientation=options.orientation,
        color=options.color,
        max_pixels=options.max_pixels,
        pages=options.pages,
        white=float(options.white),
        buckets=buckets_for(options, spec),
        alpha=options.alpha or Alpha.LAST,
    )
