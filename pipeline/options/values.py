"""Options of several fields: limits of an output, how images are written, and what a denoiser is told."""

from dataclasses import asdict, dataclass
from typing import Any

from lake.cli.check import check_instance, known_names_only
from lake.images.types import Pages
from pipeline.options.flags import RUN


@known_names_only
@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """The limits within which an output is complete and gets ``_SUCCESS``.

    They apply to all records and units of the output, not only to those of the last run.

    Attributes:
      max_reject_fraction: largest share of rejected records, 0 to 1.
      max_failed_units: largest number of failed units.

    Raises:
      UsageError: a limit is out of its range.
    """

    max_reject_fraction: float = 0.01
    max_failed_units: int = 0

    def __post_init__(self) -> None:
        check_instance(self, RUN)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagesOut:
    """How a job writes its images.

    Attributes:
      format: format of the shards, a name in ``lake.formats.FORMATS``; ``MIXED`` to rewrite each in its own.
      rewrite: True to copy the input's shards, with everything else in them, and replace their images; False to write
        new shards that hold the images and the records' keys.
      image_format: format of each image, a value of ``lake.images.encoder.ImageFormat``.
      quality: quality of JPEG and lossy WebP, 1 to 100.
      error_map: also write a dataset of error maps, the absolute difference of output and input for each pixel.
    """

    format: str
    rewrite: bool
    image_format: str
    quality: int
    error_map: bool

    def options(self) -> dict[str, Any]:
        """Return the fields as JSON values, for the fingerprint and for ``_job.json``."""
        # Outputs on disk call the field "again". The name is part of the fingerprint, so it cannot change.
        value = asdict(self)
        return {"again": value.pop("rewrite"), **value}


def usual_pages(images: ImagesOut | None) -> Pages:
    """What a job does with a file of several images unless the user says it. Where images are written, none is lost."""
    return Pages.FIRST if images is None else Pages.REJECT


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraNoise:
    """Poisson-Gaussian noise, in the numbers of the pixels: see ``lake.images.anscombe``.

    Attributes:
      gain: numbers for each electron; None to estimate it and the read noise of each image.
      read_noise: standard deviation without light; None likewise.
      black_level: mean without light.
    """

    gain: float | None = None
    read_noise: float | None = None
    black_level: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseLevel:
    """What a denoiser is told about the noise. Exactly one of the four fields is set.

    Noise levels are standard deviations on the scale where white is 255.

    Attributes:
      level: one level for all images, 0 to 255.
      column: name of a carried column with one level per record.
      estimate: estimate the level of each image from the image itself.
      camera: the noise is Poisson-Gaussian, and made white before the model sees the image.
      spots: bright spots and hot pixels are told from the noise, where that follows from the image.
    """

    level: float | None = None
    column: str | None = None
    estimate: bool = False
    camera: CameraNoise | None = None
    spots: bool = False

    @property
    def detailed(self) -> bool:
        """Whether there is more to say of an image's noise than the level."""
        return self.estimate or self.camera is not None

    @property
    def estimated(self) -> bool:
        """Whether what the model is told follows from the image itself."""
        return self.estimate or (self.camera is not None and self.camera.gain is None)

    def options(self) -> dict[str, Any]:
        """Return the fields as JSON values, for the fingerprint and for ``_job.json``."""
        # What is not in use is left out, as in outputs from before there was any.
        later = ("camera", "spots")
        return {name: value for name, value in asdict(self).items() if name not in later or value}
