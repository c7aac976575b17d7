"""Retries one after another, each by another policy: none takes back what one before it has achieved."""

import errno
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lake.images.center_crop import CenterCrop
from lake.images.types import Color, DecodeMode, Pages, Resize, Target
from pipeline.cli.command import main
from pipeline.options.reject_retry import RejectRetry, retries_of
from pipeline.output.layout import Layout
from pipeline.output.manifest.manifest import read_manifest, write_manifest
from pipeline.output.verify import verify
from tests.conftest import Model, png, write_parquet
from tests.faults.outputs import rows, success

GATE = ("--max-reject-fraction", "1")
FORMS: dict[str, tuple[str, ...]] = {
    "tables": ("encode",),
    "mds": ("encode", "--latent-format", "mds"),
    "partitions": ("encode", "--partition-by", "label"),
    "images": ("reconstruct", "--output-format", "folder"),
}
GRAY = Target(shape=(8, 8, 1))
CROP = RejectRetry(target=Target(shape=(8, 8, 1), resize=Resize.CROP), max_record_bytes=7)
CONVERT = RejectRetry(target=Target(shape=(8, 8, 1), color=Color.CONVERT, pages=Pages.ALL), max_record_bytes=9)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Four images, two of another size, two of another colour, and one that no policy takes."""
    rng = np.random.default_rng(1)
    sides: list[tuple[int, ...]] = [(8, 8)] * 4 + [(10, 10)] * 2 + [(8, 8, 3)] * 2
    images = [png(rng.integers(0, 256, size, np.uint8)) for size in sides]
    write_parquet(tmp_path / "in/a.parquet", [*images, b"no image"], range(9))
    return tmp_path / "in"


@pytest.mark.parametrize("form", FORMS)
def test_none_takes_back_what_one_before_has_achieved(source: Path, model: Model, tmp_path: Path, form: str) -> None:
    output, results = tmp_path / "out", []
    verb, *options = FORMS[form]
    job = [verb, "--input", str(source), "--model", model.bundle, "--output", str(output), *GATE, *options]
    retries = [["--resize", "crop"], ["--color", "convert"], ["--resize", "pad"], ["--exif-orientation", "ignore"]]
    for words in (job, *(["retry", str(output), *GATE, *policies] for policies in retries), job):
        assert main(words) == 0
        results.append(success(output)["total"]["results"])
    assert results == [4, 6, 8, 8, 8, 8]
    assert verify(str(output), deep=True).problems == ()


def test_rows_are_those_of_the_retry_that_made_them(source: Path, model: Model, tmp_path: Path) -> None:
    """Of tables the rows of the first one stay; of MDS they are made again, by the policy that made them."""
    rows = []
    for form in ("tables", "mds"):
        output = tmp_path / form
        verb, *options = FORMS[form]
        words = [verb, "--input", str(source), "--model", model.bundle, "--output", str(output), *GATE, *options]
        for step in (words, *(["retry", str(output), *GATE, "--resize", how] for how in ("crop", "pad"))):
            assert main(step) == 0
        rows.append(output)
    latents = pq.read_table(rows[0] / "latents/a.parquet")["latent"].combine_chunks().flatten()
    assert isinstance(latents, pa.FloatArray)
    (shard,) = rows[1].rglob("*.mds")
    raw = shard.read_bytes()
    assert all(one.tobytes() in raw for one in latents.to_numpy().reshape(6, 16))


def test_what_receipts_say_is_read_back() -> None:
    both = RejectRetry(target=CONVERT.target, max_record_bytes=9, earlier=(CROP,))
    text = json.dumps(both.options())
    assert retries_of(text, Target(shape=(8, 8, 1), resize=Resize.PAD, decode=DecodeMode.FAST)) == (CROP, CONVERT)
    assert both.targets == (CROP.target, CONVERT.target)
    assert retries_of("", GRAY) == ()
    assert set(CROP.options()) == {"target", "max_record_bytes"}, "as versions before wrote it"


def test_a_crop_of_the_bundle_is_kept() -> None:
    own = Target(shape=(8, 8, 1), resize=CenterCrop(shorter=10))
    said = json.dumps(RejectRetry(target=own, max_record_bytes=7).options())
    assert retries_of(said, own)[0].target == own


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"target": {"resize": "no such"}, "max_record_bytes": 1}'])
def test_a_receipt_that_says_nothing_of_the_kind_is_named(
    source: Path, model: Model, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    output = tmp_path / "out"
    job = ["encode", "--input", str(source), "--model", model.bundle, "--output", str(output), "--latent-format", "mds"]
    assert main([*job, *GATE]) == 0
    layout = Layout(str(output))
    write_manifest(layout, [replace(receipt, retried=text) for receipt in read_manifest(layout).values()])
    assert main(["retry", str(output), *GATE]) == 3
    assert f"{layout.manifest}: {text[:80]!a} says nothing of a retry" in capsys.readouterr().err


@pytest.mark.parametrize("form", FORMS)
def test_a_repair_takes_nothing_back(source: Path, model: Model, tmp_path: Path, form: str) -> None:
    """Neither of two retries, nor does it try by their policies what came later."""
    output = tmp_path / "out"
    verb, *options = FORMS[form]
    job = [verb, "--input", str(source), "--model", model.bundle, "--output", str(output), *GATE, *options]
    retry = ["retry", str(output), *GATE]
    for words in (job, [*retry, "--resize", "crop"], [*retry, "--color", "convert"]):
        assert main(words) == 0
    shutil.copy(source / "a.parquet", source / "b.parquet")
    assert main(job) == 0
    before = _told(output), _content(output)
    assert [unit for unit, _, _ in before[0]] == [("a", 8), ("b", 4)]
    for name in ("latents", "images"):
        for path in (output / name).rglob("*.*"):
            path.write_bytes(b"damaged")
    assert main(["verify", str(output)]) == 3
    assert main(["verify", str(output), "--repair"]) == 0
    assert (_told(output), _content(output)) == before
    assert verify(str(output), deep=True).problems == ()


@pytest.mark.parametrize("form", ["tables", "mds"])
@pytest.mark.parametrize("night", [False, True], ids=["repaired", "by night"])
@pytest.mark.parametrize("dies", ["repair", "retry"])
def test_what_dies_takes_nothing_back(
    source: Path, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str, night: bool, dies: str
) -> None:
    """Whether the repair comes again, or a run of the job that knows of neither."""
    output = tmp_path / "out"
    verb, *options = FORMS[form]
    job = [verb, "--input", str(source), "--model", model.bundle, "--output", str(output), *GATE, *options]
    for words in (job, ["retry", str(output), *GATE, "--resize", "crop"]):
        assert main(words) == 0
    before = _told(output), _content(output)
    for path in (output / "latents").rglob("*.*") if dies == "repair" else ():
        path.write_bytes(b"damaged")

    def no_receipt(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("pipeline.worker.run_unit.write_receipt", no_receipt)
        steps = {"repair": ["verify", str(output), "--repair"], "retry": ["retry", str(output), "--color", "convert"]}
        assert main([*steps[dies]]) == 1
    assert main(job if night else steps["repair"]) == 0
    assert (_told(output), _content(output)) == before


def _told(output: Path) -> list[tuple[tuple[str, int], str, str]]:
    """The units with the numbers of their results, how they were retried, and by which options they were made."""
    receipts = read_manifest(Layout(str(output))).values()
    return [((one.unit, one.results), one.retried, one.options) for one in receipts]


def _content(output: Path) -> list[Any]:
    """The rows of an output, or the bytes of its MDS shards."""
    shards = sorted((output / "latents").rglob("*.mds"))
    return [shard.read_bytes() for shard in shards] or rows(output)
