"""Latents of images of any size, and images of such latents: small ones in batches, large ones in tiles."""

from collections.abc import Callable, Sequence
from math import prod
from typing import TypeAlias

import numpy as np

from model.golden import golden_inputs
from model.pixels import Floats, Pixels, to_unit
from model.runtime.batching import Failed, in_parts
from model.runtime.runtime import Reconstruction, Runtime
from model.tiles import CALL_PIXELS, TILE, padded, stretches

LARGEST_WHOLE = 1 << 20  # of the largest image that the model sees as a whole: the usual buckets have no more

# Images or latents [n, ...] -> maps [n, ...]; the model fails for none, or for those that it puts into a dictionary.
_Function: TypeAlias = Callable[[Pixels, Failed | None], Sequence[Floats]]


class SpatialAutoencoder:
    """An encoder or autoencoder of images of any size; any number of threads may use one.

    Sides are padded to the model's multiple: mirrored at the right and bottom, or the edge repeated where too short.
    Latents are of the padded image. Outputs are cut to the image. The same image gives the same bits, whatever other
    images it comes with. An image of more than ``LARGEST_WHOLE`` is cut into tiles, which overlap by the model's reach,
    so that latents are those of the whole image within a thousandth of the largest, and outputs within a quarter of an
    8-bit step.

    Args:
      runtime: of a model of any size with a latent.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime, self._spec, self._takes = runtime, runtime.spec, runtime.spec.input
        self._alone = not (runtime.any_rows and self._batches_freely())

    def takes(self, height: int, width: int) -> bool:
        """Whether images of a size, in pixels, can be encoded: not large ones by a model that sees all of an image."""
        return self._spec.local or self._pixels(height, width) <= LARGEST_WHOLE

    def latent_shape(self, height: int, width: int) -> tuple[int, int, int]:
        """Shape (h, w, c) of the latent of an image of a size in pixels."""
        assert self._spec.latent is not None
        multiple, stride = self._takes.multiple, self._spec.stride
        return (
            -(-height // multiple) * multiple // stride,
            -(-width // multiple) * multiple // stride,
            self._spec.latent.shape[2],
        )

    def encode(self, images: Pixels, failed: Failed | None = None) -> Floats:
        """Latents of images of one size, float32 [m, h, w, c].

        Args:
          images: [m, H, W, C] of uint8, uint16, or float32 in 0..1.
          failed: receives the images for which the model raises an error, and the error; their latents are NaN.

        Raises:
          ValueError: the model does not take such images.
          ModelError: the model fails, and ``failed`` is None.
        """
        (latents,) = self._of_images(lambda rows, found: [self._runtime.encode(rows, found)], images, failed)
        return latents

    def encode_variance(self, images: Pixels, failed: Failed | None = None) -> tuple[Floats, Floats]:
        """Means and variances of the latents' distributions, each as of ``encode``."""
        mean, variance = self._of_images(self._runtime.encode_variance, images, failed)
        return mean, variance

    def reconstruct(self, images: Pixels, failed: Failed | None = None) -> Reconstruction:
        """Latents as of ``encode``, outputs of the images' shape, and errors.

        Where the model decodes, the latents give the bits of the output when they are decoded.
        """
        height, width = images.shape[1:3]
        if "decode" in self._spec.functions and self._pixels(height, width) > LARGEST_WHOLE:
            latents = self.encode(images, failed)
            output = self.decode(latents, failed)
        else:
            latents, output = self._of_images(self._both, images, failed)
        output = output[:, :height, :width]
        return Reconstruction(latents=latents, output=output, mse=self._errors(output, images))

    def decode(self, latents: Floats, failed: Failed | None = None) -> Floats:
        """Outputs of latents, float32 [m, H, W, C] in the model's output range, not clipped.

        Args:
          latents: float32 [m, h, w, c] of any h and w that ``latent_shape`` gives.
          failed: as in ``encode``.
        """
        (output,) = self._run(
            lambda rows, found: [self._runtime.decode(np.asarray(rows, np.float32), found)],
            latents,
            self._spec.stride,
            failed,
        )
        return output

    def _both(self, rows: Pixels, failed: Failed | None) -> list[Floats]:
        made = self._runtime.reconstruct(rows, failed)
        return [made.latents, made.output]

    def _errors(self, output: Floats, images: Pixels) -> Floats:
        """Mean square of outputs against images, scaled to 0..1, float32 [m]."""
        low, high = self._spec.output_range
        unit = (output - np.float32(low)) / np.float32(high - low)
        squares = np.square((unit - to_unit(images)).astype(np.float64))
        errors: Floats = squares.reshape(len(images), -1).mean(axis=1).astype(np.float32)
        return errors

    def _pixels(self, height: int, width: int) -> int:
        """Of an image that is padded."""
        return prod(self.latent_shape(height, width)[:2]) * self._spec.stride**2

    def _of_images(self, function: _Function, images: Pixels, failed: Failed | None) -> list[Floats]:
        if images.ndim != 4 or images.shape[3] != self._takes.shape[2] or 0 in images.shape[1:3]:
            raise ValueError(f"images of shape {images.shape}; the model takes {self._takes.shape[2]} channels")
        if not self.takes(*images.shape[1:3]):
            raise ValueError(f"images of shape {images.shape}; the model sees all of an image, at most {LARGEST_WHOLE}")
        return self._run(function, padded(images, self._takes.multiple), 1, failed)

    def _run(self, function: _Function, rows: Pixels, pixel: int, failed: Failed | None) -> list[Floats]:
        """What a function gives for rows [m, ...] in which each position stands for ``pixel`` x ``pixel`` pixels."""
        pixels = prod(rows.shape[1:3]) * pixel**2
        tiled = pixels > LARGEST_WHOLE and self._spec.local
        size = 1 if tiled or self._alone else max(1, CALL_PIXELS // pixels)

        def some(part: slice, found: Failed | None) -> Sequence[Floats]:
            if tiled:
                return self._tiled(function, rows[part], self._spec.stride // pixel, found)
            return function(rows[part], found)

        made = in_parts(some, len(rows), size, failed)
        return [parts[0] if len(parts) == 1 else np.concatenate(parts) for parts in zip(*made, strict=True)]

    def _tiled(self, function: _Function, row: Pixels, each: int, failed: Failed | None) -> list[Floats]:
        """What a function gives for one large row, in which a position of the latent has ``each`` positions a side."""
        stride = self._spec.stride
        height, width = (side // each for side in row.shape[1:3])
        inner, margin, multiple = (n // stride for n in (TILE, self._takes.reach, self._takes.multiple))
        whole: list[Floats] = []
        for down in stretches(height, inner, margin, multiple, fade=0):
            for across in stretches(width, inner, margin, multiple, fade=0):
                tile = row[:, down.start * each : down.stop * each, across.start * each : across.stop * each]
                made = function(tile, failed)
                scales = [part.shape[1] // (down.stop - down.start) for part in made]
                whole = whole or [
                    np.empty((1, height * scale, width * scale, part.shape[3]), np.float32)
                    for part, scale in zip(made, scales, strict=True)
                ]
                for part, scale, all_of in zip(made, scales, whole, strict=True):
                    there = (_scaled(down.first, down.last, scale), _scaled(across.first, across.last, scale))
                    here = (
                        _scaled(down.inside.start, down.inside.stop, scale),
                        _scaled(across.inside.start, across.inside.stop, scale),
                    )
                    all_of[:, *there] = part[:, *here]
        if failed:
            for all_of in whole:
                all_of.fill(np.nan)
        return whole

    def _batches_freely(self) -> bool:
        """Whether images get the same bits in one batch as alone: nearly all layers give that, but not all."""
        images = golden_inputs(self._takes, 0)
        together = self._runtime.outputs(images)
        alone = [self._runtime.outputs(images[i : i + 1]) for i in range(len(images))]
        return all(np.array_equal(np.concatenate([one[k] for one in alone]), v) for k, v in together.items())


def _scaled(first: int, last: int, scale: int) -> slice:
    return slice(first * scale, last * scale)
