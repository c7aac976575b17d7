"""Which layers stay in float32: those for which measuring says that it pays."""

from collections.abc import Callable, Sequence

import numpy as np

from model.int8.quantizer import Quantizer
from model.int8.samples import CalibrationSample
from model.pixels import Floats, to_unit
from model.spec import Spec

GraphCall = Callable[[CalibrationSample], Floats]  # latents, or the output of a denoiser
# Of all multiplications, that layers in float32 may have. They take three to four times as long there, so that this
# costs a fifth of the speed; of the zoo's denoiser it takes off a fifth of the error.
_SHARE = 1 / 12


def layers_to_keep(
    quantizer: Quantizer,
    load: Callable[[bytes], GraphCall],
    exact: GraphCall,
    samples: Sequence[CalibrationSample],
    spec: Spec,
) -> tuple[str, ...]:
    """The layers that take most off the error for their multiplications, by name, up to a twelfth of all of these.

    Each is tried by itself: all others are in 8 bits.

    Args:
      quantizer: of the graph.
      load: runs a graph that it has made.
      exact: runs the graph in float32.
      samples: to measure with.
      spec: what the model's bundle says of it.
    """
    wanted = [exact(one) for one in samples]

    def error(*kept: str) -> float:
        run = load(quantizer.quantized(kept))
        found = (relative_error(run(one), want, one, spec) for one, want in zip(samples, wanted, strict=True))
        return float(np.mean(list(found)))

    worst = error()
    gains = {name: (worst - error(name)) / cost for name, cost in quantizer.layers.items()}
    kept, left = list[str](), _SHARE * quantizer.multiplications
    for name in sorted(gains, key=lambda name: -gains[name]):
        if gains[name] > 0 and quantizer.layers[name] <= left:
            kept.append(name)
            left -= quantizer.layers[name]
    return tuple(kept)


def relative_error(got: Floats, want: Floats, one: CalibrationSample, spec: Spec) -> float:
    """Squared error, relative to what the model has to say: the latent, or what a denoiser takes off an image."""
    if spec.latent is None:
        low, high = spec.output_range
        said = want - (to_unit(one.pixels) * (high - low) + low)
    else:
        said = want
    return float(np.sum(np.square(got - want)) / max(np.sum(np.square(said)), 1e-12))
