"""A report with something in each section, of real images; no job has run."""

import io
from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits, load_sample_image

from pipeline.report.distributions import (
    AgainstFacts,
    ColorColumn,
    DimensionDrift,
    GroupDrift,
    GroupFacts,
    Histogram,
    LatentFacts,
    LatentMap,
    NoiseFacts,
)
from pipeline.report.facts import (
    Finding,
    Headline,
    ModelFacts,
    ReportFacts,
    RunFacts,
    Section,
    Severity,
    TimingFacts,
    UnitTime,
)
from pipeline.report.shown import (
    Comparison,
    DuplicateFacts,
    Fact,
    ImageFacts,
    OutlierFacts,
    Picture,
    RecordName,
    RejectFacts,
    RejectReason,
    Strip,
)

SENTENCE = "1.2 M images, 0.3% rejected, error 4% above last night: look at these 12"


def picture(pixels: np.ndarray) -> Picture:
    """An image as a PNG."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "png")
    return Picture(data=out.getvalue(), media_type="image/png", width=pixels.shape[1], height=pixels.shape[0])


def jpeg(pixels: np.ndarray) -> Picture:
    """A large image as a JPEG."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "jpeg", quality=85)
    return Picture(data=out.getvalue(), media_type="image/jpeg", width=pixels.shape[1], height=pixels.shape[0])


@cache
def digits() -> np.ndarray:
    """Digits, uint8 ``[1797, 8, 8]``."""
    return (load_digits().images * 15.9375).astype(np.uint8)


@cache
def labels() -> np.ndarray:
    """Which digit each is."""
    return np.asarray(load_digits().target)


def name(number: int) -> RecordName:
    """The name of a record."""
    return RecordName(key=f"digits/{number:06d}.png", shard=f"train-{number % 40:05d}.tar", index=number)


def digit(number: int, why: str = "") -> ImageFacts:
    """A digit."""
    values = (Fact(name="label", value=str(labels()[number])), Fact(name="size", value="8 x 8"))
    return ImageFacts(
        record=name(number), picture=picture(digits()[number]), why=why, error=0.001 * number, values=values
    )


@cache
def photograph(number: int) -> ImageFacts:
    """A part of a photograph, with noise and without."""
    whole = load_sample_image(("china.jpg", "flower.jpg")[number % 2])
    left, top = 37 * number % 200, 23 * number % 120
    after = whole[top : top + 300, left : left + 400]
    noise = np.random.default_rng(number).normal(0, 25, after.shape)
    before = (after + noise).clip(0, 255).astype(np.uint8)
    residual = (4 * np.abs(before.astype(int) - after)).clip(0, 255).astype(np.uint8)
    part = slice(100, 196), slice(100, 228)
    return ImageFacts(
        record=RecordName(key=f"holiday/{number:04d}.jpg", shard="photos-00000.tar", index=number),
        picture=jpeg(after),
        why=f"error {0.03 - 0.001 * number:.4f}, {14 - number} times the median" if number < 12 else "",
        error=0.03 - 0.001 * number,
        values=(Fact(name="noise level", value="25.1"), Fact(name="size", value="400 x 300")),
        comparison=Comparison(
            before=jpeg(before),
            after=jpeg(after),
            residual=jpeg(residual),
            gain=4.0,
            crop_before=picture(before[part]),
            crop_after=picture(after[part]),
        ),
    )


def histogram(label: str, seed: int, reference: bool = False) -> Histogram:
    """Some numbers."""
    generator = np.random.default_rng(seed)
    edges = np.linspace(0, 55, 45)
    counts = np.histogram(generator.normal(24, 6, 20_000), edges)[0]
    other = np.histogram(generator.normal(21, 6, 20_000), edges)[0] / 20_000
    return Histogram(name=label, edges=edges, counts=counts, reference=other if reference else None)


def errors() -> Histogram:
    """Errors, in bins that are wider and wider."""
    edges = np.geomspace(0.0005, 0.05, 41)
    return Histogram(
        name="error (mse)", edges=edges, counts=np.histogram(np.random.default_rng(2).gamma(2, 0.004, 20_000), edges)[0]
    )


