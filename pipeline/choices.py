"""What a user's options come to for one verb: how images are written, what noise is told, where latents come from."""

from dataclasses import replace
from typing import TYPE_CHECKING

import pyarrow as pa

from pipeline.config import Drawn, ImagesOut, NoiseLevel, Verb
from pipeline.errors import InputError, UsageError
from pipeline.images.encode import ImageFormat
from pipeline.listing import Found, find_shards
from pipeline.plan import make_units
from pipeline.readers import Columns, Request, reader_for
from pipeline.writers.names import collision

if TYPE_CHECKING:
    from model.spec import Spec
    from pipeline.settings import Settings

ESTIMATE = "estimate"
_ANEW = "parquet"  # what generated images are written as, unless another format is asked for
_BATCH = 4096


def images_out(settings: "Settings", spec: "Spec", found: Found | None) -> ImagesOut | None:
    """How the job's images are written; None where it has none.

    Args:
      settings: what was asked for.
      spec: of the model.
      found: the shards; None where there are none.

    Raises:
      UsageError: the options contradict each other, or two images would be written under one name.
    """
    if settings.error_map and not settings.images:
        raise UsageError("--error-map shows images' errors; leave out --no-images")
    if settings.verb is Verb.ENCODE or not settings.images or (settings.verb is Verb.RECONSTRUCT and spec.numeric):
        return None
    if spec.numeric:
        raise UsageError(f"{settings.verb} makes images, and the model gives vectors; use a model of images")
    chosen = settings.output_format or (found.format if found else _ANEW)
    if chosen == "array" and settings.image_format != ImageFormat.LOSSLESS:
        raise UsageError(f"arrays keep numbers, not --image-format {settings.image_format}; leave it out")
    again = found is not None and chosen == found.format
    if found is not None and again and chosen == "folder":
        _check_names(found, ImageFormat(settings.image_format))
    return ImagesOut(
        format=chosen,
        again=again,
        image_format=settings.image_format,
        quality=settings.quality,
        error_map=settings.error_map,
    )


def check_variance(settings: "Settings", spec: "Spec") -> None:
    """Refuse to ask for variances that the model does not have.

    Raises:
      UsageError: it is no variational autoencoder.
    """
    if settings.variance and spec.variance is None:
        raise UsageError(f"a model of kind {spec.kind!r} gives no variances; leave out --latent-variance")


def _check_names(found: Found, image_format: ImageFormat) -> None:
    if clash := collision((shard.path for shard in found.shards), image_format):
        raise InputError(
            f"{clash[0]} and {clash[1]} could both be written under one name; keep their formats with "
            "--image-format same, or write another --output-format"
        )


def noise_level(settings: "Settings", spec: "Spec") -> NoiseLevel | None:
    """What the model is told of the noise; None where it does not ask.

    Raises:
      UsageError: a level is missing, or given to a model that takes none.
    """
    if settings.verb is not Verb.DENOISE or (spec.input.noise is None and settings.noise_level is None):
        return None
    if spec.input.noise is None:
        raise UsageError("the model takes no noise level; leave out --noise-level")
    if settings.noise_level is None:
        raise UsageError(
            "the model takes a noise level: give --noise-level 25 (where white is 255), the name of a column, or "
            "'estimate' for each image's own"
        )
    if settings.noise_level == ESTIMATE:
        return NoiseLevel(estimate=True)
    try:
        level = float(settings.noise_level)
    except ValueError:
        return NoiseLevel(column=settings.noise_level)
    if not 0 <= level <= 255:
        raise UsageError(f"--noise-level {settings.noise_level} is not from 0 to 255")
    return NoiseLevel(level=level)


def with_level(request: Request, settled: Columns, noise: NoiseLevel | None) -> Request:
    """The request that carries the column of noise levels too."""
    if noise is None or noise.column is None or noise.column in settled.carry.names:
        return request
    return replace(request, carry=(*settled.carry.names, noise.column))


def check_level(columns: Columns, noise: NoiseLevel | None) -> None:
    """Make sure that the column of noise levels holds numbers.

    Raises:
      InputError: it does not.
    """
    if noise is None or noise.column is None:
        return
    kind = columns.carry.field(noise.column).type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        raise InputError(f"column {noise.column!r} is {kind}, not numbers; set --noise-level to another")


def drawn_latents(settings: "Settings", spec: "Spec") -> Drawn | None:
    """Where the latents of ``generate`` come from; None for every other verb.

    Raises:
      UsageError: options are missing, or the model has no known prior and no ends are given.
      InputError: an end is not in the input once.
    """
    if settings.verb is not Verb.GENERATE:
        return None
    if settings.count is None:
        raise UsageError("how many images? Give --count")
    if settings.interpolate is None:
        spec.require("generate")
        if settings.input:
            raise UsageError("--input goes with --interpolate; images of the prior need none")
        return Drawn(count=settings.count, seed=settings.seed)
    spec.require("decode")
    one, other = settings.interpolate
    ends = _ends(settings, spec, (one, other))
    return Drawn(count=settings.count, ends=(ends[one], ends[other]))


def _ends(settings: "Settings", spec: "Spec", keys: tuple[str, str]) -> dict[str, tuple[float, ...]]:
    """The latents of two keys, looked up in the latent tables of the input."""
    if not settings.input:
        raise UsageError("--interpolate looks the two keys up in latent tables; name them with --input")
    found = find_shards(settings.input, settings.format)
    request = Request(image=settings.image, key=settings.key, carry=(), numeric=True, length=spec.dimension)
    columns = reader_for(found.format).settle(found.shards[0], request)
    ends: dict[str, tuple[float, ...]] = {}
    for unit in make_units(found):
        for raw in reader_for(unit.format).read(unit, columns, _BATCH):
            records = raw.records()
            for position, key in enumerate(records.key.to_pylist()):
                if key in keys:
                    _add(ends, key, tuple(float(value) for value in records.payload[position]))
    if missing := [key for key in keys if key not in ends]:
        raise InputError(f"no record with the key {missing[0]!r} in {', '.join(settings.input)}")
    return ends


def _add(ends: dict[str, tuple[float, ...]], key: str, latent: tuple[float, ...]) -> None:
    if key in ends and ends[key] != latent:
        raise InputError(f"several records have the key {key!r}; name the one table that holds the right one")
    ends[key] = latent
