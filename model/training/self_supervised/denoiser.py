"""Train a denoiser from noisy images alone, and write its bundle."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from lake.images.anscombe import PoissonGaussian
from lake.images.noise import estimate
from model.bundle import Bundle
from model.export_trained import export_trained
from model.input_spec import NOISE_WHITE
from model.pixels import Pixels
from model.preprocessing import Preprocessing
from model.spec import Json
from model.training.checkpoint import Stops, check_output, go_on, remove_interim, say_nothing
from model.training.denoiser import channels_trained
from model.training.flops import operations
from model.training.loss_curve import write_curve
from model.training.samples import normalized
from model.training.self_supervised.card import write_card
from model.training.self_supervised.course import Course, NoisyReport, WatchNoisy
from model.training.self_supervised.images import Level, NoisyImages, iter_noisy, load_noisy
from model.training.self_supervised.known_camera import KnownCamera
from model.training.self_supervised.options import ESTIMATED, SelfSupervisedOptions
from model.training.self_supervised.photons import camera_of, levels_of
from model.training.self_supervised.ways import BlindSpot, KnownLevel, TwoShots, Way
from model.training.start import open_start

_NEAR = 1.25  # levels up to this factor below and above those that were seen count as learnt


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedOnNoise:
    """The result of a training without clean images.

    Attributes:
      bundle: the bundle.
      way: how it was trained.
      reports: all reports, in order.
      best: the report of the weights in the bundle.
      levels: least, median and greatest noise level of the training images, where white is 255; () if not known.
      camera: noise of photons that was made white before, to which levels and errors refer; None where it was not.
      correlation: of neighbours in what is removed from held-out images, in a row and in a column.
      images: number of training images.
      held_out: number of held-out images or strips.
      operations: floating-point operations per pixel.
      interrupted: whether it was stopped before its end. The last checkpoint is still there, if there was one.
    """

    bundle: Bundle
    way: Way
    reports: tuple[NoisyReport, ...]
    best: NoisyReport
    levels: tuple[float, ...]
    camera: PoissonGaussian | None
    correlation: tuple[float, float]
    images: int
    held_out: int
    operations: float
    interrupted: bool = False


def train_on_noise(
    options: SelfSupervisedOptions,
    watch: WatchNoisy,
    begin: Callable[[], Stops] = go_on,
    *,
    reading: Callable[[], None] = say_nothing,
    resume: bool = False,
) -> TrainedOnNoise:
    """Train a denoiser from noisy images alone and write its bundle.

    It learns from pairs if there are any, else by the noise level if that is known, else by hiding pixels. On one
    machine, equal options and inputs give equal weights, however often the training was interrupted.

    Args:
      options: everything that the training depends on.
      watch: called with each report and the total number of steps.
      begin: called once the images are read. What it returns is told after each step how many are done, and may stop
        the training: a bundle of the best weights so far is written then.
      reading: called once the options are checked, before the images are read.
      resume: whether a training is to go on that was stopped: its bundle is replaced.

    Raises:
      UsageError: the options do not fit the input, or the loss is not finite.
      InputError: the input cannot be read.
      ShardError: a shard is damaged, or the shards of a pair do not match.
      OutputError: the output holds a bundle, or the checkpoint of another training; or with ``resume`` no checkpoint.
      KeyboardInterrupt: it was stopped before the first report.
    """
    check_output(options.output, resume=resume)
    open_start(options.start_from)
    reading()
    channels = channels_trained(options)
    photons = _Photons(options, channels)
    images = load_noisy(
        iter_noisy(options, channels),
        channels,
        level_of(options),
        options.validation_fraction,
        photons=photons if options.photons else None,
    )
    way = way_of(options, photons.camera)
    course = Course(options, way, images, photons.camera)
    interrupted = course.train(watch, begin())
    remove_interim(options.output)
    trained = _bundled(options, way, images, course, interrupted=interrupted)
    if not interrupted:
        course.checkpoint.remove()
    return trained


def way_of(options: SelfSupervisedOptions, camera: PoissonGaussian | None) -> Way:
    """How a training learns: the strongest way that what is known of the noise, or its camera, allows."""
    if options.paired:
        return TwoShots()
    if camera is not None:
        return KnownCamera(camera)
    return BlindSpot() if options.noise_level is None else KnownLevel()


class _Photons:
    """Tells the camera of all images, and the levels that their noise has once it is white."""

    def __init__(self, options: SelfSupervisedOptions, channels: int) -> None:
        self._options, self._channels = options, channels
        self.camera: PoissonGaussian | None = None

    def __call__(self, images: Sequence[Pixels]) -> tuple[PoissonGaussian, Sequence[float], Sequence[float]]:
        self.camera = camera_of(self._options, images, self._channels)
        return levels_of(images, self.camera, self._options)


def level_of(options: SelfSupervisedOptions) -> Level | None:
    """How the noise level of an image is known."""
    given = options.noise_level
    if options.paired:
        return pair_level
    if given is None:
        return None
    return (lambda image: estimate(image).level) if given == ESTIMATED else lambda _: float(given) / NOISE_WHITE


def pair_level(shots: Pixels) -> float:
    """The standard deviation of the noise of two shots ``[H, W, 2 * C]`` of one scene: that of their difference / √2.

    >>> noise = np.random.default_rng(0).normal(0.5, 0.1, (64, 64, 2)).astype(np.float32)
    >>> round(pair_level(noise), 2)
    0.1
    """
    first, second = np.split(normalized(shots).astype(np.float64), 2, axis=2)
    return float(np.sqrt(np.mean((first - second) ** 2) / 2))


def _bundled(
    options: SelfSupervisedOptions, way: Way, images: NoisyImages, course: Course, *, interrupted: bool
) -> TrainedOnNoise:
    channels, model = len(images.mean), course.best_model()
    cost = operations(model, *[(64, 64, count) for count in (channels, 1)[: 1 + way.told]]) / 64**2
    correlation = course.correlation()
    trained = TrainedOnNoise(
        bundle=export_trained(
            model,
            options.output,
            kind="denoiser",
            latent=None,
            preprocessing=_preprocessing(way, images, course.camera),
            training=_provenance(options, way, images, course, correlation, cost),
        ),
        way=way,
        reports=tuple(course.reports),
        best=course.best_report,
        levels=_levels(images),
        camera=course.camera,
        correlation=correlation,
        images=len(images.training),
        held_out=len(images.held_out),
        operations=cost,
        interrupted=interrupted,
    )
    _write_curve(options.output, course.reports)
    write_card(options.output, trained)
    return trained


def _levels(images: NoisyImages) -> tuple[float, ...]:
    """The least level of noise, the median and the greatest, where white is 255; nothing where no level is known."""
    if not images.levels.any():
        return ()
    return tuple(float(NOISE_WHITE * q) for q in np.quantile(images.levels, (0, 0.5, 1)))


def _provenance(
    options: SelfSupervisedOptions,
    way: Way,
    images: NoisyImages,
    course: Course,
    correlation: tuple[float, float],
    cost: float,
) -> dict[str, Json]:
    best, levels = course.best_report, _levels(images)
    return {
        "inputs": list(options.inputs),
        "pairs": list(options.pairs),
        **({} if options.pairs_by is None else {"pairs_by": options.pairs_by}),
        **course.identity(),
        "channels": len(images.mean),
        "assumption": way.assumes,
        "training_images": len(images.training),
        "best_step": best.step,
        "loss": best.loss,
        "validation_error": best.error,
        "residual_correlation": list(correlation),
        "operations_per_pixel": cost,
        **({"noise_levels": list(levels)} if levels else {}),
    }


def _preprocessing(way: Way, images: NoisyImages, camera: PoissonGaussian | None) -> Preprocessing:
    standardized = Preprocessing(value_range=(0.0, 1.0), mean=tuple(images.mean.tolist()), std=(images.std,))
    if not way.told:
        return standardized
    # Without biases the network scales with image and level, so levels nearby are as good as those that were seen.
    seen = (
        float(images.levels.min()) * NOISE_WHITE / _NEAR,
        min(float(images.levels.max()) * NOISE_WHITE * _NEAR, NOISE_WHITE),
    )
    return replace(
        standardized,
        noise_input="noise_level",
        noise_scale=1 / images.std,
        noise_range=seen if seen[1] > 0 else None,
        noise_camera=camera,
    )


def _write_curve(output: str, reports: Sequence[NoisyReport]) -> None:
    points = [(report.step, report.error) for report in reports if report.error is not None]
    values: Json = {"reports": [asdict(report) for report in reports]}
    write_curve(output, values, {"held out": points}, "step", "error without clean images, white is 255")
