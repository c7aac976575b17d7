"""Check a user's options against the model and the input, and settle what they mean for one verb."""

from collections.abc import Container, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

import pyarrow as pa

from lake.core.errors import InputError, UsageError
from lake.core.records import Unit
from lake.formats import FORMATS, MIXED
from lake.formats.common.identity_columns import carried_fields
from lake.formats.reader import ColumnSelection, RecordSchema
from lake.images.encoder import ImageFormat
from lake.images.types import Pages
from lake.inputs.columns import settle_shard
from lake.inputs.discover import Found, find_shards
from lake.inputs.sampled import LatentSampling
from lake.inputs.units import make_units
from pipeline.config import ImagesOut, JobConfig, NoiseLevel
from pipeline.job.camera_noise import camera_noise
from pipeline.job.conditions import sampled_condition
from pipeline.options.flags import ESTIMATE
from pipeline.output.latent_columns import LatentColumns
from pipeline.output.layout import LATENTS, METRICS
from pipeline.output.tables import REJECT_SCHEMA, latent_schema, metrics_schema, size_columns
from pipeline.worker.verbs import VERBS

if TYPE_CHECKING:
    from model.spec import Spec
    from pipeline.options.job_options import JobOptions

_NEW_FORMAT = "parquet"  # of generated images, unless the user names another one
_NEW_IMAGE = "image"  # the column of images in it
_BATCH = 4096  # records


def images_out(options: "JobOptions", spec: "Spec", found: Found | None) -> ImagesOut | None:
    """Settle how the job writes its images.

    Args:
      options: the options of the job.
      spec: the model's description.
      found: the input's shards; None for a job that samples its latents.

    Returns:
      How images are written; None for a job that writes none.

    Raises:
      UsageError: the options contradict each other or the model.
      InputError: two images would be written under one name.
    """
    if options.error_map and not options.images:
        raise UsageError("--error-map needs the images; leave out --no-images")
    verb = VERBS[options.verb]
    if _pages(options) == Pages.ALL and not verb.takes_noise_level:
        raise UsageError(f"{options.verb} makes one result of a file: --pages is first or reject; denoise takes all")
    if not verb.makes_images or not options.images or (verb.works_without_images and spec.numeric):
        return None
    _check_pages(options)
    if spec.numeric:
        raise UsageError(f"{options.verb} makes images, and the model gives vectors; use a model of images")
    chosen = options.output_format or (found.format if found else _NEW_FORMAT)
    for format in found.by_format if found and chosen == MIXED else (chosen,):
        if FORMATS[format].writer_class is None:
            raise UsageError(f"{format} shards are not written; name the format of new ones, --output-format parquet")
    # Array formats store the numbers themselves, so there is no image format to choose. Of several formats, others may
    # have one.
    if chosen != MIXED and FORMATS[chosen].writer_type.pixels and options.image_format != ImageFormat.LOSSLESS:
        raise UsageError(f"{chosen} shards keep numbers, not --image-format {options.image_format}; leave it out")
    # Shards of the input's own format are copied with all else that they hold; another format needs new shards.
    rewrite = found is not None and chosen == found.format
    if found is not None and rewrite:
        _check_names(found, ImageFormat(options.image_format))
    return ImagesOut(
        format=chosen,
        rewrite=rewrite,
        image_format=options.image_format,
        quality=options.quality,
        error_map=options.error_map,
    )


def _check_pages(options: "JobOptions") -> None:
    """Check that a file of several pages can be written where all of them are asked for."""
    if _pages(options) != Pages.ALL:
        return
    if options.image_format not in (ImageFormat.TIFF, ImageFormat.SAME):
        raise UsageError("--pages all writes TIFF of several pages: add --image-format same or tiff")
    if options.reference:
        raise UsageError("--reference compares files of one image; leave out --pages all")


def _pages(options: "JobOptions") -> Pages | None:
    """What the job does with files of several images, as far as the user says; a retry may say it anew."""
    asked: Pages | None = (options.retry_policies or {}).get("pages", options.pages)
    return asked


def check_variance(options: "JobOptions", spec: "Spec") -> None:
    """Check that a model has the latent variances that the user asks for.

    Raises:
      UsageError: the model is not a variational autoencoder.
    """
    if options.variance and spec.variance is None:
        raise UsageError(f"a model of kind {spec.kind!r} gives no variances; leave out --latent-variance")


