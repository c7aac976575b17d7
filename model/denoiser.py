"""Denoising of images as they are: of any size, channels and depth, small ones in batches, large ones in tiles."""

from collections.abc import Iterable, Iterator
from copy import copy
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lake.core.idle_threads import IdleThreads
from lake.images.color import is_alpha, is_grey
from model.golden import golden_inputs, golden_levels
from model.noise_range import doubt, kept_shares, least_level
from model.pixels import FULL, Floats, Pixels, to_pixels, to_unit, to_values
from model.runtime.batching import Failed, Mapped, in_parts
from model.runtime.runtime import Runtime
from model.symmetries import ensemble_for
from model.tiles import CALL_PIXELS, TILE, Stretch, blend, padded, stretches

WHOLE_PIXELS = 1 << 19  # of the largest image that the model sees as a whole
_MOST_COLORS = 4  # channels; more are bands
# The noise of three equal channels is one number, in the direction of grey: as a colour it has three times the variance
# that noise of each channel for itself would have in that direction.
_GREY = np.float32(3**0.5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Denoised:
    """What denoising gives for m images.

    Attributes:
      pixels: of the images' shape and dtype: uint8 and uint16 rounded and clipped, float32 as the model gave it.
      mse: float32 [m]: pixels against the images, both scaled to 0..1, alpha not counted; NaN where the model gave a
        value that is not finite: the image's pixels mean nothing then.
    """

    pixels: Pixels
    mse: Floats


class Denoiser:
    """A model that gives images of its input's shape, for images of other kinds too; any number of threads may use one.

    A grey model sees each colour channel, or each of more than four bands, as an image. A colour model sees a grey
    image as three equal channels, and the mean of its three is the result; of an image whose colours are equal it is
    told sqrt(3) times the level, since the noise is equal too. Alpha passes untouched; a model of four channels is
    shown it (opaque where there is none). Of images whose last channel is data it sees the first three as colours, and
    each other one as a grey image; a model of as many channels changes all of them. The same image gives the same bits,
    whatever other images it comes with, and however many threads help. With noise below what the model learned a part
    of the change is kept (``model.noise_range``).

    Args:
      runtime: of a model that can denoise.
      ensemble: how often an image is shown to the model, 1, 4 or 8: as it is, turned and mirrored. The result is the
        mean of what the model gives.
      threads: may help with an image of several tiles, and with images of several calls; None for no help.

    Raises:
      BundleError: the model cannot denoise.
      ValueError: there is no ensemble of this size, or none for a model of fixed size that is not square.
    """

    def __init__(self, runtime: Runtime, ensemble: int = 1, threads: IdleThreads | None = None) -> None:
        self._runtime = runtime
        self._mapped: Mapped = map if threads is None else threads.map
        self._takes = runtime.spec.input
        self._colored = self._takes.shape[2] in (1, 3, 4)
        runtime.spec.require("denoise")
        self._symmetries = ensemble_for(ensemble, self._takes)
        self._low, self._doubt = least_level(runtime.spec), doubt(runtime.spec)
        self._alone = self._takes.any_size and not (runtime.any_rows and self._batches_freely())

    def denoise(
        self,
        images: Pixels,
        levels: Floats | None = None,
        failed: Failed | None = None,
        *,
        estimated: bool = False,
        bands: bool = False,
    ) -> Denoised:
        """Denoise images of one shape.

        Memory above images and result is that of one call of the model, and for a large image that of a band of tiles.

        Args:
          images: [m, H, W, K] of uint8, uint16, or float32 in 0..1; K is 1 grey, 2 grey and alpha, 3 RGB, 4 RGBA, for
            a grey model also more. A model whose channels are no colours takes its own number of them. A model of fixed
            size takes its own H and W.
          levels: float32 [m], standard deviation of the noise as a fraction of white (sigma / 255); None for a model
            that is not told.
          failed: receives the images for which the model raises an error, and the error; their ``mse`` is NaN.
          estimated: whether the levels were estimated, so that part of them is in doubt (``model.noise_range``).
          bands: the last channel is data, also of two or four, and no alpha.

        Raises:
          ValueError: the model does not take images of this shape, or takes a noise level and is given none.
          ModelError: the model fails, and ``failed`` is None.
        """
        self._check(images)
        if self._colored and is_alpha(images.shape[3], bands=False) and bands:
            return self._denoise_bands(images, levels, failed, estimated=estimated)
        if levels is None or self._low is None:
            return self._denoise(images, levels, failed)
        doubted = self._doubt if estimated else np.float32(0)
        shares, told = kept_shares(levels, self._low, doubted), np.maximum(levels, self._low)
        if (shares == 1).all():
            return self._denoise(images, levels, failed)
        if shares.all():
            return self._denoise(images, told, failed, shares)
        return self._denoise_some(images, told, failed, shares)

    def _denoise_bands(
        self, images: Pixels, levels: Floats | None, failed: Failed | None, *, estimated: bool
    ) -> Denoised:
        """Denoise images of two or four channels of data: together if the model takes as many, else apart."""
        channels, takes = images.shape[3], self._takes.shape[2]
        if channels == takes:
            together = copy(self)
            together._colored = False
            return together.denoise(images, levels, failed, estimated=estimated)
        colors = 3 if channels > 3 and takes > 1 else 0
        parts = [slice(0, colors)] * bool(colors) + [slice(at, at + 1) for at in range(colors, channels)]
        pixels, errors = np.empty_like(images), np.zeros(len(images), np.float32)
        for part in parts:
            made = self.denoise(images[..., part], levels, failed, estimated=estimated)
            pixels[..., part] = made.pixels
            errors += made.mse * np.float32((part.stop - part.start) / channels)
        return Denoised(pixels=pixels, mse=errors)

    def _denoise_some(self, images: Pixels, told: Floats, failed: Failed | None, shares: Floats) -> Denoised:
        """Denoise the images of which something is to be changed, and copy the others."""
        pixels, errors = images.copy(), np.zeros(len(images), np.float32)
        some = np.flatnonzero(shares)
        if len(some):
            found: Failed | None = None if failed is None else {}
            made = self._denoise(images[some], told[some], found, shares[some])
            pixels[some], errors[some] = made.pixels, made.mse
            for at, why in (found or {}).items():
                assert failed is not None
                failed.setdefault(int(some[at]), why)
        return Denoised(pixels=pixels, mse=errors)

    def _denoise(
        self, images: Pixels, levels: Floats | None, failed: Failed | None, shares: Floats | None = None
    ) -> Denoised:
        """Denoise images with levels that the model knows, and keep these shares of the change; None for all of it."""
        colors = self._colors(images.shape[3])
        levels = self._told(images[..., :colors], levels)
        pixels = np.empty_like(images)
        pixels[..., colors:] = images[..., colors:]
        given, written = images[..., :colors], pixels[..., :colors]
        if self._takes.any_size and images.shape[1] * images.shape[2] > WHOLE_PIXELS:
            told = [None] * len(images) if levels is None else [levels[i : i + 1] for i in range(len(images))]

            def tiled(one: slice, found: Failed | None) -> float:
                part = None if shares is None else shares[one]
                return self._tiled(images[one], told[one.start], written[one], found, part)

            errors = np.array(in_parts(tiled, len(images), 1, failed))
        else:
            values = self._restored(images, levels, failed, self._mapped)
            errors = self._settle(values, given, written, shares)
        return Denoised(pixels=pixels, mse=(errors / given[:1].size).astype(np.float32))

    def _told(self, colors: Pixels, levels: Floats | None) -> Floats | None:
        """The levels that the model is told of images with these colours: more where the noise of all is the same."""
        if levels is None or not self._colored or self._takes.shape[2] == 1:
            return levels
        return np.where([is_grey(one) for one in colors], _GREY * levels, levels)

    def _check(self, images: Pixels) -> None:
        shape, model = images.shape, self._takes.shape
        sides = "any" if self._takes.any_size else f"{model[0]} x {model[1]}"
        bands = model[2] == 1 and shape[3] > _MOST_COLORS
        known = bands or shape[3] in ((1, 2, 3, 4) if self._colored else model[2:])
        if not known or 0 in shape[1:3] or not (self._takes.any_size or shape[1:3] == model[:2]):
            channels = "1 to 4" if self._colored else model[2]
            raise ValueError(f"images of shape {shape}; the model takes {sides} pixels of {channels} channels")

    def _colors(self, channels: int) -> int:
        """How many of an image's channels, the first ones, the model changes."""
        return channels - (self._colored and is_alpha(channels, bands=False))

    def _tiled(
        self, image: Pixels, level: Floats | None, written: Pixels, failed: Failed | None, share: Floats | None
    ) -> float:
        """Denoise one image [1, H, W, K], write its colours, and give its squared error."""
        multiple, margin = self._takes.multiple, self._takes.reach
        rows, columns = (stretches(side, TILE, margin, multiple) for side in written.shape[1:3])

        def run(place: tuple[Stretch, Stretch]) -> tuple[Floats, Failed]:
            (row, column), found = place, Failed()
            tile = image[:, row.start : row.stop, column.start : column.stop]
            result = self._restored(tile, level, None if failed is None else found)
            return result[0, row.inside, column.inside], found

        def run_all(places: Iterable[tuple[Stretch, Stretch]]) -> Iterator[Floats]:
            for values, found in self._mapped(run, places):
                if failed is not None and found:  # by the first tile of the image, whatever thread was first
                    failed.setdefault(0, found[0])
                yield values

        error = 0.0
        for part in blend(rows, columns, run_all):
            height, width, colors = part.values.shape
            place = slice(part.row, part.row + height), slice(part.column, part.column + width)
            error += float(self._settle(part.values[None], image[:, *place, :colors], written[:, *place], share)[0])
            if failed:  # the rest is not needed
                break
        return error

    def _settle(self, values: Floats, given: Pixels, written: Pixels, shares: Floats | None) -> npt.NDArray[np.float64]:
        """Write the pixels of values [m, h, w, colours], and give their squared errors, float64 [m]."""
        if shares is not None:
            before, kept = to_values(given, self._runtime.spec.output_range), shares[:, None, None, None]
            # Of a share of 1 it is the model's value itself, as without shares: the same bits whatever comes with it.
            values = np.where(kept == 1, values, before + kept * (values - before))
        written[...] = to_pixels(values, self._runtime.spec.output_range, written.dtype)
        squares = np.square((to_unit(written) - to_unit(given)).astype(np.float64))
        finite = np.isfinite(values).all(axis=(1, 2, 3))
        return np.where(finite, squares.reshape(len(values), -1).sum(axis=1), np.nan)

    def _restored(self, images: Pixels, levels: Floats | None, failed: Failed | None, mapped: Mapped = map) -> Floats:
        """What the model gives for the colours of images, float32 [m, H, W, colours] in its value range."""
        m, height, width, channels = images.shape
        colors = self._colors(channels)
        entries = self._entries(images)
        shown = len(entries) // m  # times that the model sees an image
        told = None if levels is None else np.repeat(levels, shown)
        found: Failed | None = None if failed is None else {}
        output = self._run(padded(entries, self._takes.multiple), told, found, mapped)[:, :height, :width]
        for entry, why in (found or {}).items():
            assert failed is not None
            failed.setdefault(entry // shown, why)
        if not self._colored:
            return output
        if self._takes.shape[2] == 1:
            return np.moveaxis(output.reshape(m, colors, height, width), 1, 3)
        return output[..., :3] if colors == 3 else output[..., :3].mean(axis=3, keepdims=True)

    def _entries(self, images: Pixels) -> Pixels:
        """Images [m, H, W, K] as the model takes them, [m or more, H, W, C]."""
        if not self._colored:
            return images
        colors = self._colors(images.shape[3])
        shown, alpha = images[..., :colors], images[..., colors:]
        if self._takes.shape[2] == 1:
            return np.moveaxis(shown, 3, 1).reshape(-1, *images.shape[1:3], 1)
        shown = np.repeat(shown, 3 // colors, axis=3)
        if self._takes.shape[2] == 3:
            return shown
        if not alpha.shape[3]:
            alpha = np.full((*images.shape[:3], 1), FULL[images.dtype.name], images.dtype)
        return np.concatenate([shown, alpha], axis=3)

    def _run(self, entries: Pixels, levels: Floats | None, failed: Failed | None, mapped: Mapped) -> Floats:
        size = self._runtime.batch_size
        if self._takes.any_size:
            size = 1 if self._alone else max(1, CALL_PIXELS // (entries.shape[1] * entries.shape[2]))

        def restored(part: slice, found: Failed | None) -> Floats:
            return self._mean(entries[part], None if levels is None else levels[part], found)

        results = in_parts(restored, len(entries), size, failed, mapped if len(entries) > size else map)
        return results[0] if len(results) == 1 else np.concatenate(results)

    def _mean(self, entries: Pixels, levels: Floats | None, failed: Failed | None) -> Floats:
        """The mean of what the model gives for the entries of one call, over the symmetries."""
        total: Floats | None = None
        for symmetry in self._symmetries:
            shown = np.ascontiguousarray(symmetry.shown(entries))
            result = symmetry.turned_back(self._runtime.restore(shown, levels, failed))
            total = result if total is None else total + result
        assert total is not None
        return total if len(self._symmetries) == 1 else total / np.float32(len(self._symmetries))

    def _batches_freely(self) -> bool:
        """Whether images get the same bits in one batch as alone: nearly all layers give that, but not all."""
        images = golden_inputs(self._takes, 0)
        levels = golden_levels(len(images)) if self._takes.noise else None
        each = [slice(i, i + 1) for i in range(len(images))]
        alone = [self._runtime.restore(images[one], None if levels is None else levels[one]) for one in each]
        return np.array_equal(np.concatenate(alone), self._runtime.restore(images, levels))
