"""Whether a model's golden outputs look right: a wrong value range gives images that are black, and nothing fails."""

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import inf, isfinite, isnan, log10, nan
from typing import TypeAlias

import numpy as np

from lake.core.errors import UsageError
from model.pixels import Floats, Pixels, to_unit
from model.spec import Json, Spec

_LOG = logging.getLogger(__name__)
Range: TypeAlias = tuple[float, float]
_SLIVER = 0.05  # of a range: less is an image of nearly one shade
_BEYOND = 0.1  # of the range, by which outputs may leave it
_FAR_BEYOND = 4.0  # times the range: of another scale
_UNLIKE = 0.05  # correlation of outputs and inputs; of trained autoencoders, 0.2 and more for patterns never seen
_LITTLE = 0.9  # of the variance, that is left where so little is taken off as noise is
_ALIKE = 0.8  # correlation; of noise that a network finds at edges, 0.6 and less
_USUAL = ((0.0, 1.0), (-1.0, 1.0), (0.0, 255.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class OuterLayers:
    """What the first and last layers of a model say of the values that it takes and puts out, as far as is known.

    Attributes:
      scaling: factor and offset that the input is scaled by before anything else.
      activation: name and range of the function that bounds the output.
      inner_activation: the same of the network alone, whose output the model turns back to the value range.
    """

    scaling: tuple[float, float] | None = None
    activation: tuple[str, Range] | None = None
    inner_activation: tuple[str, Range] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """Something about a model's outputs that does not look right.

    Attributes:
      text: what, and what to do about it.
      grave: the images that a job would write mean nothing.
    """

    text: str
    grave: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Likeness:
    """How a model's golden outputs compare with the golden inputs.

    Attributes:
      low: smallest value of the outputs.
      high: largest value of the outputs.
      psnr: outputs against inputs in dB, both scaled to 0..1 by their ranges; NaN for a decoder alone.
      doubts: what does not look right.
    """

    low: float
    high: float
    psnr: float
    doubts: tuple[Doubt, ...]

    def to_value(self) -> Json:
        """Return it as JSON values."""
        psnr = round(self.psnr, 2) if isfinite(self.psnr) else None
        return {"low": self.low, "high": self.high, "psnr_db": psnr, "doubts": [doubt.text for doubt in self.doubts]}

    def refuse_grave(self) -> None:
        """Refuse a model whose images would mean nothing.

        Raises:
          UsageError: there is a grave doubt.
        """
        for doubt in self.doubts:
            if doubt.grave:
                raise UsageError(f"{doubt.text}; or --any-output if it is right so ({self.describe()})")

    def describe(self) -> str:
        """Describe the outputs for a person.

        >>> Likeness(low=0.0, high=1.0, psnr=31.2, doubts=()).describe()
        'outputs from 0 to 1, PSNR 31.2 dB against the inputs'
        """
        outputs = f"outputs from {self.low:.3g} to {self.high:.3g}"
        return outputs if isnan(self.psnr) else f"{outputs}, PSNR {self.psnr:.1f} dB against the inputs"


Judge: TypeAlias = Callable[[Likeness], None]


def warn_of_doubts(looks: Likeness) -> None:
    """Log what does not look right."""
    for doubt in looks.doubts:
        _LOG.warning("%s (%s)", doubt.text, looks.describe())


def likeness(
    spec: Spec, golden: Mapping[str, Pixels], layers: OuterLayers, stated: frozenset[str] = frozenset()
) -> Likeness | None:
    """Compare a model's golden outputs with the golden inputs.

    Args:
      spec: its description.
      golden: its golden inputs and outputs.
      layers: its first and last ones.
      stated: which of ``value_range`` and ``output_range`` a person has stated, so that they are not in doubt.

    Returns:
      What was found; None for a model that does not put out images.
    """
    if "output" not in golden or spec.numeric:
        return None
    if spec.kind == "decoder":
        return _decoder_likeness(spec, golden["output"].astype(np.float32), layers, stated)
    output, given = np.asarray(golden["output"], np.float32), to_unit(golden["input"])
    # The finest pattern, the first, is noise, of which a denoiser is right to leave nothing, or which it overshoots.
    unit = _to_unit(output, spec.output_range)
    error = float(np.mean(np.square(unit - given), dtype=np.float64))
    judged = output if spec.latent else output[1:]
    doubts = [*_noise_doubts(spec, unit[1:], given[1:])]
    doubts = doubts or [
        *_input_doubts(spec, layers, stated),
        *_activation_doubts(spec, layers, stated),
        *_normalization_doubts(spec, layers),
        *_range_doubts(spec, judged, stated),
    ]
    return Likeness(
        low=float(output.min()),
        high=float(output.max()),
        psnr=-10 * log10(error) if error else inf,
        # Doubts about a range explain why outputs are unlike inputs.
        doubts=tuple(doubts or _likeness_doubts(spec, unit[1:], given[1:])),
    )


def _decoder_likeness(spec: Spec, output: Floats, layers: OuterLayers, stated: frozenset[str]) -> Likeness:
    """What can be said of a decoder alone, whose golden inputs are latents that may be like none that it has seen."""
    doubts = [*_activation_doubts(spec, layers, stated), *_range_doubts(spec, output, stated | {"output_range"})]
    return Likeness(low=float(output.min()), high=float(output.max()), psnr=nan, doubts=tuple(doubts))


def _to_unit(values: Floats, limits: Range) -> Floats:
    low, high = limits
    unit: Floats = (values - np.float32(low)) / np.float32(high - low)
    return unit


def _input_doubts(spec: Spec, layers: OuterLayers, stated: frozenset[str]) -> Iterator[Doubt]:
    scaling = None if "value_range" in stated else layers.scaling
    if scaling is None:
        return
    (factor, offset), (low, high) = scaling, spec.input.value_range
    if abs(factor) * (high - low) < _SLIVER:
        yield Doubt(
            text=f"its first layers scale the input to {low * factor + offset:.3g} .. {high * factor + offset:.3g}, so "
            f"it takes other values than {_show(low, high)}: give {_usual_range(factor, offset)}",
            grave=True,
        )


def _usual_range(factor: float, offset: float) -> str:
    """The option for the range that the first layers scale to about 0..1, -1..1, or a few standard deviations."""

    def width(limits: Range) -> float:
        ends = [abs(value * factor + offset) for value in limits]
        return abs(max(ends) - 1) if max(ends) < 10 else inf

    best = min(_USUAL, key=width)
    if width(best) == inf:
        return "--value-range with the values of black and white in training"
    return f"--value-range {_show(*best)}"


def _activation_doubts(spec: Spec, layers: OuterLayers, stated: frozenset[str]) -> Iterator[Doubt]:
    known = layers.activation
    if known and known[1][0] < spec.output_range[0] and not stated:
        yield Doubt(
            text=f"its last layer is a {known[0]}, which puts out {_show(*known[1])}, where "
            f"{_show(*spec.output_range)} is expected: give --value-range {_show(*known[1])}",
            grave=True,
        )


def _normalization_doubts(spec: Spec, layers: OuterLayers) -> Iterator[Doubt]:
    """Doubts about an output that is taken to be normalised: a bounded last layer may not reach what images become."""
    normalization = spec.input.normalization
    known = layers.inner_activation if normalization and normalization.output else None
    if normalization is None or known is None:
        return
    least, most = normalization.limits(spec.input.value_range)
    if max(known[1][0] - least, most - known[1][1]) > _BEYOND * (most - least):
        yield Doubt(
            text=f"its last layer is a {known[0]}, which puts out {_show(*known[1])}, where normalised images have "
            f"{least:.3g} .. {most:.3g}: give --output-range {_show(*known[1])}",
            grave=True,
        )


def _range_doubts(spec: Spec, output: Floats, stated: frozenset[str]) -> Iterator[Doubt]:
    (low, high), (least, most) = spec.output_range, (float(output.min()), float(output.max()))
    width = high - low
    if most - least < _SLIVER * width:
        usual = next((r for r in _USUAL if r[0] - 0.1 <= least and most <= r[1] + 0.1 and r[1] - r[0] < width), None)
        remedy = f"give --output-range {_show(*usual)}" if usual else "give the --value-range of the training"
        yield Doubt(
            text=f"its outputs lie in {least:.3g} .. {most:.3g}, a sliver of {_show(low, high)}, so that images would "
            f"be of one shade: {remedy}",
            grave="output_range" not in stated,
        )
    elif (beyond := max(low - least, most - high) / width) > _BEYOND:
        yield Doubt(
            text=f"its outputs lie in {least:.3g} .. {most:.3g}, beyond {_show(low, high)}, where images are cut off: "
            "give the range of the training by --value-range, or by --output-range if the input has another",
            grave=beyond > _FAR_BEYOND and "output_range" not in stated,
        )


def _noise_doubts(spec: Spec, unit: Floats, want: Floats) -> Iterator[Doubt]:
    rest = max(_explained(want - unit, want), _explained(want + unit, want))
    if spec.latent is None and _explained(unit, want) < 0 and rest > _LITTLE and abs(_correlation(unit, want)) < _ALIKE:
        yield Doubt(
            text="it seems to put out the noise, not the image: export x - network(x) instead, in Keras "
            "keras.Model(x, keras.layers.Subtract()([x, network(x)]))",
            grave=True,
        )


def _likeness_doubts(spec: Spec, unit: Floats, want: Floats) -> Iterator[Doubt]:
    # An autoencoder may know only images of one kind; a denoiser leaves coarse patterns as they are.
    unlike = _explained(unit, want) < 0 if spec.latent is None else _correlation(unit, want) < _UNLIKE
    if unlike:
        yield Doubt(
            text="its outputs do not resemble the inputs: see that the --value-range is that of the training, and that "
            "the model puts out the image",
            grave=spec.latent is None,
        )


def _explained(output: Floats, want: Floats) -> float:
    """The share of the variance of ``want`` that ``output`` explains: 1 where they are equal."""
    variance = float(np.var(want, dtype=np.float64))
    return 1 - float(np.mean(np.square(output - want), dtype=np.float64)) / max(variance, 1e-12)


def _correlation(output: Floats, want: Floats) -> float:
    if not (np.ptp(output) and np.ptp(want)):
        return 0.0
    return float(np.corrcoef(output.ravel(), want.ravel())[0, 1])


def _show(low: float, high: float) -> str:
    return f"{low:g} {high:g}"
