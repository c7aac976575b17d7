"""``--decode fast`` against ``exact``: processor time of decoding and of the job, and what becomes of the pixels.

    python -m benchmarks.photographs --data DIR [--work DIR] [--rounds 5] [--photographs 16]

Writes ``benchmarks/results/decode.md``. Photographs are made of ``bsd400``: scaled up, which is soft, and side by side,
which has detail at every pixel and is the harder case. Both are kept as JPEG of quality 90. What that loses is measured
beside: what the JPEG gives when it is decoded in full, against what the same picture gives that never was a JPEG.
"""

import argparse
import io
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from statistics import median

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from benchmarks.data import PHOTOGRAPH
from benchmarks.process import HERE, run_job
from benchmarks.sections import Side, alternate
from harness.machine import machine, on_machine
from harness.measured import Place
from lake.core.records import Array
from lake.images import geometry
from lake.images.decode_one import decode_one, reduced
from lake.images.header import read_header
from lake.images.types import Color, DecodeMode, Resize, Target
from model.bundle import Bundle
from model.runtime.runtime import Runtime

SIZES = ((4000, 3000), (1600, 1067))  # width and height: of a camera, and of the web
SIDE = 224  # pixels that most encoders take
ENCODERS = ("mnist-autoencoder", "mnist-vae")
PIXELS = 1_200_000_000  # of a run of the job
_PIXELS = "| photographs | decoded at | ms: exact, fast | ratio (each round) | PSNR, dB: mean, least | of JPEG |"
_LATENTS = "| photographs | latents of | cosine: mean, least | of JPEG |"
_JOBS = "| photographs | job, photographs/s: exact, fast | ratio (each round) |"


@dataclass(frozen=True, slots=True, kw_only=True)
class Photograph:
    """A picture, and the JPEG of it."""

    picture: Image.Image
    file: bytes


