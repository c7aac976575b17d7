"""What 8 bits cost: against float32, on images that nothing was calibrated with."""

from collections.abc import Iterator, Sequence

import numpy as np

from model.int8.layers import GraphCall
from model.int8.samples import MEASURED, sample
from model.pixels import Floats, Pixels, to_unit
from model.spec import Json, Spec


def cost(exact: GraphCall, quantized: GraphCall, images: Sequence[Pixels], spec: Spec) -> dict[str, Json]:
    """What a model loses, as JSON values for its description.

    Args:
      exact: runs the function in float32.
      quantized: runs it in 8 bits.
      images: ``[1, H, W, C]`` each, without noise.
      spec: what the model's bundle says of it.

    Returns:
      Of an encoder the cosines between both latents; of a denoiser the loss of PSNR in dB by noise level (white is
      255), and the PSNR of its outputs against those in float32.
    """
    measured = _of_denoiser if spec.latent is None else _of_encoder
    return {"images": len(images), **measured(exact, quantized, images, spec)}


def _of_encoder(exact: GraphCall, quantized: GraphCall, images: Sequence[Pixels], spec: Spec) -> dict[str, Json]:
    given = [sample(image, 0, n, spec) for n, image in enumerate(images)]
    cosines = [_cosine(exact(one)[0], quantized(one)[0]) for one in given]
    return {"cosine": round(float(np.mean(cosines)), 6), "least_cosine": round(min(cosines), 6)}


def _cosine(one: Floats, other: Floats) -> float:
    norms = float(np.linalg.norm(one.astype(np.float64)) * np.linalg.norm(other.astype(np.float64)))
    return float(one.astype(np.float64) @ other.astype(np.float64)) / max(norms, 1e-30)


def _of_denoiser(exact: GraphCall, quantized: GraphCall, images: Sequence[Pixels], spec: Spec) -> dict[str, Json]:
    losses, apart = dict[str, float](), list[float]()
    for level in MEASURED:
        found = np.array([*_ratios(exact, quantized, images, level, spec)])
        losses[f"{level:g}"] = round(float(np.mean(found[:, 0] - found[:, 1])), 4)
        apart.append(float(np.mean(found[:, 2])))
    return {"loss_db": losses, "psnr_to_float32_db": round(float(np.mean(apart)), 2)}


def _ratios(
    exact: GraphCall, quantized: GraphCall, images: Sequence[Pixels], level: float, spec: Spec
) -> Iterator[tuple[float, float, float]]:
    """Of each image the PSNR in dB of both outputs, clipped to white and black, and of one against the other."""
    low, high = spec.output_range
    for number, image in enumerate(images):
        one = sample(image, level, number, spec)
        want, got = (((run(one) - low) / (high - low)).clip(0, 1) for run in (exact, quantized))
        clean = to_unit(image)
        yield _psnr(want, clean), _psnr(got, clean), _psnr(got, want)


def _psnr(made: Floats, clean: Floats) -> float:
    return float(-10 * np.log10(max(np.mean(np.square(made - clean), dtype=np.float64), 1e-12)))
