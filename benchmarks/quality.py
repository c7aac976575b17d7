"""How good the trained bundles of ``model/zoo`` are, by the measures that papers use.

    python -m benchmarks.quality --data DIR [--zoo model/zoo] [SECTION ...]

``--data`` holds the folders ``bsd68``, ``set12`` and ``mnist`` with ``*.parquet`` of the columns
``image: struct<bytes, path>`` and ``label``. Each section measured is kept in ``benchmarks/results/quality.json``;
``quality.md`` and the pictures are made from it. Images are read by Pillow, not by this project's readers.
"""

import argparse
import io
import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from PIL import Image, ImageDraw
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from harness.machine import by_machine, machine, on_machine
from model.bundle import Bundle
from model.denoiser import Denoiser
from model.export import export
from model.keras.load import load_model
from model.preprocessing import Preprocessing
from model.runtime.runtime import Runtime
from model.training.flops import operations

RESULTS = Path(__file__).parent / "results"
LEVELS = (15, 25, 50)
PUBLISHED = {  # mean PSNR in dB by noise level, of DnCNN (Zhang et al. 2017, one network for each level)
    "bsd68": {15: 31.73, 25: 29.23, 50: 26.23},
    "set12": {15: 32.86, 25: 30.43, 50: 27.18},
}
DRAWS = 64  # of a latent for each image of which the bound is measured


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the data and the bundles are."""

    data: Path
    zoo: Path

    def bundle(self, name: str) -> Bundle:
        """One of the zoo's."""
        return Bundle.open(str(self.zoo / name))

    def images(self, name: str, split: str = "") -> tuple[list[np.ndarray], np.ndarray]:
        """Grey images of a set, uint8 [H, W], and their labels."""
        rows = [
            row
            for path in sorted((self.data / name).glob(f"{split}*.parquet"))
            for row in pq.read_table(path).to_pylist()
        ]
        images = [np.asarray(Image.open(io.BytesIO(row["image"]["bytes"])).convert("L")) for row in rows]
        return images, np.array([row["label"] for row in rows])


def denoise(place: Place) -> dict[str, Any]:
    """White Gaussian noise on grey photographs, neither clipped nor quantised; PSNR of the output clipped to 0..1."""
    bundle = place.bundle("denoiser-gray")
    network, denoiser = load_model(bundle.read("model.keras"), bundle.uri), Denoiser(Runtime.load(bundle))
    half = _in_bfloat16(bundle)
    found: dict[str, Any] = {"mflop_per_pixel": operations(network, (64, 64, 1), (64, 64, 1)) / 64**2 / 1e6}
    for name in PUBLISHED:
        images, _ = place.images(name)
        for level in LEVELS:
            pairs = [denoised(denoiser, image, level, number) for number, image in enumerate(images)]
            found[f"{name} {level}"] = {
                "noisy": float(np.mean([psnr(noisy, image) for image, (noisy, _) in zip(images, pairs, strict=True)])),
                "psnr": float(np.mean([psnr(made.clip(0, 1), i) for i, (_, made) in zip(images, pairs, strict=True)])),
            }
            if level == 25:
                ratios = [psnr(denoised(half, i, level, n)[1].clip(0, 1), i) for n, i in enumerate(images)]
                found[f"{name} in bfloat16"] = float(np.mean(ratios))
            if (name, level) == ("set12", 25):
                _draw_photograph(images[6][:256, :256], *(part[:256, :256] for part in pairs[6]))
    return found


def _in_bfloat16(bundle: Bundle) -> Denoiser:
    """The same denoiser, exported anew with ``--precision bfloat16``."""
    with tempfile.TemporaryDirectory() as folder:
        file, given = Path(folder, "model.keras"), Preprocessing(noise_input="noise_level")
        file.write_bytes(bundle.read("model.keras"))
        return Denoiser(Runtime.load(export(file, None, f"{folder}/bundle", given, precision="bfloat16")))


def denoised(denoiser: Denoiser, image: np.ndarray, level: int, number: int) -> tuple[np.ndarray, np.ndarray]:
    """The image with noise of a seed of its own, and what the denoiser makes of that, both float32 [H, W]."""
    noise = np.random.default_rng([0, number]).standard_normal(image.shape, np.float32)
    noisy = image / np.float32(255) + noise * np.float32(level / 255)
    made = denoiser.denoise(noisy[None, ..., None], np.array([level / 255], np.float32))
    return noisy, made.pixels[0, ..., 0]


def psnr(made: np.ndarray, clean: np.ndarray) -> float:
    """In dB, of values in 0..1 against uint8."""
    return float(-10 * np.log10(np.mean((made.astype(np.float64) - clean / 255) ** 2)))