def _check_names(found: Found, image_format: ImageFormat) -> None:
    for format, shards in found.by_format.items():
        if clash := FORMATS[format].writer_type.collision((shard.path for shard in shards), image_format):
            raise InputError(
                f"{clash[0]} and {clash[1]} could both be written under one name; keep their formats with "
                "--image-format same, or write another --output-format"
            )


def noise_level(options: "JobOptions", spec: "Spec") -> NoiseLevel | None:
    """Settle what the model is told about the noise.

    Args:
      options: the options of the job.
      spec: the model's description.

    Returns:
      The noise level, or where it comes from; None for a model that is not told.

    Raises:
      UsageError: the model needs a level and none is given, or takes none and one is given, or the level is not from 0
        to 255, or what is said of a camera does not fit together.
    """
    if not VERBS[options.verb].takes_noise_level:
        return None
    camera = camera_noise(options, spec)
    if spec.input.noise is None and options.noise_level is None and camera is None:
        return None
    if spec.input.noise is None:
        raise UsageError(f"the model takes no noise level; leave out {'--noise' if camera else '--noise-level'}")
    if camera is not None:
        return NoiseLevel(camera=camera)
    if options.noise_level is None:
        raise UsageError(
            "the model takes a noise level: give --noise-level 25 (where white is 255), the name of a column, or "
            "'estimate' for each image's own"
        )
    if options.noise_level == ESTIMATE:
        return NoiseLevel(estimate=True)
    try:
        level = float(options.noise_level)
    except ValueError:
        # Not a number, so it is the name of a column. Whether that exists is known once the columns are settled.
        return NoiseLevel(column=options.noise_level)
    if not 0 <= level <= 255:
        raise UsageError(f"--noise-level {options.noise_level} is not from 0 to 255")
    return NoiseLevel(level=level)


def check_ensemble(options: "JobOptions", spec: "Spec") -> None:
    """Check that the model takes images as an ensemble turns them.

    Raises:
      UsageError: it does not.
    """
    from model.symmetries import ensemble_for

    if VERBS[options.verb].function != "denoise":
        return
    try:
        ensemble_for(options.ensemble, spec.input)
    except ValueError as error:
        raise UsageError(f"--ensemble {options.ensemble}: {error}; leave it out") from error


def with_noise_column(selection: ColumnSelection, schema: RecordSchema, noise: NoiseLevel | None) -> ColumnSelection:
    """Add the column of noise levels to the columns to carry, if it is not among them.

    Args:
      selection: what the user selected.
      schema: what that selection settled on the first shard.
      noise: what the model is told about the noise.
    """
    if noise is None or noise.column is None or noise.column in schema.carry.names:
        return selection
    return replace(selection, carry=(*schema.carry.names, noise.column))


def check_noise_column(schema: RecordSchema, noise: NoiseLevel | None) -> None:
    """Check that the column of noise levels holds numbers.

    Raises:
      InputError: it does not.
    """
    if noise is None or noise.column is None or not schema.settled:
        return
    kind = schema.carry.field(noise.column).type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        raise InputError(f"column {noise.column!r} is {kind}, not numbers; set --noise-level to another")


def latent_sampling(options: "JobOptions", spec: "Spec") -> LatentSampling | None:
    """Settle where the latents of ``generate`` come from.

    Args:
      options: the options of the job.
      spec: the model's description.

    Returns:
      How latents are sampled; None for every other verb.

    Raises:
      UsageError: an option is missing, or one is given that does not apply.
      BundleError: the model cannot decode, or has no known prior to sample from.
      InputError: a key to interpolate between is not in the input, or several latents have it.
    """
    if not VERBS[options.verb].samples:
        return None
    if spec.input.any_size:
        raise UsageError("the model's images have no size of their own; use a bundle exported with --input-shape H W C")
    if options.count is None:
        raise UsageError("how many images? Give --count")
    if options.interpolate is None:
        spec.require("generate")
        if options.input:
            raise UsageError("--input goes with --interpolate; images of the prior need none")
        return LatentSampling(count=options.count, seed=options.seed, condition=sampled_condition(options, spec))
    spec.require("decode")
    # The ends are looked up at launch: they travel with the configuration, and workers read no input.
    one, other = options.interpolate
    ends = _ends(options, spec, (one, other))
    told = sampled_condition(options, spec)
    return LatentSampling(count=options.count, ends=(ends[one], ends[other]), condition=told)


