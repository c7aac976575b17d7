"""Reports of outputs that jobs wrote, in every format and of every verb; and the command."""

import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lake.core.errors import UsageError
from pipeline.cli.command import main
from pipeline.explore.committed import Committed
from pipeline.explore.output import Output
from pipeline.options.job_options import JobOptions
from pipeline.report.facts import ReportFacts
from pipeline.report.make_facts import make_facts
from pipeline.report.run_facts import time_text
from pipeline.report.shown import ImageFacts, Picture, RecordName
from tests.conftest import Model, Pixels, png
from tests.pipeline.conftest import run_job
from tests.pipeline.explore.values import clustered, make_output


def pixels_of(picture: Picture | None) -> np.ndarray:
    assert picture is not None
    image = np.asarray(Image.open(io.BytesIO(picture.data)))
    assert image.shape[:2] == (picture.height, picture.width)
    return image


def images_in(facts: ReportFacts) -> Iterator[ImageFacts]:
    yield from facts.headline.look
    for strip in facts.strips:
        yield from strip.images


STARTS = {"a/train-0.parquet": 0, "a/train-1.parquet": 700, "b/train-2.parquet": 1000}  # of ``shards``


def number_of(record: RecordName) -> int:
    return STARTS[record.shard] + record.index


def test_images_that_were_read(encoded: Path, digits: Pixels) -> None:
    facts = make_facts(Committed.read(str(encoded)))
    assert facts.headline.sentence.startswith("1,797 images, none rejected")
    for image in images_in(facts):
        np.testing.assert_array_equal(pixels_of(image.picture), digits[number_of(image.record)])
    assert facts.latents is not None
    assert facts.latents.map is not None
    assert facts.latents.map.colors[0].name == "label"
    assert len(facts.latents.map.thumbnails) >= 400
    for at, picture in [*facts.latents.map.thumbnails.items()][:50]:
        np.testing.assert_array_equal(pixels_of(picture), digits[number_of(facts.latents.map.records[at])])
    assert facts.run.timing is not None
    assert set(facts.run.timing.parts) >= {"read", "decode", "model", "write", "publish"}
    step = np.diff(facts.run.timing.seconds)
    assert (facts.run.timing.rates * step).sum() == pytest.approx(1797, abs=2)
    assert {unit.unit for unit in facts.run.timing.slowest} <= {receipt.unit for receipt in _receipts(encoded)}


def _receipts(output: Path) -> Any:
    return Committed.read(str(output)).receipts


def test_before_and_after(reconstructed: Path, model: Model, digits: Pixels) -> None:
    facts = make_facts(Committed.read(str(reconstructed)))
    worst = next(strip for strip in facts.strips if strip.name == "worst").images
    errors = [image.error for image in worst]
    assert errors == sorted(errors, reverse=True)  # type: ignore[type-var]
    for image in worst:
        assert image.comparison is not None
        number = number_of(image.record)
        after = np.round(np.clip(model.reconstruct(digits[number : number + 1])[0], 0, 1) * 255)
        np.testing.assert_array_equal(pixels_of(image.comparison.before), digits[number])
        np.testing.assert_allclose(pixels_of(image.comparison.after), after, atol=1)
        expected = np.clip(np.abs(after - digits[number]) * image.comparison.gain, 0, 255)
        np.testing.assert_allclose(pixels_of(image.comparison.residual), expected, atol=image.comparison.gain)


