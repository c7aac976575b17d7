"""``denoise``: a dataset in, the same dataset out, cleaner; compared with the model called directly."""

import io
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tifffile
import webdataset
from PIL import Image

from lake.core.errors import OutputError, UsageError
from pipeline import config
from pipeline.cli.summary import describe
from pipeline.config import Gate
from pipeline.explore.committed import Committed
from pipeline.job.prepare import prepare
from pipeline.options.job_options import JobOptions
from pipeline.output.verify import verify
from pipeline.report.noise_facts import noise_facts
from pipeline.report.survey import survey
from pipeline.worker.verbs import denoise
from tests.conftest import Model, Pixels, png
from tests.pipeline.conftest import run_job


@pytest.fixture(scope="module")
def blur(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A grey model of any size whose output is the mean of 3 x 3 pixels, zeros beyond the edge."""
    from lake.core.tensorflow import keras
    from model.export import export

    layers, path = keras().layers, tmp_path_factory.mktemp("blur")
    image = layers.Input((None, None, 1), name="image")
    mean = layers.Conv2D(1, 3, padding="same", use_bias=False, kernel_initializer=keras().initializers.Constant(1 / 9))
    keras().Model(image, mean(image)).save(path / "blur.keras")
    export(path / "blur.keras", None, str(path / "bundle"))
    return str(path / "bundle")


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> str:
    return told_bundle(tmp_path_factory.mktemp("told"))


def told_bundle(path: Path, noise_range: tuple[float, float] | None = None) -> str:
    """A grey model of any size that takes a noise level: half the level is added to every pixel."""
    from lake.core.tensorflow import keras
    from model.export import export
    from model.preprocessing import Preprocessing

    layers = keras().layers
    image = layers.Input((None, None, 1), name="image")
    level = layers.Input((None, None, 1), name="noise_level")
    output = layers.Add()([image, layers.Rescaling(0.5)(level)])
    keras().Model([image, level], output).save(path / "told.keras")
    given = Preprocessing(noise_input="noise_level", noise_range=noise_range)
    export(path / "told.keras", None, str(path / "bundle"), given)
    return str(path / "bundle")


def mean3(pixels: Pixels) -> Pixels:
    """The blur model by NumPy: float64 [H, W] -> the same."""
    padded = np.pad(pixels.astype(np.float64), 1)
    height, width = pixels.shape
    return sum(padded[i : i + height, j : j + width] for i in range(3) for j in range(3)) / 9


def blurred(pixels: Pixels) -> Pixels:
    """What the job must give for an image [H, W] or [H, W, K] without alpha, in its own type."""
    if pixels.ndim == 3:
        return np.stack([blurred(pixels[..., c]) for c in range(pixels.shape[2])], axis=-1)
    mean = mean3(pixels)
    return np.rint(mean).astype(pixels.dtype) if pixels.dtype.kind == "u" else mean.astype(pixels.dtype)


def assert_close(made: Pixels, wanted: Pixels) -> None:
    """Equal, but for halves that float32 rounds the other way."""
    assert made.dtype == wanted.dtype and made.shape == wanted.shape
    assert np.abs(made.astype(np.float64) - wanted).max() <= (1 if made.dtype.kind == "u" else 1e-5)
    assert np.mean(made != wanted) < 0.02 or made.dtype.kind == "f"


def image(seed: int, *shape: int, dtype: type = np.uint8) -> Pixels:
    top = {np.uint8: 256, np.uint16: 65536}[dtype]
    return np.random.default_rng(seed).integers(0, top, shape).astype(dtype)


def table(output: Path) -> list[dict[str, Any]]:
    return [row for file in sorted((output / "metrics").rglob("*.parquet")) for row in pq.read_table(file).to_pylist()]


def test_a_tar_of_mixed_sizes_with_everything_beside(blur: str, tmp_path: Path) -> None:
    images = [image(i, 20 + i % 3, 31, *([3] if i % 2 else [])) for i in range(30)]
    with webdataset.TarWriter(str(tmp_path / "x-000.tar")) as out:
        for i, pixels in enumerate(images):
            out.write(
                {"__key__": f"d/{i:03d}", "txt": f"text {i}", "png": png(pixels), "seg.bin": bytes([i]), "cls": i}
            )
    summary = run_job("denoise", tmp_path / "x-000.tar", blur, tmp_path / "out")
    assert summary["total"]["results"] == 30
    with tarfile.open(tmp_path / "x-000.tar") as before, tarfile.open(tmp_path / "out/images/x-000.tar") as after:
        assert after.getnames() == before.getnames()
        for name in after.getnames():
            one, other = after.extractfile(name).read(), before.extractfile(name).read()
            if not name.endswith(".png"):
                assert one == other
    with (tmp_path / "out/images/x-000.tar").open("rb") as stream:
        members = ({**member, "__url__": "x"} for member in webdataset.tariterators.tar_file_iterator(stream))
        samples = list(webdataset.tariterators.group_by_keys(members))
    for sample, pixels in zip(samples, images, strict=True):
        assert_close(np.asarray(Image.open(io.BytesIO(sample["png"]))), blurred(pixels))
    rows = table(tmp_path / "out")
    assert [(row["height"], row["width"]) for row in rows] == [pixels.shape[:2] for pixels in images]
    assert [row["noise_level"] for row in rows] == [None] * 30
    mse = [((blurred(p).astype(float) - p) ** 2).mean() / 255**2 for p in images]
    np.testing.assert_allclose([row["mse"] for row in rows], mse, rtol=1e-3)
    assert verify(str(tmp_path / "out")).problems == ()


@pytest.mark.parametrize("kind", ["grey 16", "alpha", "grey alpha", "palette", "turned"])
def test_an_image_stays_what_it_is(kind: str, blur: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    pixels = image(3, 24, 17, {"alpha": 4, "grey alpha": 2, "turned": 3}.get(kind, 1))
    path, wanted = tmp_path / "in/x.png", blurred(pixels)
    if kind == "grey 16":
        wide = image(3, 24, 17, dtype=np.uint16)
        Image.fromarray(wide).save(path)
        wanted = blurred(wide)
    elif kind == "palette":
        source = Image.fromarray(image(3, 24, 17, 3)).quantize(16)
        source.save(path)
        wanted = blurred(np.asarray(source.convert("RGB")))
    elif kind == "turned":
        exif = Image.Exif()
        exif[274] = 6
        Image.fromarray(pixels).save(path, exif=exif)
        wanted = blurred(np.rot90(pixels, -1))
    else:
        Image.fromarray(pixels).save(path)
        wanted[..., -1] = pixels[..., -1]
    run_job("denoise", tmp_path / "in", blur, tmp_path / "out")
    assert_close(np.asarray(Image.open(tmp_path / "out/images/x.png")), wanted)


def test_jpeg_becomes_png_under_its_stem(blur: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    Image.fromarray(image(1, 16, 16)).save(tmp_path / "in/a.jpg", quality=95)
    Image.fromarray(image(2, 16, 16, 3)).convert("CMYK").save(tmp_path / "in/b.jpeg", quality=95)
    run_job("denoise", tmp_path / "in", blur, tmp_path / "out")
    for name, mode in (("a.jpg", "L"), ("b.jpeg", "RGB")):
        made = np.asarray(Image.open((tmp_path / "out/images" / name).with_suffix(".png")))
        assert_close(made, blurred(np.asarray(Image.open(tmp_path / "in" / name).convert(mode))))


def test_floating_pixels_are_neither_clipped_nor_rounded(blur: str, tmp_path: Path) -> None:
    noisy = np.random.default_rng(0).normal(0.5, 0.6, (5, 33, 20)).astype(np.float32)
    np.save(tmp_path / "noisy.npy", noisy)
    run_job("denoise", tmp_path / "noisy.npy", blur, tmp_path / "out")
    made = np.load(tmp_path / "out/images/noisy.npy")
    assert made.min() < 0 < 1 < noisy.max()
    assert_close(made, np.stack([blurred(pixels) for pixels in noisy]))


def test_a_large_image_has_no_seams(blur: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    pixels = image(5, 1500, 1700)
    (tmp_path / "in/large.png").write_bytes(png(pixels))
    run_job("denoise", tmp_path / "in", blur, tmp_path / "out")
    assert_close(np.asarray(Image.open(tmp_path / "out/images/large.png")), blurred(pixels))


def test_a_model_of_fixed_size_denoises(model: Model, digits: Pixels, shards: Path, tmp_path: Path) -> None:
    run_job("denoise", shards / "b", model.bundle, tmp_path / "out")
    rows = pq.read_table(tmp_path / "out/images/train-2.parquet").to_pylist()
    made = np.stack([np.asarray(Image.open(io.BytesIO(row["image"]["bytes"]))) for row in rows])
    wanted = np.rint(np.clip(model.reconstruct(digits[1000:]), 0, 1) * 255).astype(np.uint8)
    assert np.abs(made.astype(int) - wanted).max() <= 1 and np.mean(made != wanted) < 0.01


@pytest.mark.parametrize("given", ["50", "sigma", "estimate"])
def test_the_model_is_told_of_the_noise(given: str, told: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    levels = np.array([10.0, 20, 40])
    noisy = (0.5 + rng.normal(0, 1, (3, 64, 64)) * levels[:, None, None] / 255).astype(np.float32)
    np.savez(tmp_path / "x.npz", x=noisy, sigma=levels)
    run_job("denoise", tmp_path / "x.npz", told, tmp_path / "out", noise_level=given)
    stated = np.array([row["noise_level"] for row in table(tmp_path / "out")])
    wanted = {"50": np.full(3, 50.0), "sigma": levels}.get(given, noisy.std((1, 2)) * 255)
    np.testing.assert_allclose(stated, wanted, rtol=0.1 if given == "estimate" else 1e-6)
    added = np.load(tmp_path / "out/images/x.npz")["x"] - noisy
    np.testing.assert_allclose(added, np.broadcast_to(stated[:, None, None] / 510, added.shape), atol=1e-6)


def test_noise_that_the_model_did_not_learn(tmp_path: Path) -> None:
    """Below, the model is told the least level, and of the half of it that it adds a share is kept."""
    bundle, levels = told_bundle(tmp_path, noise_range=(16.0, 32.0)), np.array([0.0, 8, 16, 40])
    noisy = np.random.default_rng(2).normal(0.5, 0.1, (4, 24, 24)).astype(np.float32)
    np.savez(tmp_path / "x.npz", x=noisy, sigma=levels)
    summary = run_job("denoise", tmp_path / "x.npz", bundle, tmp_path / "out", noise_level="sigma")
    made = np.load(tmp_path / "out/images/x.npz")["x"]
    assert made[0].tobytes() == noisy[0].tobytes()
    added = np.array([0, 16 / 4, 16, 40])[:, None, None] / 510
    np.testing.assert_allclose(made - noisy, np.broadcast_to(added, made.shape), atol=1e-6)
    assert [row["noise_level"] for row in table(tmp_path / "out")] == levels.tolist()
    assert (summary["run"]["noise_below"], summary["run"]["noise_above"]) == (2, 1)
    text = describe(summary).splitlines()
    assert "  less noise than the model learned: 2 images, changed less for it, or not at all" in text
    assert "  more noise than the model learned: 1 image; compare some by eye" in text
    assert verify(str(tmp_path / "out"), deep=True).problems == ()
    committed = Committed.read(str(tmp_path / "out"))
    facts = noise_facts(committed, survey(committed))
    assert facts is not None and (facts.trained, facts.below, facts.above) == ((16.0, 32.0), 2, 1)


def test_an_output_of_an_earlier_version(blur: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its psnr is the psnr_input of today. It is read and verified, and no run mixes it with images of another rule."""
    (tmp_path / "in").mkdir()
    for number in range(2):
        Image.fromarray(image(number, 20, 31)).save(tmp_path / f"in/{number}.png")
    with monkeypatch.context() as earlier:
        schema = denoise.metrics_schema(pa.schema([]), False)
        named = [field.with_name("psnr") if field.name == "psnr_input" else field for field in schema]
        earlier.setattr(denoise, "metrics_schema", lambda *_: pa.schema(named))
        earlier.setattr(config, "_VERSIONS", {})
        run_job("denoise", tmp_path / "in", blur, tmp_path / "out")
    rows = table(tmp_path / "out")
    assert "psnr_input" not in rows[0]
    found = survey(Committed.read(str(tmp_path / "out"))).numbers
    assert found["psnr_input"].tolist() == [row["psnr"] for row in rows] and "psnr" not in found
    assert verify(str(tmp_path / "out"), deep=True).problems == ()
    with pytest.raises(OutputError, match=r"by another version of latentlake, .*output_version 1 -> 2.*--overwrite"):
        run_job("denoise", tmp_path / "in", blur, tmp_path / "out")
    run_job("denoise", tmp_path / "in", blur, tmp_path / "out", overwrite=True)
    assert [row["psnr_input"] for row in table(tmp_path / "out")] == [row["psnr"] for row in rows]


def test_a_noise_level_is_asked_for(told: str, blur: str, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((2, 8, 8), np.uint8))
    base = {"verb": "denoise", "input": (str(tmp_path / "x.npy"),), "output": str(tmp_path / "out")}
    with pytest.raises(UsageError, match="give --noise-level"):
        prepare(JobOptions(model=told, **base))
    with pytest.raises(UsageError, match="takes no noise level"):
        prepare(JobOptions(model=blur, noise_level="25", **base))
    assert not (tmp_path / "out").exists()


def test_clean_references(blur: str, tmp_path: Path) -> None:
    clean = [image(i, 30 + i, 40) for i in range(4)]
    for folder in ("noisy", "clean"):
        (tmp_path / folder).mkdir()
    for i, pixels in enumerate(clean):
        noise = np.random.default_rng(i).normal(0, 0.1, pixels.shape)
        Image.fromarray((pixels / 255 + noise).astype(np.float32)).save(tmp_path / f"noisy/{i}.tif")
        (tmp_path / f"clean/{i}.png").write_bytes(png(pixels))
    run_job("denoise", tmp_path / "noisy", blur, tmp_path / "out", reference=(str(tmp_path / "clean"),))
    for i, row in enumerate(table(tmp_path / "out")):
        made = np.clip(np.asarray(Image.open(tmp_path / f"out/images/{i}.tif")).astype(np.float64), 0, 1)
        psnr = -10 * np.log10(np.mean((made - clean[i] / 255) ** 2))
        assert row["psnr_reference"] == pytest.approx(psnr, abs=1e-3)
        assert 0 < row["ssim_reference"] < 1


def test_a_reference_that_changed_is_compared_again(blur: str, tmp_path: Path) -> None:
    for folder in ("noisy", "clean"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.png").write_bytes(png(image(1, 16, 16)))
    options = {"reference": (str(tmp_path / "clean"),)}
    run_job("denoise", tmp_path / "noisy", blur, tmp_path / "out", **options)
    (before,) = table(tmp_path / "out")
    (tmp_path / "clean/a.png").write_bytes(png(blurred(image(1, 16, 16))))
    assert run_job("denoise", tmp_path / "noisy", blur, tmp_path / "out", **options)["run"]["units"] == 1
    (after,) = table(tmp_path / "out")
    assert before["psnr_reference"] < 30 < 45 < after["psnr_reference"]


def test_a_missing_reference_is_refused(blur: str, tmp_path: Path) -> None:
    for folder, names in (("noisy", "ab"), ("clean", "a")):
        (tmp_path / folder).mkdir()
        for name in names:
            (tmp_path / folder / f"{name}.png").write_bytes(png(image(0, 8, 8)))
    settings = JobOptions(
        verb="denoise", input=(str(tmp_path / "noisy"),), model=blur, output=str(tmp_path / "out"),
        reference=(str(tmp_path / "clean"),),
    )  # fmt: skip
    with pytest.raises(UsageError, match=r"b\.png"):
        prepare(settings)


def test_threads_and_neighbours_change_no_byte(blur: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for i in range(25):
        (tmp_path / f"in/{i:02d}.png").write_bytes(png(image(i, 20 + i % 4, 20)))
    alone = tmp_path / "alone"
    alone.mkdir()
    (alone / "13.png").write_bytes((tmp_path / "in/13.png").read_bytes())
    for name, source, threads in (("one", "in", 1), ("four", "in", 4), ("single", "alone", 2)):
        run_job("denoise", tmp_path / source, blur, tmp_path / name, threads=threads)
    files = sorted(path.name for path in (tmp_path / "one/images").iterdir())
    assert len(files) == 25
    for name in files:
        assert (tmp_path / "one/images" / name).read_bytes() == (tmp_path / "four/images" / name).read_bytes()
    assert (tmp_path / "single/images/13.png").read_bytes() == (tmp_path / "one/images/13.png").read_bytes()


def test_every_page_of_a_stack(blur: str, tmp_path: Path) -> None:
    pages = [image(1, 20, 31), image(2, 20, 31), image(3, 12, 9, 3)]
    (tmp_path / "in").mkdir()
    with tifffile.TiffWriter(tmp_path / "in/stack.tif") as file:
        for page in pages:
            file.write(page, photometric="rgb" if page.ndim == 3 else "minisblack", metadata=None)
    tifffile.imwrite(tmp_path / "in/wide.tif", image(4, 3, 20, 31, dtype=np.uint16), photometric="minisblack")
    tifffile.imwrite(tmp_path / "in/one.tif", pages[0])
    settings = {"pages": "all", "image_format": "same", "error_map": True}
    run_job("denoise", tmp_path / "in", blur, tmp_path / "out", **settings)
    with tifffile.TiffFile(tmp_path / "out/images/stack.tif") as file:
        made = [page.asarray() for page in file.pages]
    with tifffile.TiffFile(tmp_path / "out/error_maps/stack.tif") as file:
        maps = [page.asarray() for page in file.pages]
    squares = 0.0
    for output, error, page in zip(made, maps, pages, strict=True):
        assert_close(output, blurred(page))
        np.testing.assert_array_equal(error, np.abs(output.astype(int) - page))
        squares += float(np.square(error / 255.0).mean() * page.shape[0] * page.shape[1])
    rows = {row["key"]: row for row in table(tmp_path / "out")}
    assert (rows["stack.tif"]["height"], rows["stack.tif"]["width"]) == (20, 31)
    assert rows["stack.tif"]["mse"] == pytest.approx(squares / (2 * 20 * 31 + 12 * 9), rel=1e-4)
    wide = tifffile.imread(tmp_path / "out/images/wide.tif")
    for output, page in zip(wide, image(4, 3, 20, 31, dtype=np.uint16), strict=True):
        assert_close(output, blurred(page))
    assert tifffile.imread(tmp_path / "out/images/one.tif").shape == (20, 31)
    assert verify(str(tmp_path / "out"), deep=True).problems == ()


def test_a_bad_page_rejects_its_stack(blur: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    tifffile.imwrite(tmp_path / "in/x.tif", image(1, 3, 20, 31), photometric="minisblack", compression="zlib")
    data = bytearray((tmp_path / "in/x.tif").read_bytes())
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        start = file.pages[2].dataoffsets[0]
    data[start : start + 40] = bytes(40)
    (tmp_path / "in/x.tif").write_bytes(data)
    tifffile.imwrite(tmp_path / "in/y.tif", image(2, 20, 31))
    summary = run_job(
        "denoise",
        tmp_path / "in",
        blur,
        tmp_path / "out",
        pages="all",
        image_format="tiff",
        gate=Gate(max_reject_fraction=1),
    )
    assert summary["total"]["reasons"] == {"corrupt_image": 1}
    assert [file.name for file in (tmp_path / "out/images").iterdir()] == ["y.tif"]


@pytest.mark.parametrize(
    ("verb", "settings", "says"),
    [
        ("denoise", {}, "--image-format same or tiff"),
        ("denoise", {"image_format": "same", "reference": ("in",)}, "--reference"),
        ("reconstruct", {"image_format": "same"}, "denoise takes all"),
        ("encode", {}, "denoise takes all"),
    ],
)
def test_where_all_pages_cannot_be_written(
    blur: str, model: Model, tmp_path: Path, verb: str, settings: dict[str, Any], says: str
) -> None:
    (tmp_path / "in").mkdir()
    tifffile.imwrite(tmp_path / "in/y.tif", image(2, 20, 31))
    bundle = blur if verb == "denoise" else model.bundle
    where: dict[str, Any] = {"input": (str(tmp_path / "in"),), "output": str(tmp_path / "out")}
    with pytest.raises(UsageError, match=says):
        prepare(JobOptions(verb=verb, model=bundle, pages="all", **where, **settings))