def check_directories(config: JobConfig, units: Iterable[Unit]) -> None:
    """Check that no directory is named like a column of the tables below it, as ``label=0/`` is.

    DuckDB, pandas, Polars and Spark take such a directory for a partition, whose value they read over the table's, or
    which they refuse to read.

    Args:
      config: the job.
      units: all units of the output.

    Raises:
      InputError: a directory of the input is.
      UsageError: one in the output's own name is.
    """
    columns = {name.casefold() for name in _table_columns(config)}
    remedy = "would be read from the path instead of the table"
    if found := _partition(config.output, columns):
        raise UsageError(f"--output {config.output}: {found!r} is named like a column, which {remedy}; name another")
    for unit in units:
        if "=" in unit.id and (found := _partition(unit.id.rpartition("/")[0], columns)):
            raise InputError(
                f"{unit.shards[0].uri}: the directory {found!r} is named like a column of the output, which {remedy}; "
                "rename it, give it as the --input of a job of its own, or if the column is carried leave it out "
                "with --carry"
            )


def _partition(directory: str, columns: Container[str]) -> str | None:
    """The first part of a path that readers take for a column of this name."""
    parts = (part for part in directory.split("/") if "=" in part)
    return next((part for part in parts if part.partition("=")[0].casefold() in columns), None)


def latent_table_schema(config: JobConfig) -> pa.Schema:
    """The columns of a job's latent table, but for the lengths of latents.

    Args:
      config: the job.
    """
    errors = VERBS[config.verb].function == "reconstruct"
    columns, sizes = LatentColumns.of(config, 1), size_columns(config.target)
    return latent_schema(columns, errors, config.columns.carry, hashes=config.hashes, sizes=sizes)


def _table_columns(config: JobConfig) -> list[str]:
    """The columns of all tables that a job writes."""
    verb, carry = VERBS[config.verb], config.columns.carry
    names = list(REJECT_SCHEMA.names)
    if verb.table == LATENTS:
        names += latent_table_schema(config).names
    elif verb.table == METRICS:
        names += metrics_schema(carry, config.reference is not None, config.hashes, config.noise).names
    # A shard that is written again keeps the columns of the input, whose directories are the same.
    if config.images is not None and not config.images.rewrite and config.images.format == _NEW_FORMAT:
        names += [_NEW_IMAGE, *(field.name for field in carried_fields(carry, [_NEW_IMAGE]))]
    return names


def _ends(options: "JobOptions", spec: "Spec", keys: tuple[str, str]) -> dict[str, tuple[float, ...]]:
    """Look up the latents of two keys in the latent tables of the input."""
    if not options.input:
        raise UsageError("--interpolate looks the two keys up in latent tables; name them with --input")
    found = find_shards(options.input, options.format, follow_links=options.follow_links)
    selection = ColumnSelection(
        image=options.image, key=options.key, carry=(), numeric=True, latents=True, length=spec.dimension
    )
    columns = {format: settle_shard(format, shards[0], selection) for format, shards in found.by_format.items()}
    ends: dict[str, tuple[float, ...]] = {}
    for unit in make_units(found):
        for raw in FORMATS[unit.format].reader.read(unit, columns[unit.format], _BATCH):
            records = raw.records()
            for position, key in enumerate(records.key.to_pylist()):
                if key in keys:
                    _add(ends, key, tuple(float(value) for value in records.payload[position]))
    if missing := [key for key in keys if key not in ends]:
        raise InputError(f"no record with the key {missing[0]!r} in {', '.join(options.input)}")
    return ends


def _add(ends: dict[str, tuple[float, ...]], key: str, latent: tuple[float, ...]) -> None:
    # The same latent twice is harmless: a table may be named twice, or an image be in two shards.
    if key in ends and ends[key] != latent:
        raise InputError(f"several records have the key {key!r}; name the one table that holds the right one")
    ends[key] = latent
