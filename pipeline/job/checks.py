"""Check a user's options against the model and the input, and settle what they mean for one verb."""

from typing import TYPE_CHECKING

from lake.core.errors import InputError, UsageError
from lake.formats import FORMATS, MIXED
from lake.images.encoder import ImageFormat
from lake.images.types import Pages
from lake.inputs.discover import Found
from pipeline.config import ImagesOut, NoiseLevel
from pipeline.job.camera_noise import camera_noise
from pipeline.options.image_flags import ESTIMATE
from pipeline.worker.verbs import VERBS

if TYPE_CHECKING:
    from model.spec import Spec
    from pipeline.options.job_options import JobOptions

NEW_FORMAT = "parquet"  # of generated images, unless the user names another one


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
    chosen = options.output_format or (found.format if found else NEW_FORMAT)
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