def drift(label: str, ks: float) -> DimensionDrift:
    """How much one number differs."""
    return DimensionDrift(name=label, ks=ks, wasserstein=2.2 * ks, mean=0.1 + ks, reference=0.1)


def groups(by: str, names: Sequence[str]) -> GroupFacts:
    """Parts of which the first one has drifted."""
    found = [
        GroupDrift(
            name=one,
            rows=1000 - 10 * at,
            auc=0.81 if at == 0 else 0.505,
            least=0.552,
            drifted=at == 0,
            most=drift("latent[3]", 0.4 / (at + 1)),
            error=0.012 / (at + 1),
        )
        for at, one in enumerate(names)
    ]
    return GroupFacts(by=by, groups=found, count=len(found), threshold=0.52)


def latent_map(count: int, thumbnails: int = 300) -> LatentMap:
    """Clusters, coloured by their label and by a number."""
    generator = np.random.default_rng(7)
    labels = generator.integers(0, 10, count)
    centres = 4 * generator.standard_normal((10, 2))
    points = (centres[labels] + generator.standard_normal((count, 2))).astype(np.float32)
    error = generator.gamma(2, 0.004, count)
    error[::97] = np.nan
    return LatentMap(
        method="pca",
        points=points,
        records=[name(number) for number in range(count)],
        colors=[
            ColorColumn(name="label", values=labels.astype(float), categories=[str(digit) for digit in range(10)]),
            ColorColumn(name="mse", values=error),
        ],
        thumbnails={at: picture(digits()[at % 1797]) for at in range(0, count, max(1, count // thumbnails))},
        explained=(0.31, 0.18),
    )


def latents(points: int, dimension: int = 64) -> LatentFacts:
    """Statistics of latents, two of which are dead."""
    generator = np.random.default_rng(3)
    variance = generator.gamma(3, 0.3, dimension)
    variance[[5, 40]] = 0
    return LatentFacts(
        rows=points,
        total=1_200_000,
        mean=generator.standard_normal(dimension),
        variance=variance,
        dead=[5, 40],
        correlated=[(1, 7, 0.993), (12, 30, -0.962)],
        map=latent_map(points),
    )


def rejects() -> RejectFacts:
    """Two reasons."""
    gone = ImageFacts(record=name(3), picture=None, missing="no bytes were kept", why="")
    torn = [digit(number, "half of the file is missing") for number in (17, 18, 19)]
    return RejectFacts(
        total=3600,
        share=0.003,
        reasons=[
            RejectReason(
                reason="decode_failed",
                count=3400,
                share=0.0028,
                detail="broken data stream when reading image file",
                images=[*torn, gone],
                command="latentlake retry gs://lake/latents --on-damage keep",
                advice="The files end too early. What is left of them can be kept.",
            ),
            RejectReason(
                reason="wrong_size",
                count=200,
                share=0.0002,
                detail="30 x 28, and the model takes 28 x 28",
                images=[],
                command="latentlake retry gs://lake/latents --resize fit",
                advice="Images of other sizes can be resized.",
            ),
        ],
    )


def run() -> RunFacts:
    """A run of two hours."""
    generator = np.random.default_rng(1)
    return RunFacts(
        facts=[
            Fact(name="verb", value="denoise"),
            Fact(name="records", value="1,203,600"),
            Fact(name="results", value="1,200,000"),
            Fact(name="rejects", value="3,600"),
            Fact(name="units", value="1,204"),
            Fact(name="written", value="48.2 GB"),
            Fact(name="took", value="2 h 3 min"),
            Fact(name="rate", value="163 records/s"),
        ],
        model=ModelFacts(
            name="zoo:denoiser-gray",
            facts=[Fact(name="kind", value="denoiser"), Fact(name="input", value="any size, grey")],
            figures=[Fact(name="BSD68, noise 25", value="29.01 dB")],
        ),
        options=[Fact(name="--noise-level", value="estimate"), Fact(name="--input", value="gs://lake/photos/*.tar")],
        versions=[Fact(name="latentlake", value="0.1.0"), Fact(name="Python", value="3.12.4")],
        lineage=[Fact(name="model", value="sha256 5f3c" + 14 * "a0c4")],
        timing=TimingFacts(
            seconds=np.linspace(0, 7380, 61),
            rates=generator.normal(163, 12, 60).clip(0),
            slowest=[
                UnitTime(unit=f"dt=2026-11-28/photos-{n:05d}", seconds=412.0 / (n + 1), read=1000) for n in range(6)
            ],
            parts={"read": 410.0, "decode": 2900.0, "model": 8800.0, "write": 1900.0, "publish": 120.0},
        ),
        failed=[Fact(name="dt=2026-11-28/photos-00417", value="photos-00417.tar: no tar archive")],
    )


def against() -> AgainstFacts:
    """A drift against last night."""
    return AgainstFacts(
        name="the run of 2026-11-27 02:00",
        drifted=True,
        auc=0.563,
        standard_error=0.003,
        threshold=0.52,
        rows=(20_000, 20_000),
        dimensions=[drift(f"latent[{at}]", 0.3 / (at + 1)) for at in range(64)],
        error_change=0.04,
        error=histogram("error", 5, reference=True),
        groups=groups("dt", ("dt=2026-11-28", "dt=2026-11-27", "dt=2026-11-26")),
    )


def same() -> AgainstFacts:
    """No difference at all from last night."""
    return replace(against(), drifted=False, auc=0.5, dimensions=[drift(f"latent[{at}]", 0.0) for at in range(64)])


def make_facts(points: int = 1500, photographs: int = 12) -> ReportFacts:
    """A report that has all sections."""
    photos = [photograph(number) for number in range(photographs)]
    return ReportFacts(
        output="gs://lake/clean",
        headline=Headline(
            sentence=SENTENCE,
            severity=Severity.BAD,
            findings=[
                Finding(
                    severity=Severity.BAD, text="dt=2026-11-28 is another kind of data", section=Section.PARTITIONS
                ),
                Finding(severity=Severity.LOOK, text="50 records are there twice", section=Section.DUPLICATES),
                Finding(severity=Severity.LOOK, text="20 outliers", section=Section.OUTLIERS),
                Finding(severity=Severity.GOOD, text="All 1,204 units are complete"),
            ],
            look=[*photos[:8], *(digit(n, "distance 14 times the median") for n in range(4))],
        ),
        run=run(),
        strips=[
            Strip(name="best", text="with the lowest error", images=photos[6:]),
            Strip(name="median", text="around the median error", images=[digit(n) for n in range(100, 112)]),
            Strip(name="worst", text="with the highest error", images=photos),
            Strip(name="random", text="drawn at random", images=[digit(n) for n in range(200, 212)]),
        ],
        error=errors(),
        noise=NoiseFacts(
            histogram=histogram("noise level", 4),
            trained=(0.0, 50.0),
            outside=0.0004,
            below=0,
            above=4,
            how="estimated",
        ),
        latents=latents(points),
        rejects=rejects(),
        against=against(),
        partitions=groups("dt", ("dt=2026-11-28", "dt=2026-11-27")),
        duplicates=DuplicateFacts(
            count=50,
            groups=49,
            by="equal bytes",
            exact=False,
            compared=100_000,
            examples=[[digit(n), digit(n)] for n in (40, 41, 42)],
            command="latentlake duplicates gs://lake/clean --write-list drop.jsonl",
        ),
        outliers=OutlierFacts(
            count=20,
            by="distance to its nearest neighbours",
            threshold=3.2,
            exact=True,
            compared=1_200_000,
            images=[digit(n, f"distance {9 - n / 10:.1f}") for n in range(12)],
            command="latentlake outliers gs://lake/clean --top 50",
        ),
        notes=["The input of 3 shards is gone; their images are not shown."],
    )