@pytest.fixture
def folder(tmp_path: Path, digits: Pixels) -> Path:
    """40 digits, a file that is cut off, one of another size, and one with a name that is markup."""
    place = tmp_path / "images"
    place.mkdir()
    for number in range(40):
        (place / f"{number:05d}.png").write_bytes(png(digits[number]))
    large = png(np.arange(120 * 90, dtype=np.uint32).reshape(120, 90).astype(np.uint8))
    (place / "cut.png").write_bytes(large[: len(large) * 2 // 3])
    (place / "large.png").write_bytes(large)
    (place / "<b>'x'.png").write_bytes(png(digits[50]))
    return place


@pytest.fixture
def dim_folder(tmp_path: Path, digits: Pixels) -> Path:
    """40 digits as a camera of 12 bits writes them into 16."""
    place = tmp_path / "dim"
    place.mkdir()
    for number in range(40):
        Image.fromarray(digits[number].astype(np.uint16) * 16).save(place / f"{number:05d}.png")
    return place


@pytest.mark.parametrize("verb", ["encode", "denoise"])
def test_images_that_use_little_of_16_bits_can_be_seen(
    verb: str, dim_folder: Path, tmp_path: Path, model: Model, digits: Pixels
) -> None:
    bundle, level = {"encode": (model.bundle, None), "denoise": ("zoo:denoiser-gray", "5")}[verb]
    run_job(verb, dim_folder, bundle, output := tmp_path / "o", noise_level=level)
    for image in images_in(make_facts(Committed.read(str(output)))):
        assert image.picture is not None
        gain = image.picture.gain
        bright = np.minimum(digits[int(image.record.key[:5])].astype(int) * 16 * gain, 65535) >> 8
        if image.comparison is None:
            assert gain in (16, 32)
            np.testing.assert_array_equal(pixels_of(image.picture), bright)
        else:
            np.testing.assert_array_equal(pixels_of(image.comparison.before), bright)
            assert image.comparison.gain % gain == 0
    Output(output).report(tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "are shown brighter" in page and "16 times as bright" in page
    assert "data:image/png" in Output(output)._repr_html_()


def test_rejects_and_an_input_that_is_gone(folder: Path, tmp_path: Path, model: Model) -> None:
    output = tmp_path / "o ut"
    run_job("encode", folder, model.bundle, output, gate={"max_reject_fraction": 1.0})
    shutil.rmtree(folder)
    facts = make_facts(Committed.read(str(output)))
    assert facts.rejects is not None
    assert (facts.rejects.total, facts.rejects.share) == (2, pytest.approx(2 / 43))
    reasons = {reason.reason: reason for reason in facts.rejects.reasons}
    assert set(reasons) == {"corrupt_image", "wrong_size"}
    assert reasons["wrong_size"].command == f"latentlake retry '{output}' --resize fit"
    (large,), (cut,) = reasons["wrong_size"].images, reasons["corrupt_image"].images
    assert large.record.key == "large.png"
    assert max(pixels_of(large.picture).shape[:2]) == 120
    assert pixels_of(cut.picture).max() > 0
    assert facts.headline.severity == "bad"
    assert all(image.picture is None and image.missing for image in images_in(facts))
    assert facts.notes


def test_what_a_retry_mends_belongs_to_its_night(tmp_path: Path, model: Model, digits: Pixels) -> None:
    """Both nights have a reject; the second one is broken. The retry is the latest run, and no night."""
    lake, output, nights = tmp_path / "lake", tmp_path / "o", list[str]()
    for night, images in enumerate((digits[:60], 255 - digits[60:120])):
        (lake / f"dt={night}").mkdir(parents=True)
        for number, image in enumerate((*images, np.zeros((40, 40), np.uint8))):
            (lake / f"dt={night}" / f"{number:02d}.png").write_bytes(png(image))
        nights.append(run_job("encode", lake, model.bundle, output, gate={"max_reject_fraction": 1.0})["run"]["id"])
    before = make_facts(Committed.read(str(output))).against
    assert before is not None
    assert (before.name, before.drifted, before.rows) == ("the state before the latest run", True, (60, 60))
    run_job("encode", lake, model.bundle, output, gate={"max_reject_fraction": 1.0})
    nothing_to_do = make_facts(Committed.read(str(output))).against
    assert nothing_to_do is not None and nothing_to_do.auc == before.auc
    assert main(["retry", str(output), "--resize", "fit"]) == 0
    facts = make_facts(Committed.read(str(output)))
    assert facts.against is not None and facts.rejects is None
    assert (facts.against.drifted, facts.against.rows) == (True, (61, 61))
    started = json.loads((output / "_plan" / nights[1] / "summary.json").read_text())["run"]["started"]
    assert facts.headline.findings[0].text.startswith(f"Drift from the state before the run of {time_text(started)}: ")


def test_everything_was_rejected(folder: Path, tmp_path: Path, model: Model) -> None:
    for name in folder.iterdir():
        if name.name != "large.png":
            name.unlink()
    run_job("encode", folder, model.bundle, tmp_path / "o", gate={"max_reject_fraction": 1.0})
    report = Output(tmp_path / "o").report(tmp_path / "r.html")
    assert repr(report) == f"Report('{tmp_path / 'r.html'}': {report.headline.sentence})", "no bytes of images"
    assert str(report).splitlines()[0] == report.headline.sentence
    assert report.headline.sentence == "1 image, 100.0% rejected"
    assert "latentlake retry" in (tmp_path / "r.html").read_text()


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keys = [f"<script>alert({row})</script>\x1b[2J" for row in range(60)]
    output = make_output(tmp_path / "o", clustered(60, 8), keys=keys)
    page = tmp_path / "page.html"
    assert main(["report", output, "--output-file", str(page)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("60 records, none rejected")
    assert lines[-1] == f"the page: {page}"
    text = page.read_text()
    assert "<script>alert" not in text
    assert "\x1b" not in text
    assert len(text) < 10_000_000
    assert main(["report", output, "--output-file", str(page), "--json", "--sample", "30"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert (value["file"], len(value["look_at"]), value["severity"]) == (str(page), 12, "look")
    assert main(["report", output, "--color-by", "lable", "--output-file", str(page)]) == 2
    assert "has no column 'lable'" in capsys.readouterr().err
    assert main(["report", output, "--against", str(tmp_path / "nothing")]) == 2
    assert "no finished job" in capsys.readouterr().err


def test_the_same_output_gives_the_same_page(tmp_path: Path) -> None:
    output = Output(make_output(tmp_path / "o", clustered(200, 8), sizes=[100, 100]))
    for name in ("a", "b"):
        output.report(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert sorted(path.name for path in (tmp_path / "o").iterdir()) == ["_job.json", "_manifest.parquet", "latents"]


@pytest.mark.parametrize("package", ["jinja2", "plotly"])
def test_a_missing_package_is_named_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    from pipeline.report.page import document

    output = Output(make_output(tmp_path / "o", clustered(9, 4)))
    document._environment.cache_clear()
    monkeypatch.setitem(__import__("sys").modules, package, None)
    with pytest.raises(UsageError, match=rf"needs {package}.*pip install 'latentlake\[report\]'"):
        output.report(tmp_path / "r.html")
    document._environment.cache_clear()


def shards_of(folder: Path, digits: Pixels) -> None:
    generator = np.random.default_rng(0)
    folder.mkdir()
    for number in range(24):
        big = np.kron(digits[number], np.ones((52, 44), np.uint8)).astype(np.float64)
        noisy = np.clip(big + generator.normal(0, 15, big.shape), 0, 255).round().astype(np.uint8)
        (folder / f"{number:05d}.png").write_bytes(png(noisy))


@pytest.mark.slow
@pytest.mark.parametrize("format", ["folder", "webdataset", "tfrecord", "parquet", "array"])
def test_denoised_images_in_every_format(tmp_path: Path, digits: Pixels, format: str) -> None:
    shards_of(tmp_path / "in", digits)
    output = tmp_path / "o"
    run_job("denoise", tmp_path / "in", "zoo:denoiser-gray", output, noise_level="15", output_format=format)
    facts = make_facts(Committed.read(str(output)))
    assert facts.noise is not None
    assert (facts.noise.trained, facts.noise.outside, facts.noise.how) == ((5.0, 75.0), 0.0, "given")
    read = {path.name: np.asarray(Image.open(path)).astype(int) for path in (tmp_path / "in").iterdir()}
    for image in next(strip for strip in facts.strips if strip.name == "worst").images:
        assert image.comparison is not None
        assert max(image.comparison.after.width, image.comparison.after.height) == 320
        before = pixels_of(image.comparison.crop_before).astype(int)
        after = pixels_of(image.comparison.crop_after).astype(int)
        noisy = read[image.record.key]
        top, left = (noisy.shape[0] - 160) // 2, (noisy.shape[1] - 160) // 2
        np.testing.assert_array_equal(before, noisy[top : top + 160, left : left + 160])
        assert 5 < np.abs(after - before).mean() < 20  # the noise was 15
    assert "latents" not in str(facts.notes)


@pytest.mark.slow
def test_generated_and_decoded_images(tmp_path: Path, digits: Pixels) -> None:
    from pipeline.beam.launch import launch

    made = {"model": "zoo:mnist-vae", "output": str(tmp_path / "made"), "output_format": "webdataset"}
    launch(JobOptions(verb="generate", count=30, seed=1, **made), [])
    facts = make_facts(Committed.read(str(tmp_path / "made")))
    assert facts.headline.sentence == "30 images, none rejected: look at these 12"
    (strip,) = facts.strips
    assert all(pixels_of(image.picture).shape == (28, 28) for image in strip.images)
    shards_of(tmp_path / "in", digits)
    run_job("encode", tmp_path / "in", "zoo:mnist-vae", tmp_path / "latents", resize="stretch")
    run_job("decode", tmp_path / "latents/latents", "zoo:mnist-vae", tmp_path / "decoded", output_format="tfrecord")
    decoded = make_facts(Committed.read(str(tmp_path / "decoded")))
    assert {image.record.key for image in decoded.headline.look} <= {f"{number:05d}.png" for number in range(24)}
    Output(tmp_path / "decoded").report(tmp_path / "page.html")


@pytest.mark.slow
def test_the_second_night(tmp_path: Path, digits: Pixels, model: Model) -> None:
    """What a run adds is compared with what it kept."""
    nights = [digits[:200], digits[200:400], (255 - digits[400:600])]
    for night, images in enumerate(nights):
        place = tmp_path / "in" / f"dt=2026-11-2{night}"
        place.mkdir(parents=True)
        for number, image in enumerate(images):
            (place / f"{number:05d}.png").write_bytes(png(image))
        run_job("reconstruct", tmp_path / "in", model.bundle, tmp_path / "o", images=False)
        facts = make_facts(Committed.read(str(tmp_path / "o")))
        against = facts.against
        if not night:
            assert against is None
            continue
        assert against is not None
        assert against.rows == (200 * night, 200)
        assert against.drifted == (night == 2)
        assert any(fact.name.startswith("earlier run") for fact in facts.run.lineage)
    assert "dt=2026-11-22 differs" in facts.headline.sentence
    assert facts.headline.severity == "bad"
