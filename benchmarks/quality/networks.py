"""The networks that are compared, each through this project's own denoiser on ONNX Runtime."""

import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from benchmarks.quality.matconvnet import LEVEL, read_published, to_onnx
from benchmarks.quality.place import Place
from benchmarks.quality.protocol import noisy_image
from model.bundle import Bundle
from model.denoiser import Denoiser
from model.export import export
from model.keras.load import load_model
from model.pixels import Floats
from model.preprocessing import Preprocessing
from model.runtime.runtime import Runtime
from model.training.flops import operations

GRAY = ("zoo:denoiser-gray", "zoo:denoiser-gray-int8", "FFDNet", "DnCNN-S")
COLOR = ("zoo:denoiser-color", "zoo:denoiser-color-int8", "zoo:denoiser-gray", "FFDNet")
_INT8 = "-int8"
_SIDE = 64  # of the image for which operations are counted


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A network, ready to denoise.

    Attributes:
      denoiser: of its bundle.
      told: whether it is told the level of the noise.
      mflop_per_pixel: multiplications and additions, in millions, for a pixel with all its channels, if known.
    """

    denoiser: Denoiser
    told: bool
    mflop_per_pixel: float | None = None

    def restore(self, noisy: Floats, level: float) -> Floats:
        """What it makes of one image, float32 of the same shape.

        Args:
          noisy: float32 [H, W] or [H, W, C], white is 1.
          level: of the noise, where white is 255.
        """
        pixels = noisy[..., None] if noisy.ndim == 2 else noisy
        levels = np.array([level / 255], np.float32) if self.told else None
        clean: np.ndarray = self.denoiser.denoise(pixels[None], levels).pixels[0]
        return clean.reshape(noisy.shape)


@cache
def network(place: Place, name: str, level: int, channels: int) -> Network:
    """One of ``GRAY`` or ``COLOR``.

    Args:
      place: where the bundles and weights are.
      name: of the network.
      level: of the noise that it is for, where there is one network for each.
      channels: of the images: 1 or 3.

    Raises:
      AbsentError: its bundle or weights are not there.
    """
    if name.startswith("zoo:"):
        given = name.removeprefix("zoo:")
        return _of_zoo(place.bundle(given), place.bundle(given.removesuffix(_INT8)), channels)
    colors = "gray" if channels == 1 else "color"
    return _published(place.published(f"FFDNet_{colors}.mat" if name == "FFDNet" else f"sigma={level}.mat"))


def denoised(denoiser: Denoiser, image: np.ndarray, level: int, number: int) -> tuple[Floats, Floats]:
    """An image with noise of a seed of its own, and what a denoiser that is told the level makes of that.

    Args:
      denoiser: on any executor.
      image: uint8 [H, W] or [H, W, C].
      level: of the noise, where white is 255.
      number: of the image in its set, which is its seed.
    """
    noisy = noisy_image(image, level, number)
    return noisy, Network(denoiser=denoiser, told=True).restore(noisy, level)


def _denoiser(bundle: Bundle) -> Denoiser:
    return Denoiser(Runtime.load(bundle, "onnx"))


def _of_zoo(bundle: Bundle, whole: Bundle, channels: int) -> Network:
    """A bundle of the zoo, which in 8 bits computes as much as the whole one in float32."""
    takes = whole.spec.input
    side, told = (_SIDE, _SIDE), [(_SIDE, _SIDE, 1)] if takes.noise else []
    counted = operations(load_model(whole.read("model.keras"), whole.uri), (*side, takes.shape[2]), *told)
    shown = channels // takes.shape[2]  # a grey network sees each channel as an image
    return Network(
        denoiser=_denoiser(bundle), told=bool(told), mflop_per_pixel=max(1, shown) * counted / _SIDE**2 / 1e6
    )


def _published(file: Path) -> Network:
    read = read_published(file)
    given = Preprocessing(noise_input=LEVEL if read.halves else None)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "network.onnx")
        source.write_bytes(to_onnx(read))
        made = _denoiser(export(source, None, f"{folder}/bundle", given))
    return Network(denoiser=made, told=read.halves, mflop_per_pixel=read.mflop_per_pixel)
