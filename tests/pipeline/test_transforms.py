"""The public transforms in somebody's own pipeline, on a real runner."""

from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow.parquet as pq
from apache_beam.metrics import MetricsFilter
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from pipeline import EncodeImages, EncodeShards
from pipeline.config import Verb
from pipeline.job import begin
from pipeline.records import Reason
from pipeline.settings import Settings
from pipeline.transforms import RunJob
from tests.conftest import Model, Pixels, write_parquet

_SEEN: dict[str, list[Any]] = {}


def keep(element: Any, name: str) -> None:
    _SEEN.setdefault(name, []).append(element)


def test_encode_shards_is_the_job(tmp_path: Path, shards: Path, model: Model, encoded: Path) -> None:
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        summary = pipeline | EncodeShards(input=[str(shards)], model=model.bundle, output=str(tmp_path / "out"))
        _ = summary | beam.Map(keep, "summary")
    assert [s["total"]["results"] for s in _SEEN["summary"]] == [1797]
    for name in ("a/train-0", "b/train-2"):
        table = f"latents/{name}.parquet"
        assert (tmp_path / "out" / table).read_bytes() == (encoded / table).read_bytes()


def test_encode_images_over_records_of_ones_own(model: Model, digits: Pixels, digit_files: list[bytes]) -> None:
    items: list[tuple[Any, Any]] = [(("file", i), digit_files[i]) for i in range(300)]
    items += [(("array", i), digits[i][..., None]) for i in range(300)]
    items += [("bad", b"junk"), ("large", np.zeros((9, 9, 1), np.uint8))]
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        made = pipeline | beam.Create(items) | EncodeImages(model.bundle)
        _ = made.latents | "keep latents" >> beam.Map(keep, "latents")
        _ = made.rejects | "keep rejects" >> beam.Map(keep, "rejects")
    latents = dict(_SEEN["latents"])
    expected = model.encode(digits[:300])
    for kind in ("file", "array"):
        np.testing.assert_allclose(np.stack([latents[kind, i] for i in range(300)]), expected, atol=1e-5)
    assert {r.key: r.reason for r in _SEEN["rejects"]} == {
        "bad": Reason.UNKNOWN_FORMAT,
        "large": Reason.WRONG_SIZE,
    }


def test_counters_equal_receipts(tmp_path: Path, model: Model, digit_files: list[bytes]) -> None:
    write_parquet(tmp_path / "in/a.parquet", [*digit_files[:300], b"junk"], range(301))
    write_parquet(tmp_path / "in/b.parquet", [*digit_files[:20], b""], range(21))
    settings = Settings(
        verb=Verb.ENCODE, input=(str(tmp_path / "in"),), model=model.bundle, output=str(tmp_path / "out")
    )
    job = begin(settings, ends_here=True)
    pipeline = beam.Pipeline(runner=FnApiRunner())
    _ = pipeline | RunJob(job)
    result = pipeline.run()
    result.wait_until_finish()
    counters = result.metrics().query(MetricsFilter().with_namespace("latentlake"))["counters"]
    assert {c.key.metric.name: c.committed for c in counters} == {
        "records_read": 322,
        "results": 320,
        "rejects": 2,
        "rejects_unknown_format": 1,
        "rejects_empty_image": 1,
        "units_done": 2,
    }
    manifest = pq.read_table(tmp_path / "out/_manifest.parquet").to_pylist()
    assert [(row["read"], row["results"]) for row in manifest] == [(301, 300), (21, 20)]
