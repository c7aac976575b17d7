"""The arithmetic of ``benchmarks.faults``: inputs and what must come of them, verdicts, the page."""

import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, UnidentifiedImageError

from benchmarks.faults import material
from benchmarks.faults import page as pages
from benchmarks.faults.judge import judge
from benchmarks.faults.page import kept, page
from lake.core.onnxruntime import onnxruntime
from model.zoo import zoo_uri

RECORDS = 240
ONE, OTHER = np.array([1, 2], np.float32), np.array([3, 4], np.float32)
EXPECTED = {"a": (1, ONE), "b": (2, OTHER)}
ROWS = pa.schema([("key", pa.string()), ("label", pa.int64()), ("latent", pa.list_(pa.float32()))])


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, material.Material]:
    """Of random pictures in place of the digits."""
    root, rng = tmp_path_factory.mktemp("faults"), np.random.default_rng(0)
    images = [{"bytes": png(pixels), "path": ""} for pixels in rng.integers(0, 256, (RECORDS, 28, 28), np.uint8)]
    pq.write_table(pa.table({"image": images, "label": [*range(RECORDS)]}), root / "train-0.parquet")
    material.make_model(root / "encode.onnx")
    return material.make_all(root, root / "work", root / "encode.onnx", RECORDS)


def png(pixels: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def rows(*found: tuple[str, int, np.ndarray | None]) -> pa.Table:
    columns = [pa.array(column, kind) for column, kind in zip(zip(*found, strict=True), ROWS.types, strict=True)]
    return pa.table(columns, schema=ROWS)


def counts(*found: tuple[str, int, np.ndarray | None]) -> tuple[int, int, int, int]:
    verdict = judge(rows(*found), EXPECTED)
    return verdict.lost, verdict.doubled, verdict.wrong, verdict.told


def test_every_record_is_counted() -> None:
    assert counts(("a", 1, ONE), ("b", 2, OTHER)) == (0, 0, 0, 0)
    assert counts(("a", 1, ONE + np.float32(1e-4)), ("b", 2, OTHER)) == (0, 0, 0, 0)
    assert counts(("a", 1, ONE), ("a", 1, ONE)) == (1, 1, 0, 0)
    assert counts(("a", 1, ONE + np.float32(1e-3)), ("b", 3, OTHER)) == (0, 0, 2, 0)
    assert counts(("a", 1, ONE[:1]), ("b", 2, OTHER)) == (0, 0, 1, 0)
    assert counts(("a", 1, None), ("bad", 1, None), ("", 1, None), ("b", 2, OTHER)) == (1, 0, 0, 2)
    assert counts(("bad", 1, ONE), ("a", 1, ONE), ("b", 2, OTHER)) == (0, 0, 1, 0)


def test_inputs_and_what_must_come_of_them(inputs: dict[str, material.Material]) -> None:
    table = pq.read_table(inputs["clean"].folder)
    assert sorted(table["key"].to_pylist()) == sorted(inputs["clean"].expected)
    assert len(inputs["bad"].expected) == RECORDS - material.BAD == RECORDS - len(inputs["bad"].bad)
    assert len(inputs["cut"].expected) == RECORDS - RECORDS // material.SHARDS
    (cut,) = inputs["cut"].damaged
    with pytest.raises(pa.ArrowInvalid):
        pq.read_table(inputs["cut"].folder / cut)
    assert len(inputs["flipped"].damaged) == material.FLIPPED
    for shard in inputs["flipped"].damaged:
        pq.read_metadata(inputs["flipped"].folder / shard)
        with pytest.raises(OSError, match="CRC"):
            pq.read_table(inputs["flipped"].folder / shard, page_checksum_verification=True)


def test_bad_images_are_bad(inputs: dict[str, material.Material]) -> None:
    table = pq.read_table(inputs["bad"].folder)
    found = dict(zip(table["key"].to_pylist(), table["image"].to_pylist(), strict=True))
    for key in inputs["bad"].bad:
        try:
            pixels = np.asarray(Image.open(io.BytesIO(found[key])))
        except (UnidentifiedImageError, OSError, SyntaxError):
            continue
        assert pixels.shape != (28, 28)


def test_the_model_of_peers_is_that_of_the_job(inputs: dict[str, material.Material]) -> None:
    data = pq.read_table(inputs["clean"].folder)["image"][0].as_py()
    pixels = np.asarray(Image.open(io.BytesIO(data)), np.float32)[None, ..., None]
    session = onnxruntime().InferenceSession(f"{zoo_uri('zoo:mnist-autoencoder')}/encode.onnx")
    latent = session.run(None, {"pixels": pixels, "divisor": np.array(255, np.float32)})[0][0]
    np.testing.assert_allclose(inputs["clean"].expected["digit-000000"][1], latent, rtol=1e-5, atol=1e-6)


def test_the_page_says_what_was_not_measured() -> None:
    found = [
        {"fault": "bad", "status": 0, "lost": 1, "doubled": 2, "wrong": 3, "told": 4, "of bad": 24, "shards named": 0},
        {"fault": "cut", "status": 1, "unreadable": "ValueError", "of shards": 1, "shards named": 1},
        {"fault": "kill at 70%", "status": 0, "lost": 0, "doubled": 0, "wrong": 0, "redone": 7, "killed": False},
        {"fault": "output", "found": 20, "silent": 3, "harmless": 1},
    ]
    text = page({"Daft": {"versions": "daft 1", "records": 6000, "machine": {"cpu": "x"}, "found": found}})
    assert "Sides: Daft (daft 1)." in text
    assert "Not measured yet: latentlake, Beam's recipe, LitData, Ray Data." in text
    assert "| Daft | 24 bad images | 1 | 0 | 1 | 2 | 3 | 4 of 24 images |" in text
    assert "| Daft | a truncated shard | 1 | 1 | all, unreadable |  |  | 1 of 1 shards |" in text
    assert "| Daft | 70% (it had ended) | 1 | 0 | 0 | 0 | 0 | 7 |" in text
    assert "| Daft | 24 | 20 | 3 | 1 |" in text


def test_the_page_gives_all_figures_of_runs_that_differ() -> None:
    kill = {"fault": "kill at 70%", "status": 0, "lost": 0, "doubled": 0, "wrong": 0, "redone": 7, "killed": True}
    failed = {"fault": "kill at 70%", "status": 1, "unreadable": "ValueError", "redone": -9, "killed": True}
    output = {"fault": "output", "found": 20, "silent": 3, "harmless": 1}
    found = [kill, output, kill | {"redone": 8}, failed, output]
    text = page({"Daft": {"versions": "daft 1", "records": 6000, "machine": {"cpu": "x"}, "found": found}})
    assert "| Daft | 70% | 3 | 0 / 0 / 1 | 0 / 0 / all, unreadable | 0 / 0 / - | 0 / 0 / - | 7 / 8 / - |" in text
    assert "| Daft | 48 | 40 | 6 | 2 |" in text


def test_the_page_says_what_did_not_finish() -> None:
    """Before it was killed, or when it went on: then what there is was read."""
    first = {"fault": "kill at 70%", "status": None, "seconds": 360, "killed": False}
    second = {"fault": "kill at 100%", "status": None, "seconds": 360.2, "lost": 9, "doubled": 0, "wrong": 0}
    found = [first, {**second, "redone": -9, "killed": True}]
    text = page({"Ray Data": {"versions": "ray 2", "records": 6000, "machine": {"cpu": "x"}, "found": found}})
    assert "| Ray Data | 70% | 1 | did not finish in 360 s |  |  |  |  |" in text
    assert "| Ray Data | 100% | 1 | did not finish in 360 s | 9 | 0 | 0 |  |" in text


def test_what_is_kept_of_a_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "_FILE", tmp_path / "faults.json")
    assert kept("Ray Data", "ray 2", RECORDS) == []
    found = [{"fault": "kill", "runs": 0}]
    (tmp_path / "faults.json").write_text(
        json.dumps({"Daft": {"versions": "daft 1", "records": RECORDS, "found": found}})
    )
    assert kept("Ray Data", "ray 2", RECORDS) == []
    assert kept("Daft", "daft 1", RECORDS) == found
    with pytest.raises(ValueError, match="Daft: not daft 2 and"):
        kept("Daft", "daft 2", RECORDS)
