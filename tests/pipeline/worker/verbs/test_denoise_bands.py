"""``denoise`` of two and four channels: the last one is alpha or data, as the image says. With the zoo's denoisers."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tifffile
from PIL import Image

from lake.core.errors import OutputError
from lake.core.records import Reason, Records
from lake.images.native_decoder import NativeDecoder
from lake.images.types import Alpha, Target
from model.bundle import Bundle
from model.denoiser import Denoiser
from model.runtime.runtime import Runtime
from pipeline.explore.pictures import first_to_see
from pipeline.job.prepare import prepare
from pipeline.job.repair import retry_options
from pipeline.options.job_options import JobOptions
from tests.conftest import Pixels
from tests.pipeline.conftest import run_job

GREY, COLOUR = "zoo:denoiser-gray", "zoo:denoiser-color"
LEVEL = 15.0
BAND, ALPHA = 0, 2  # ExtraSamples of TIFF 6.0


def scene(channels: int, seed: int = 0) -> Pixels:
    """Cells that are elsewhere in each channel, float64 ``[80, 80, K]`` in 0..1."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:80, :80, :1][:2]
    light = np.full((80, 80, channels), 0.15)
    for _ in range(6):
        row, column = rng.uniform(0, 80, (2, channels))
        light += 0.2 * np.exp(-((((y - row) ** 2 + (x - column) ** 2) / rng.uniform(6, 14) ** 2) ** 2))
    return light


def noisy(channels: int, dtype: type = np.uint16) -> tuple[Pixels, Pixels]:
    """A scene and a noisy image of it, on the scale of the type."""
    clean, white = scene(channels), np.iinfo(dtype).max
    shot = clean + np.random.default_rng(1).normal(0, LEVEL / 255, clean.shape)
    return clean * white, np.rint(shot * white).clip(0, white).astype(dtype)


def psnr(image: Pixels, clean: Pixels) -> Pixels:
    """Of each channel, in dB."""
    white = np.iinfo(image.dtype).max
    ratio: Pixels = -10 * np.log10(np.mean(((image - clean) / white) ** 2, axis=(0, 1)))
    return ratio


def run(source: Path, output: Path, model: str = GREY, **options: Any) -> dict[str, Any]:
    """The one row of a job's table."""
    run_job("denoise", source, model, output, **({"noise_level": LEVEL} | options))
    (file,) = (output / "metrics").rglob("*.parquet")
    row: dict[str, Any]
    (row,) = pq.read_table(file).to_pylist()
    return row


def stored(path: Path) -> tuple[Pixels, tuple[int, ...], int]:
    """Pixels, extra samples and photometric interpretation of a TIFF, as tifffile reads them."""
    with tifffile.TiffFile(path) as file:
        page = file.pages.first
        return page.asarray(), tuple(map(int, page.extrasamples)), int(page.photometric)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("model", [GREY, COLOUR])
@pytest.mark.parametrize(
    ("channels", "photometric", "extra"), [(2, "minisblack", 1), (4, "minisblack", 3), (4, "rgb", 1)]
)
def test_every_channel_of_data_is_cleaned(
    channels: int, photometric: str, extra: int, model: str, dtype: type, tmp_path: Path
) -> None:
    clean, pixels = noisy(channels, dtype)
    (tmp_path / "in").mkdir()
    options: Any = {"photometric": photometric, "planarconfig": "contig", "extrasamples": ["unspecified"] * extra}
    tifffile.imwrite(tmp_path / "in/x.tif", pixels, metadata=None, **options)
    row = run(tmp_path / "in", tmp_path / "out", model)
    made, extras, kind = stored(tmp_path / "out/images/x.tif")
    assert extras == (BAND,) * extra and kind == stored(tmp_path / "in/x.tif")[2] and made.dtype == dtype
    assert (psnr(made, clean) > psnr(pixels, clean) + 5).all()
    mse = np.mean((made.astype(float) - pixels) ** 2) / np.iinfo(dtype).max ** 2
    assert row["mse"] == pytest.approx(mse, rel=1e-3)
    if photometric == "rgb" and model == COLOUR:  # the three are still seen together
        levels = np.array([LEVEL / 255], np.float32)
        wanted = Denoiser(Runtime.load(Bundle.open(COLOUR))).denoise(pixels[None, ..., :3], levels)
        np.testing.assert_array_equal(made[..., :3], wanted.pixels[0])