def mnist(place: Place) -> dict[str, Any]:
    """How well latents tell digits apart: a linear probe and the 5 nearest neighbours, on latents of unseen digits."""
    runtime = Runtime.load(place.bundle("mnist-autoencoder"))
    (train, labels), (test, wanted) = (place.images("mnist", split) for split in ("train", "test"))
    learned, unseen = (_encoded(runtime, np.stack(images)) for images in (train, test))
    probe, nearest = _probe(), KNeighborsClassifier(5, algorithm="brute")
    digits = np.stack(test)[:1000, ..., None]
    _draw_digits(runtime, np.stack(test))
    return {
        "dimension": runtime.spec.dimension,
        "linear probe": float(probe.fit(learned, labels).score(unseen, wanted)),
        "5 nearest neighbours": float(nearest.fit(learned, labels).score(unseen, wanted)),
        "linear probe, test set alone": float(cross_val_score(_probe(), unseen, wanted, cv=10).mean()),
        "5 nearest neighbours, test set alone": float(cross_val_score(nearest, unseen, wanted, cv=10).mean()),
        "psnr of reconstructions": float(np.mean(-10 * np.log10(_reconstructed(runtime, digits)))),
    }


def _probe() -> Any:
    """Multinomial logistic regression on standardized latents."""
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=300, tol=1e-3))


def _parts(pixels: np.ndarray, size: int) -> Iterator[np.ndarray]:
    return (pixels[start : start + size] for start in range(0, len(pixels), size))


def _encoded(runtime: Runtime, pixels: np.ndarray) -> np.ndarray:
    return np.concatenate([runtime.encode(part) for part in _parts(pixels[..., None], runtime.batch_size)])


def _reconstructed(runtime: Runtime, pixels: np.ndarray) -> np.ndarray:
    return np.concatenate([runtime.reconstruct(part).mse for part in _parts(pixels, runtime.batch_size)])


def vae(place: Place) -> dict[str, Any]:
    """Evidence lower bound of binary test digits, in nats: 64 draws of each latent, divergence in closed form."""
    runtime = Runtime.load(place.bundle("mnist-vae"))
    digits = np.stack(place.images("mnist", "test")[0]) / np.float32(255)
    drawn = np.random.default_rng(0).random(digits.shape, np.float32) < digits
    _draw_samples(runtime)
    return {
        "dimension": runtime.spec.dimension,
        "elbo, pixels drawn": float(np.mean(_bounds(runtime, drawn))),
        "elbo, pixels above one half": float(np.mean(_bounds(runtime, digits > 0.5))),
    }


def _bounds(runtime: Runtime, binary: np.ndarray) -> np.ndarray:
    rng = np.random.default_rng(1)
    return np.concatenate([_bound(runtime, part, rng) for part in _parts(binary[..., None], runtime.batch_size)])


