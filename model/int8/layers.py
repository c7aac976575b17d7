"""Which layers stay in float32: those for which measuring says that it pays."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from model.int8.quantizer import Quantizer
from model.int8.samples import CalibrationSample
from model.pixels import Floats, to_unit
from model.spec import Spec

GraphCall = Callable[[CalibrationSample], Floats]  # latents, or the output of a denoiser
# Of all multiplications, that layers in float32 may have. They take three to four times as long there. The second share
# is for a denoiser that loses too much with the first.
SHARES = (0.22, 0.29)


def gains_in_float32(
    quantizer: Quantizer,
    load: Callable[[bytes], GraphCall],
    exact: GraphCall,
    samples: Sequence[CalibrationSample],
    spec: Spec,
) -> dict[str, float]:
    """What each layer takes off the error for each of its multiplications if it is in float32, by name.

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
    return {name: (worst - error(name)) / cost for name, cost in quantizer.layers.items()}


def layers_to_keep(gains: Mapping[str, float], costs: Mapping[str, float], most: float) -> tuple[str, ...]:
    """The layers whose gains are highest, as long as they cost no more than that together.

    Args:
      gains: of each layer, as ``gains_in_float32`` gives them.
      costs: multiplications of each layer.
      most: multiplications in all.

    >>> costs = {"first": 9, "second": 9, "third": 1, "last": 1}
    >>> layers_to_keep({"first": 3.0, "second": 2.0, "third": 1.0, "last": -1.0}, costs, most=12)
    ('first', 'third')
    """
    kept, left = list[str](), most
    for name in sorted(gains, key=lambda name: -gains[name]):
        if gains[name] > 0 and costs[name] <= left:
            kept.append(name)
            left -= costs[name]
    return tuple(kept)


def relative_error(got: Floats, want: Floats, one: CalibrationSample, spec: Spec) -> float:
    """Squared error, relative to what the model has to say: the latent, or what a denoiser takes off an image."""
    if spec.latent is None:
        low, high = spec.output_range
        said = want - (to_unit(one.pixels) * (high - low) + low)
    else:
        said = want
    return float(np.sum(np.square(got - want)) / max(np.sum(np.square(said)), 1e-12))