@pytest.mark.parametrize("extra", ["unassalpha", None])
def test_alpha_of_a_tiff_stays_as_it_is(extra: str | None, tmp_path: Path) -> None:
    """Also where RGB says nothing of a fourth sample: other programs take it for alpha."""
    clean, pixels = noisy(4)
    (tmp_path / "in").mkdir()
    options: Any = {} if extra is None else {"extrasamples": [extra]}
    tifffile.imwrite(tmp_path / "in/x.tif", pixels, photometric="rgb", metadata=None, **options)
    run(tmp_path / "in", tmp_path / "out", image_format="tiff")
    made, extras, *_ = stored(tmp_path / "out/images/x.tif")
    assert extras == (ALPHA,)
    np.testing.assert_array_equal(made[..., 3], pixels[..., 3])
    assert (psnr(made, clean)[:3] > psnr(pixels, clean)[:3] + 5).all()


@pytest.mark.parametrize(
    ("channels", "dtype", "data"),
    [(2, np.uint16, True), (2, np.uint8, True), (4, np.uint16, True), (4, np.uint8, False)],
)
def test_of_arrays_four_channels_of_eight_bits_alone_have_alpha(
    channels: int, dtype: type, data: bool, tmp_path: Path
) -> None:
    clean, pixels = noisy(channels, dtype)
    np.save(tmp_path / "x.npy", pixels[None])
    row = run(tmp_path / "x.npy", tmp_path / "out", noise_level="estimate")
    made = np.load(tmp_path / "out/images/x.npy")[0]
    gain = psnr(made, clean) - psnr(pixels, clean)
    assert (gain[:-1] > 5).all()
    assert gain[-1] > 5 if data else gain[-1] == 0
    assert row["noise_levels"] == pytest.approx([LEVEL] * (channels - (not data)), rel=0.15)


def test_arrays_written_as_images_keep_their_channels(tmp_path: Path) -> None:
    clean, pixels = noisy(2)
    np.save(tmp_path / "x.npy", pixels[None])
    run(tmp_path / "x.npy", tmp_path / "out", output_format="folder")
    made, extras, *_ = stored(next((tmp_path / "out/images").rglob("*.tif")))
    assert extras == (BAND,) and (psnr(made, clean) > psnr(pixels, clean) + 5).all()
    run_job(
        "denoise",
        tmp_path / "x.npy",
        GREY,
        tmp_path / "png",
        noise_level=LEVEL,
        output_format="folder",
        image_format="png",
        gate={"max_reject_fraction": 1.0},
    )
    (file,) = (tmp_path / "png/rejects").rglob("*.parquet")
    (reject,) = pq.read_table(file).to_pylist()
    assert (
        reject["reason"] == Reason.UNWRITABLE_IMAGE and "--image-format lossless or tiff keeps it" in reject["detail"]
    )


@pytest.mark.parametrize(("alpha", "changed"), [("auto", False), ("last", False), ("none", True)])
def test_a_png_has_alpha_unless_the_user_knows_better(alpha: str, changed: bool, tmp_path: Path) -> None:
    _, pixels = noisy(4, np.uint8)
    (tmp_path / "in").mkdir()
    Image.fromarray(pixels).save(tmp_path / "in/x.png")
    run(tmp_path / "in", tmp_path / "out", alpha=alpha, image_format="same")
    made = np.asarray(Image.open(tmp_path / "out/images/x.png"))
    assert (made[..., 3] != pixels[..., 3]).any() == changed


@pytest.mark.parametrize(("extra", "shown"), [("unspecified", 3), ("unassalpha", 4)])
def test_pictures_take_no_data_for_alpha(extra: str, shown: int) -> None:
    out = io.BytesIO()
    tifffile.imwrite(out, noisy(4)[1], photometric="rgb", extrasamples=[extra], metadata=None)
    decoder = NativeDecoder(Target(shape=(None, None, 3), alpha=Alpha.AUTO))
    column = pa.array([out.getvalue()], pa.binary())
    records = Records(shard="s", index=np.arange(1), key=pa.array(["a"]), payload=column, carried={})
    (group,) = decoder.groups(records, {})
    assert first_to_see(group).shape == (80, 80, shown)