def main() -> None:
    """Measure every size and kind of photograph, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="directory with bsd400")
    parser.add_argument("--work", type=Path, default=HERE / ".work")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--photographs", type=int, default=16, help="of each size and kind")
    options = parser.parse_args()
    place = Place(data=options.data.resolve(), work=options.work.resolve())
    place.work.mkdir(exist_ok=True, parents=True)
    originals = read(place.data / "bsd400")
    tables: dict[str, list[str]] = {heading: [] for heading in (_PIXELS, _LATENTS, _JOBS)}
    for size in SIZES:
        for kind, make in KINDS.items():
            some = [photograph(make(originals, number, size)) for number in range(options.photographs)]
            name = f"{size[0]}x{size[1]} {kind}, {np.mean([len(one.file) for one in some]) / 1e6:.1f} MB"
            tables[_PIXELS].append(f"| {name} | {pixels(some, options.rounds)} |")
            tables[_LATENTS] += [f"| {name} | {encoder} | {latents(some, encoder)} |" for encoder in ENCODERS]
            tables[_JOBS].append(f"| {name} | {job(place, some, options.rounds)} |")
            print(*(lines[-1] for lines in tables.values()), sep="\n", flush=True)
    write(tables, options.rounds, options.photographs)


def read(folder: Path) -> list[Image.Image]:
    """The photographs of a set, lying on their long sides."""
    rows = chain.from_iterable(pq.read_table(file)["image"].to_pylist() for file in sorted(folder.glob("*.parquet")))
    images = [Image.open(io.BytesIO(row["bytes"])).convert("RGB") for row in rows]
    wide = PHOTOGRAPH[::-1]
    return [image if image.size == wide else image.transpose(Image.Transpose.ROTATE_90) for image in images]


def scaled(originals: Sequence[Image.Image], number: int, size: tuple[int, int]) -> Image.Image:
    """One photograph, scaled up."""
    return originals[number].resize(size, Image.Resampling.BICUBIC)


def mosaic(originals: Sequence[Image.Image], number: int, size: tuple[int, int]) -> Image.Image:
    """Photographs side by side, from one of them on."""
    whole, (width, height) = Image.new("RGB", size), PHOTOGRAPH[::-1]
    corners = [(left, top) for top in range(0, size[1], height) for left in range(0, size[0], width)]
    for place, corner in enumerate(corners):
        whole.paste(originals[(number + 5 * place) % len(originals)], corner)
    return whole


KINDS: Mapping[str, Callable[[Sequence[Image.Image], int, tuple[int, int]], Image.Image]] = {
    "scaled up": scaled,
    "side by side": mosaic,
}


def photograph(picture: Image.Image) -> Photograph:
    """A picture as a camera keeps it."""
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=90)
    return Photograph(picture=picture, file=out.getvalue())


def _target(mode: DecodeMode) -> Target:
    return Target(shape=(SIDE, SIDE, 3), resize=Resize.CROP, decode=mode)


def decode(file: bytes, target: Target) -> Array:
    """What a worker makes of a file."""
    return decode_one(file, read_header(file), target)


def never_jpeg(picture: Image.Image, target: Target) -> Array:
    """What a worker makes of a picture that never was a JPEG."""
    image = picture.convert("L") if target.channels == 1 else picture
    return geometry.pixels_of(geometry.resize_planes([image], target.size, target.resize), np.uint8)


def pixels(some: Sequence[Photograph], rounds: int) -> str:
    """Time of both modes, and how far their pixels are apart."""
    seconds: dict[DecodeMode, list[float]] = {mode: [] for mode in DecodeMode}
    for _ in range(rounds):
        for mode, times in seconds.items():
            before = time.process_time()
            found = [decode(one.file, _target(mode)) for one in some]
            times.append((time.process_time() - before) / len(found))
    exact = [decode(one.file, _target(DecodeMode.EXACT)) for one in some]
    apart = [psnr(one, other) for one, other in zip(exact, found, strict=True)]
    lost = [psnr(one, never_jpeg(other.picture, _target(mode))) for one, other in zip(exact, some, strict=True)]
    scale, _ = reduced(read_header(some[0].file), _target(DecodeMode.FAST))
    milliseconds = ", ".join(f"{1e3 * median(times):.1f}" for times in seconds.values())
    return (
        f"1/{scale} | {milliseconds} | {ratios(*seconds.values())} | {np.mean(apart):.1f}, {min(apart):.1f} | "
        f"{np.mean(lost):.1f}, {min(lost):.1f}"
    )


def ratios(one: Sequence[float], other: Sequence[float]) -> str:
    """Median of the ratios of the rounds, and each."""
    found = sorted(a / b for a, b in zip(one, other, strict=True))
    return f"**{median(found):.2f}** ({', '.join(f'{value:.2f}' for value in found)})"


def psnr(one: Array, other: Array) -> float:
    """In decibels, of pixels whose white is 255."""
    return float(10 * np.log10(255**2 / np.mean(np.square(one.astype(np.float64) - other))))


def latents(some: Sequence[Photograph], encoder: str) -> str:
    """The cosine between the latents of both modes, and between those of the exact one and of what never was a JPEG."""
    runtime = Runtime.load(Bundle.open(f"zoo:{encoder}"))
    target = Target(shape=runtime.spec.input.shape, resize=Resize.CROP, color=Color.CONVERT)
    fast = replace(target, decode=DecodeMode.FAST)
    exact, smaller, before = (
        runtime.encode(np.stack(images)).astype(np.float64)
        for images in (
            [decode(one.file, target) for one in some],
            [decode(one.file, fast) for one in some],
            [never_jpeg(one.picture, target) for one in some],
        )
    )
    return " | ".join(
        f"{found.mean():.6f}, {found.min():.6f}" for found in (cosine(exact, smaller), cosine(exact, before))
    )


def cosine(one: Array, other: Array) -> Array:
    """Of each row of two arrays ``[n, d]``."""
    found: Array = np.sum(one * other, axis=1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)
    return found


def job(place: Place, some: Sequence[Photograph], rounds: int) -> str:
    """Photographs that ``encode`` does in a second of a processor in both modes, beyond what a run over one takes."""
    few, many = folder(place, "one", some[:1]), folder(place, "many", [some[i % len(some)] for i in range(count(some))])
    given = ("--resize", "crop", "--decode")
    sides: dict[str, Side] = {mode: partial(run_job, place, many, "photographs", *given, mode) for mode in DecodeMode}
    runs = alternate(rounds, {"one": partial(run_job, place, few, "photographs", *given, DecodeMode.EXACT), **sides})
    seconds = {side: [run["records"] / run["rate_cpu"] for run in values] for side, values in runs.items()}
    start = median(seconds.pop("one"))
    exact, fast = ([(count(some) - 1) / (value - start) for value in values] for values in seconds.values())
    return f"{median(exact):.1f}, {median(fast):.1f} | {ratios(fast, exact)}"


def count(some: Sequence[Photograph]) -> int:
    """How many photographs of a size a run has, so that runs take about as long."""
    width, height = some[0].picture.size
    return PIXELS // (width * height)


def folder(place: Place, name: str, some: Sequence[Photograph]) -> Path:
    """A directory of photographs."""
    source = place.work / f"photographs-{name}"
    shutil.rmtree(source, ignore_errors=True)
    source.mkdir()
    for number, one in enumerate(some):
        (source / f"{number:04d}.jpg").write_bytes(one.file)
    return source


def write(tables: Mapping[str, Sequence[str]], rounds: int, photographs: int) -> None:
    """Write the tables to ``results/decode.md``."""
    head = ["# Photographs decoded smaller", "", f"{on_machine(machine())} {rounds} rounds, alternating;"]
    head += [f"{photographs} photographs of each size and kind, cropped to {SIDE}x{SIDE}, and to 28x28 for latents."]
    head += ["Times are of one processor. `of JPEG`: the same figures for what keeping the picture as a JPEG changes."]
    head += [
        "The job encodes with a MobileNetV2 of 224x224, which is most of its time where photographs are small.",
        "",
    ]
    lines = [[heading, "|---" * (heading.count("|") - 1) + "|", *rows, ""] for heading, rows in tables.items()]
    (HERE / "results/decode.md").write_text("\n".join([*head, *chain.from_iterable(lines)]))


if __name__ == "__main__":
    main()
