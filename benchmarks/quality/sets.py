"""Sections: published sets of photographs with white Gaussian noise, by every network; and harm to clean ones."""

import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.quality.job import through_command
from benchmarks.quality.networks import COLOR, GRAY, Network, network
from benchmarks.quality.place import AbsentError, Place
from benchmarks.quality.protocol import HARM_LEVELS, LEVELS, mean_psnr, noisy_image, psnr
from benchmarks.quality.sheets import draw_photograph
from model.bundle import Bundle
from model.denoiser import Denoiser
from model.export import export
from model.preprocessing import Preprocessing
from model.runtime.runtime import Runtime

Section = Callable[[Place], dict[str, Any]]
_SHOWN = 6  # image of set12 that a picture shows
_FIRST = 10  # images of bsd68 and CBSD68 that stand for the set


def measured_set(name: str, mode: str) -> Section:
    """The section of one set.

    Args:
      name: of its folder.
      mode: ``L`` or ``RGB``.
    """

    def section(place: Place) -> dict[str, Any]:
        try:
            images = place.photographs(name, mode)
        except AbsentError as why:
            return {"absent": str(why)}
        names = GRAY if mode == "L" else COLOR
        found: dict[str, Any] = {"images": len(images)}
        for one in (name for name in names if not place.networks or name in place.networks):
            found[one] = _by_level(place, one, images)
            print(f"  {name} {one}: {found[one]}", flush=True)
        if name == "set12" and GRAY[0] in found:
            _draw(place, images[_SHOWN])
        return found

    section.__doc__ = f"{name}: white Gaussian noise, neither clipped nor quantised; outputs clipped to 0..1."
    return section


def _by_level(place: Place, name: str, images: list[np.ndarray]) -> dict[str, Any]:
    channels = 1 if images[0].ndim == 2 else 3
    found: dict[str, Any] = {}
    for level in LEVELS:
        try:
            one = network(place, name, level, channels)
        except AbsentError as why:
            return {"absent": str(why)}
        found["mflop_per_pixel"] = one.mflop_per_pixel
        found[str(level)] = mean_psnr(images, level, partial(one.restore, level=level))
    return found


def _draw(place: Place, image: np.ndarray) -> None:
    noisy = noisy_image(image, 25, _SHOWN)
    made = network(place, GRAY[0], 25, 1).restore(noisy, 25)
    draw_photograph(*(part[:256, :256] for part in (image, noisy, made)))


def command(place: Place) -> dict[str, Any]:
    """The zoo's denoiser through ``latentlake denoise`` over arrays of float32, at noise 25, and the call in Python."""
    images = place.photographs("bsd68", "L")[:_FIRST]
    bundle = place.bundle("denoiser-gray")
    noisy = [noisy_image(image, 25, number) for number, image in enumerate(images)]
    made = through_command(bundle.uri, noisy, 25)
    called = network(place, GRAY[0], 25, 1)
    same = all(np.array_equal(one, called.restore(given, 25)) for one, given in zip(made, noisy, strict=True))
    mean = np.mean([psnr(one.clip(0, 1), image) for one, image in zip(made, images, strict=True)])
    return {"images": len(images), "psnr": float(mean), "same_bits": same}


def bfloat16(place: Place) -> dict[str, Any]:
    """The zoo's denoiser exported anew with ``--precision bfloat16``: mean PSNR at noise 25 beside float32."""
    bundle, given = place.bundle("denoiser-gray"), Preprocessing(noise_input="noise_level")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "model.keras")
        file.write_bytes(bundle.read("model.keras"))
        half = export(file, None, f"{folder}/bundle", given, precision="bfloat16")
        sides = {"float32": Denoiser(Runtime.load(bundle)), "bfloat16": Denoiser(Runtime.load(half))}
    networks = {name: Network(denoiser=one, told=True) for name, one in sides.items()}
    return {
        name: {side: mean_psnr(images, 25, partial(one.restore, level=25))["psnr"] for side, one in networks.items()}
        for name in ("bsd68", "set12")
        for images in [place.photographs(name, "L")]
    }


def harm(place: Place) -> dict[str, Any]:
    """Photographs with little noise or none, through the command, told the level: mean PSNR before and after.

    china and flower of scikit-learn, camera and page of scikit-image, and the first ten of bsd68 and of CBSD68.
    """
    found: dict[str, Any] = {}
    for mode, names in (("L", ("denoiser-gray",)), ("RGB", ("denoiser-color", "denoiser-gray"))):
        chosen = [name for name in names if not place.networks or f"zoo:{name}" in place.networks]
        groups = dict(_clean(place, mode)) if chosen else {}
        for name in chosen:
            try:
                found[f"zoo:{name}, {mode}"] = _harmed(place.bundle(name), groups)
            except AbsentError as why:
                found[f"zoo:{name}, {mode}"] = {"absent": str(why)}
    return found


def _harmed(bundle: Bundle, groups: dict[str, list[np.ndarray] | str]) -> dict[str, Any]:
    found: dict[str, Any] = {name: {"absent": why} for name, why in groups.items() if isinstance(why, str)}
    there = {name: group for name, group in groups.items() if not isinstance(group, str)}
    images = [(name, number, image) for name, group in there.items() for number, image in enumerate(group)]
    for level in HARM_LEVELS:
        noisy = [noisy_image(image, level, number) for _, number, image in images]
        made = through_command(bundle.uri, noisy, level)
        rows = [
            (name, psnr(given, image), psnr(one.clip(0, 1), image))
            for (name, _, image), given, one in zip(images, noisy, made, strict=True)
        ]
        for name in there:
            before, after = np.mean([row[1:] for row in rows if row[0] == name], axis=0).tolist()
            found.setdefault(name, {})[str(level)] = {"noisy": before, "psnr": after}
    return found


def _clean(place: Place, mode: str) -> Iterator[tuple[str, list[np.ndarray] | str]]:
    """Groups of clean images of one kind by name, or why one is not there."""
    from sklearn.datasets import load_sample_images

    if mode == "RGB":
        yield from zip(("china", "flower"), ([image] for image in load_sample_images().images), strict=True)
    else:
        data = import_module("skimage.data")
        yield from (("camera", [data.camera()]), ("page", [data.page()]))
    name = "bsd68" if mode == "L" else "CBSD68"
    try:
        yield f"{name}, first {_FIRST}", place.photographs(name, mode)[:_FIRST]
    except AbsentError as why:
        yield name, str(why)
