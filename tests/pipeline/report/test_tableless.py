"""Reports of outputs whose latents are for trainers: the run, its rejects and images, and that there is more."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.explore.committed import Committed
from pipeline.explore.output import Output
from pipeline.report.make_facts import ReportChoices, make_facts
from pipeline.report.trainer_samples import first_identities
from tests.conftest import Model, Pixels, write_parquet
from tests.pipeline.conftest import run_job
from tests.pipeline.report.test_report import pixels_of


@pytest.mark.parametrize("format", ["webdataset", "webdataset-safetensors", "mds", "arrayrecord"])
def test_latents_for_trainers(
    format: str, model: Model, digits: Pixels, digit_files: list[bytes], tmp_path: Path
) -> None:
    files = [*digit_files[:40]]
    files[3] = b"no image"
    for unit in range(2):
        write_parquet(tmp_path / f"in/{unit}.parquet", files[20 * unit : 20 * unit + 20], range(20))
    out = tmp_path / "out"
    run_job("encode", tmp_path / "in", model.bundle, out, latent_format=format, gate={"max_reject_fraction": 0.1})
    committed = Committed.read(str(out))
    facts = make_facts(committed, committed, ReportChoices(color_by="label"))
    assert facts.headline.sentence.startswith("40 images, ")
    assert facts.rejects is not None and facts.latents is None and facts.run.timing is not None
    (strip,) = facts.strips
    assert len(strip.images) == 12 and {image.record.shard for image in strip.images} == {"0.parquet", "1.parquet"}
    for image in strip.images:
        number = 20 * int(image.record.shard[0]) + image.record.index
        assert image.record.key == f"{image.record.index:05d}.png"
        np.testing.assert_array_equal(pixels_of(image.picture), digits[number])
    assert any(f"they are in {format}, for trainers, and are not shown" in note for note in facts.notes)
    assert any("--against" in note for note in facts.notes)
    report = Output(out).report(tmp_path / "report.html")
    assert "for trainers, and are not shown" in Path(report.file).read_text()


def test_the_first_identities_of_a_unit(model: Model, digit_files: list[bytes], tmp_path: Path) -> None:
    write_parquet(tmp_path / "in/x.parquet", digit_files[:30], range(30))
    for format in ("webdataset", "mds", "arrayrecord"):
        out = tmp_path / format
        run_job("encode", tmp_path / "in", model.bundle, out, latent_format=format)
        committed = Committed.read(str(out))
        names = first_identities(committed.receipts[0], committed.layout, 3)
        assert names == [(f"{row:05d}.png", "x.parquet", row) for row in range(3)]