def _bound(runtime: Runtime, binary: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    mean, variance = runtime.encode_variance(binary.astype(np.float32))
    divergence = 0.5 * (variance + mean.astype(np.float64) ** 2 - 1 - np.log(variance)).sum(axis=1)
    likelihoods = []
    for _ in range(DRAWS):
        latents = mean + np.sqrt(variance) * rng.standard_normal(mean.shape, np.float32)
        white = runtime.decode(latents).astype(np.float64).clip(1e-7, 1 - 1e-7)
        likelihoods.append(np.log(np.where(binary, white, 1 - white)).sum(axis=(1, 2, 3)))
    return np.mean(likelihoods, axis=0) - divergence


def _draw_photograph(clean: np.ndarray, noisy: np.ndarray, made: np.ndarray) -> None:
    titles = (f"noise 25: {psnr(noisy, clean):.2f} dB", f"denoised: {psnr(made.clip(0, 1), clean):.2f} dB", "clean")
    _sheet([[_gray(noisy), _gray(made), clean]], titles).save(RESULTS / "quality-denoised.png")


def _draw_digits(runtime: Runtime, digits: np.ndarray) -> None:
    shown = digits[:12]
    made = runtime.reconstruct(shown[..., None]).output[..., 0]
    rows = [[_large(image) for image in row] for row in (shown, _gray(made))]
    _sheet(rows, ("above: digits of the test set; below: their reconstructions",)).save(RESULTS / "quality-digits.png")


def _draw_samples(runtime: Runtime) -> None:
    latents = np.random.default_rng(0).standard_normal((144, runtime.spec.dimension), np.float32)
    made = _gray(runtime.decode(latents)[..., 0])
    rows = [[_large(image) for image in made[start : start + 12]] for start in range(0, 144, 12)]
    _sheet(rows, ("144 draws of the prior, none left out",)).save(RESULTS / "quality-samples.png")


def _gray(values: np.ndarray) -> np.ndarray:
    return (values.clip(0, 1) * 255).round().astype(np.uint8)


def _large(image: np.ndarray) -> np.ndarray:
    return image.repeat(2, axis=0).repeat(2, axis=1)


def _sheet(rows: list[list[np.ndarray]], titles: tuple[str, ...]) -> Image.Image:
    """Images of one size in rows, below titles that share the width."""
    height, width = rows[0][0].shape
    sheet = Image.new("L", (len(rows[0]) * (width + 4) + 4, len(rows) * (height + 4) + 24), 255)
    for number, title in enumerate(titles):
        ImageDraw.Draw(sheet).text((6 + number * sheet.width // len(titles), 6), title, fill=0)
    for row, images in enumerate(rows):
        for column, image in enumerate(images):
            sheet.paste(Image.fromarray(image), (4 + column * (width + 4), 24 + row * (height + 4)))
    return sheet


SECTIONS: dict[str, Callable[[Place], dict[str, Any]]] = {"denoise": denoise, "mnist": mnist, "vae": vae}


def _rows(found: dict[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    if denoised := found.get("denoise"):
        yield (
            "denoiser, MFLOP per pixel",
            f"{denoised['mflop_per_pixel']:.3f}",
            "at most 0.25",
            "DnCNN 1.1, FFDNet 0.24",
        )
        for name, published in PUBLISHED.items():
            for level, other in published.items():
                wanted = "at least 29.0" if (name, level) == ("bsd68", 25) else f"at least {other - 0.3:.2f}"
                value = denoised[f"{name} {level}"]
                what = f"{name} at noise {level}, mean PSNR in dB (noisy: {value['noisy']:.2f})"
                yield what, f"{value['psnr']:.2f}", wanted, f"DnCNN {other}"
            half = denoised[f"{name} in bfloat16"] - denoised[f"{name} 25"]["psnr"]
            yield f"{name} at noise 25, what `--precision bfloat16` changes, in dB", f"{half:+.3f}", "", ""
    if digits := found.get("mnist"):
        for name, wanted in [("linear probe", "98%"), ("5 nearest neighbours", "97%")]:
            alone = digits[f"{name}, test set alone"]
            what = (
                f"MNIST latents of {digits['dimension']}, {name} (cross-validated on the test set alone: {alone:.2%})"
            )
            yield what, f"{digits[name]:.2%}", f"at least {wanted}", ""
    if bound := found.get("vae"):
        other = bound["elbo, pixels above one half"]
        what = f"MNIST VAE, ELBO of the test set in nats (pixels above one half instead of drawn: {other:.2f})"
        yield what, f"{bound['elbo, pixels drawn']:.2f}", "at least -95", "good small VAE -86"


def write_report(found: dict[str, Any]) -> None:
    """Make ``quality.md``, with one table for each machine."""
    lines = ["# Quality", ""]
    machines = found.get("machines", {})
    for used, names in by_machine({name: machines.get(name) for name in SECTIONS if name in found}):
        lines += [on_machine(used, names), "", "| what | measured | wanted | published |", "|---|---|---|---|"]
        lines += [f"| {' | '.join(row)} |" for row in _rows({name: found[name] for name in names})]
        lines += [""]
    lines += ["By `python -m benchmarks.quality --data DIR`, of the bundles in `model/zoo`.", ""]
    lines += [f"- {name}: {SECTIONS[name].__doc__}" for name in SECTIONS if name in found]
    (RESULTS / "quality.md").write_text("\n".join([*lines, ""]))


def main() -> None:
    """Measure the sections asked for and write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=f"one of {', '.join(SECTIONS)}; all by default")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--zoo", type=Path, default=Path("model/zoo"))
    given = parser.parse_args()
    if unknown := set(given.sections) - set(SECTIONS):
        parser.error(f"no section {', '.join(sorted(unknown))}; there are {', '.join(SECTIONS)}")
    kept = RESULTS / "quality.json"
    found = json.loads(kept.read_text()) if kept.exists() else {}
    for name in given.sections or SECTIONS:
        found[name] = SECTIONS[name](Place(data=given.data, zoo=given.zoo))
        print(name, json.dumps(found[name]), flush=True)
        found["machines"] = {**found.get("machines", {}), name: machine()}
        kept.write_text(json.dumps(found, indent=1) + "\n")
    write_report(found)


if __name__ == "__main__":
    main()
