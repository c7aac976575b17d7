"""How the training data of a model was preprocessed, as whoever exports it says."""

from dataclasses import dataclass

from lake.core.errors import UsageError
from lake.core.printable import printable
from lake.images.anscombe import PoissonGaussian
from model.condition import ConditionRequest
from model.input_spec import PIXEL_RANGE, NoiseRange, Shape, is_noise_range, is_range
from model.normalization import Normalization, check_normalization, normalization, preset_fields


@dataclass(frozen=True, slots=True, kw_only=True)
class Preprocessing:
    """How the training data was preprocessed, as far as the model's file does not say.

    Attributes:
      value_range: the values of black and white; for vectors the range of the data. None for 0 and 1.
      output_range: the same of what the model puts out; None where it is as of the input, normalised if that is.
      mean: what was subtracted from each channel, red first, or one number for all, in values of ``value_range``.
      std: what each channel was divided by after that, likewise.
      bgr: whether the model takes, and puts out, images with blue first.
      preset: a key of ``model.normalization.PRESETS``, in place of ``value_range``, ``mean``, ``std`` and ``bgr``. It
        sets these, and is None afterwards.
      resize: how a job brings images of other sizes to the model's: a policy; or the pixels that their shorter side is
        scaled to, before the centre is cut out. None to reject them.
      crop: the size of what is cut out: the model's, which it is compared with; None where nobody says it.
      interpolation: the filter of that: 'bilinear' or 'bicubic'; None for the former.
      color: 'gray', 'rgb' or 'rgba'; None to go by the number of channels.
      input_shape: (H, W, C) or (d,), to take one size where the model leaves sides open.
      noise_input: name of the second input, which takes the noise level; 'channel' if the last channel does.
      noise_scale: number that stood for a standard deviation of all of white: 1 for fractions, 255 for 8-bit steps.
      noise_range: the least and the greatest noise level of the training, where white is 255 whatever the scale; None
        where nobody says it.
      noise_camera: noise of photons that was made white before, in the numbers of a pixel; None where it was not.
      condition: name of the second input of a conditional model, and after a ``=`` that of the column of the records
        that it is read from, where that has another name.
      condition_classes: the number of classes that it takes, or their names in order; None where it takes numbers.

    Raises:
      UsageError: a range is empty or not finite, the scale is not positive, a mean or deviation does not fit, the
        condition is none, or a range of noise levels is none or of a model that is not told them.

    >>> Preprocessing(value_range=(-1.0, 1.0)).noise_scale
    1.0
    >>> Preprocessing(preset="tf") == Preprocessing(value_range=(-1.0, 1.0))
    True
    """

    value_range: tuple[float, float] | None = None
    output_range: tuple[float, float] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    bgr: bool = False
    preset: str | None = None
    resize: int | str | None = None
    crop: tuple[int, ...] | None = None
    interpolation: str | None = None
    color: str | None = None
    input_shape: Shape | None = None
    noise_input: str | None = None
    noise_scale: float = 1.0
    noise_range: NoiseRange | None = None
    noise_camera: PoissonGaussian | None = None
    condition: str | None = None
    condition_classes: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.preset is not None:
            fields = preset_fields(self.preset, {name: getattr(self, name) for name in self.__slots__})
            for name, value in {**fields, "preset": None}.items():
                object.__setattr__(self, name, value)
        for flag, limits in (("--value-range", self.value_range), ("--output-range", self.output_range)):
            if limits is not None and not is_range(*limits):
                shown = " ".join(printable(str(value), 40) for value in limits)
                raise UsageError(f"{flag} {shown}: the first must be below the second, and both finite")
        if not 0 < self.noise_scale < float("inf"):
            raise UsageError(f"--noise-scale {self.noise_scale:g}: must be above 0 and finite")
        self._check_noise_range()
        check_normalization(self.mean, self.std, self.value_range or PIXEL_RANGE)
        if self.condition_classes is not None and self.condition is None:
            raise UsageError("--condition-classes goes with --condition, which names the input that takes the class")
        if self.condition is not None and self.noise_input is not None:
            raise UsageError("--condition and --noise-input: a model has one second input; leave out one of them")
        if self.condition is not None:
            ConditionRequest.parse(self.condition, self.condition_classes)

    def _check_noise_range(self) -> None:
        if self.noise_range is None:
            return
        shown = " ".join(printable(str(value), 40) for value in self.noise_range)
        if len(self.noise_range) != 2 or not is_noise_range(*self.noise_range):
            raise UsageError(f"--noise-range {shown}: from 0 to 255, where white is 255, the least level first")
        if self.noise_input is None:
            raise UsageError(f"--noise-range {shown} is for a model that is told the noise level: add --noise-input")

    @property
    def condition_request(self) -> ConditionRequest | None:
        """What is said of a condition; None for a model without one."""
        return None if self.condition is None else ConditionRequest.parse(self.condition, self.condition_classes)

    def normalization(self, channels: int | None) -> Normalization | None:
        """What is done to images of a number of channels; None where nothing is, or ``channels`` for vectors.

        Raises:
          UsageError: mean, deviation or order do not fit this number of channels.
        """
        output = self.output_range is None
        return normalization(self.mean, self.std, bgr=self.bgr, channels=channels, output=output)