def test_photons_of_two_channels(tmp_path: Path) -> None:
    """Each channel has its own gain, in the table and in what is cleaned."""
    rng = np.random.default_rng(0)
    gains, electrons = np.array([2.0, 8.0]), scene(2) * 400
    clean = gains * electrons + 100
    pixels = np.rint(gains * rng.poisson(electrons) + rng.normal(100, 3, electrons.shape)).clip(0).astype(np.uint16)
    np.save(tmp_path / "x.npy", pixels[None])
    options: dict[str, Any] = {"noise_level": None, "noise": "poisson-gaussian", "black_level": 100}
    row = run(tmp_path / "x.npy", tmp_path / "out", **options)
    made = np.load(tmp_path / "out/images/x.npy")[0]
    assert row["gain"] == pytest.approx(gains.tolist(), rel=0.3)
    assert (psnr(made, clean) > psnr(pixels, clean) + 3).all()


def test_each_page_says_it_for_itself(tmp_path: Path) -> None:
    clean, pixels = noisy(4)
    (tmp_path / "in").mkdir()
    with tifffile.TiffWriter(tmp_path / "in/x.tif") as file:
        for extra in ("unspecified", "unassalpha", "unspecified"):
            file.write(pixels, photometric="rgb", extrasamples=[extra], metadata=None)
    run(tmp_path / "in", tmp_path / "out", pages="all", image_format="same")
    with tifffile.TiffFile(tmp_path / "out/images/x.tif") as file:
        pages = [(page.asarray(), tuple(map(int, page.keyframe.extrasamples))) for page in file.pages]
    assert [extra for _, extra in pages] == [(BAND,), (ALPHA,), (BAND,)]
    gains = [(psnr(made, clean) - psnr(pixels, clean))[3] for made, _ in pages]
    assert gains[0] > 5 and gains[1] == 0 and gains[2] == gains[0]


def test_the_reference_is_compared_in_every_channel(tmp_path: Path) -> None:
    clean, pixels = noisy(2)
    for name, image in (("in", pixels), ("clean", np.rint(clean).astype(np.uint16))):
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "x.npy", image[None])
    row = run(tmp_path / "in", tmp_path / "out", reference=[str(tmp_path / "clean")])
    made = np.load(tmp_path / "out/images/x.npy")[0]
    wanted = -10 * np.log10(np.mean(((made - np.rint(clean)) / 65535) ** 2))
    assert row["psnr_reference"] == pytest.approx(wanted, abs=1e-3)


def test_an_output_goes_on_by_the_rule_that_it_was_begun_with(tmp_path: Path) -> None:
    """One from before there was a choice took the last channel for alpha, and its options do not speak of it."""
    (tmp_path / "in").mkdir()
    for name in ("a", "b"):
        tifffile.imwrite(
            tmp_path / f"in/{name}.tif", noisy(2)[1], photometric="minisblack", planarconfig="contig", metadata=None
        )
    (tmp_path / "in/b.tif").rename(tmp_path / "b.tif")
    output = tmp_path / "out"
    base: dict[str, Any] = {"verb": "denoise", "model": GREY, "noise_level": LEVEL, "image_format": "tiff"}
    base |= {"input": str(tmp_path / "in"), "output": str(output)}
    run(tmp_path / "in", output, alpha="last", image_format="tiff")
    before = (output / "images/a.tif").read_bytes()
    job = prepare(JobOptions(**base))
    assert job.nothing_to_do and job.options.alpha is Alpha.LAST and "alpha" not in job.config.options()["target"]
    assert retry_options(str(output), {}).alpha is Alpha.LAST
    (tmp_path / "b.tif").rename(tmp_path / "in/b.tif")
    run_job("denoise", tmp_path / "in", GREY, output, noise_level=LEVEL, image_format="tiff")
    assert (output / "images/a.tif").read_bytes() == before == (output / "images/b.tif").read_bytes()
    with pytest.raises(OutputError, match=r"target\.alpha None -> auto"):
        prepare(JobOptions(**base, alpha=Alpha.AUTO))
    assert prepare(JobOptions(**base, overwrite=True)).options.alpha is Alpha.AUTO
