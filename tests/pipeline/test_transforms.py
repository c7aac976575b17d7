"""The public transforms in somebody's own pipeline, on a real runner."""

import errno
import io
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow.parquet as pq
import pytest
from apache_beam.metrics import MetricsFilter
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from PIL import Image, ImageOps

from lake.core.errors import HeldError, LatentlakeError, UnfinishedError, UsageError
from lake.core.records import Reason, Unit
from lake.images.types import Target
from model.bundle import Bundle
from pipeline import EncodeImages, EncodeShards
from pipeline.beam import steps
from pipeline.job.stage import begin
from pipeline.options.job_options import JobOptions
from pipeline.transforms import RunJob
from pipeline.worker import run_unit
from pipeline.worker.in_memory import encode_items
from pipeline.worker.process import UNITS_AT_ONCE, worker_for
from pipeline.worker.worker_key import WorkerKey
from tests.conftest import Model, Pixels, png, write_parquet

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


def test_encode_shards_over_a_complete_output_does_nothing(tmp_path: Path, shards: Path, model: Model) -> None:
    written = []
    for night in ("first", "second"):
        with beam.Pipeline(runner=FnApiRunner()) as pipeline:
            summary = pipeline | EncodeShards(input=[str(shards)], model=model.bundle, output=str(tmp_path / "out"))
            _ = summary | beam.Map(keep, night)
        written.append({path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")})
    (first,), (second,) = _SEEN["first"], _SEEN["second"]
    assert (first["run"]["units"], first["run"]["results"]) == (3, 1797)
    assert (second["run"]["units"], second["run"]["kept_units"], second["run"]["results"]) == (0, 3, 0)
    assert second["complete"] is True
    assert second["total"] == first["total"]
    assert written[0] == written[1]


def test_an_output_of_the_command_is_complete(shards: Path, model: Model, encoded: Path) -> None:
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        summary = pipeline | EncodeShards(input=str(shards), model=model.bundle, output=str(encoded))
        _ = summary | beam.Map(keep, "of the command")
    (again,) = _SEEN["of the command"]
    assert (again["complete"], again["run"]["kept_units"], again["total"]["results"]) == (True, 3, 1797)


def test_the_pipeline_fails_where_the_gate_is_not_met(tmp_path: Path, model: Model, digit_files: list[bytes]) -> None:
    write_parquet(tmp_path / "in/a.parquet", [*digit_files[:9], b"junk"], range(10))
    asked = {"input": tmp_path / "in", "model": model.bundle, "output": tmp_path / "out"}
    for _ in range(2):  # the second time there is no unit to run
        with pytest.raises(UnfinishedError, match=r"no _SUCCESS: 10\.00% of the records were rejected"):  # noqa: SIM117
            with beam.Pipeline(runner=FnApiRunner()) as pipeline:
                summary = pipeline | EncodeShards(**asked)
                _ = summary | beam.Map(keep, "refused")
        assert not (tmp_path / "out/_SUCCESS").exists()
        assert not (tmp_path / "out/_hold").exists()
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        _ = pipeline | EncodeShards(**asked, max_reject_fraction=0.1) | beam.Map(keep, "taken")
    assert (tmp_path / "out/_SUCCESS").exists()
    assert "refused" not in _SEEN
    assert [summary["complete"] for summary in _SEEN["taken"]] == [True]


def test_the_output_is_held_until_workers_begin(tmp_path: Path, shards: Path, model: Model) -> None:
    asked = {"input": shards, "model": model.bundle, "output": tmp_path / "out"}
    _ = beam.Pipeline(runner=FnApiRunner()) | EncodeShards(**asked)
    with pytest.raises(HeldError, match=r"whose workers have 1[78]\d\d s to begin"):
        _ = beam.Pipeline(runner=FnApiRunner()) | EncodeShards(**asked)


def test_options_may_be_text(tmp_path: Path, model: Model, digits: Pixels) -> None:
    """Pillow turns the images and makes them grey; a single string names the input and the column."""
    stored = [Image.fromarray(np.stack([image, image // 2, image // 3], axis=-1)) for image in digits[:9]]
    exif = Image.Exif()
    exif[0x0112] = 6
    files = []
    for image in stored:
        image.save(file := io.BytesIO(), "png", exif=exif)
        files.append(file.getvalue())
    write_parquet(tmp_path / "in/a.parquet", files, range(9))
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        _ = pipeline | EncodeShards(
            input=str(tmp_path / "in"),
            model=Path(model.bundle),
            output=tmp_path / "out",
            orientation="apply",
            color="convert",
            carry="label",
            reconstruct="false",
            max_reject_fraction="0",
        )
        encoded = (
            pipeline
            | beam.Create([(i, file) for i, file in enumerate(files)])
            | EncodeImages(model.bundle, color="convert", orientation="apply", batch="4")
        )
        _ = encoded.latents | beam.Map(keep, "text")
    opened = [ImageOps.exif_transpose(Image.open(io.BytesIO(file))).convert("L") for file in files]
    expected = model.encode(np.stack([np.asarray(image) for image in opened]))
    table = pq.read_table(tmp_path / "out/latents/a.parquet")
    assert table["label"].to_pylist() == list(range(9))
    np.testing.assert_allclose(np.stack(table["latent"].to_pylist()), expected, atol=0.02)  # a grey level is 0.004
    in_memory = dict(_SEEN["text"])
    np.testing.assert_array_equal(np.stack([in_memory[i] for i in range(9)]), np.stack(table["latent"].to_pylist()))


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"colour": "convert"}, "unknown option 'colour'; did you mean color?"),
        ({"color": "covert"}, "did you mean convert?"),
        ({"orientation": None}, "orientation"),
        ({"max_pixels": 0}, "max_pixels"),
        ({"batch": 0}, "batch"),
        ({"shape": (1,)}, "unknown option 'shape'"),
    ],
)
def test_a_wrong_option_of_encode_images_is_named_at_once(wrong: dict[str, Any], text: str) -> None:
    with pytest.raises(UsageError) as error:
        EncodeImages("bundle", **wrong)
    assert text in str(error.value)


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


def test_whatever_an_item_is_it_costs_itself(model: Model, digits: Pixels) -> None:
    pixels = digits[0][..., None]
    kinds = {name: pixels.astype(name) for name in ("int64", "int8", "uint32", "bool", "object", "U3", "M8[s]")}
    with warnings.catch_warnings(action="ignore"):
        kinds["complex"] = pixels.astype(complex)
    wrong = {
        Reason.WRONG_TYPE: [
            *kinds.items(),
            ("text", "a.png"),
            ("list", [1]),
            ("number", 7),
            ("mask", np.ma.array(pixels)),
        ],
        Reason.MISSING_IMAGE: [("none", None)],
        Reason.EMPTY_IMAGE: [("empty", b""), ("no rows", pixels[:0]), ("no channels", pixels[..., :0])],
        Reason.WRONG_SIZE: [("flat", digits[0]), ("scalar", np.array(7, np.uint8)), ("batch", pixels[None])],
        Reason.WRONG_CHANNELS: [("five", np.zeros((8, 8, 5), np.uint8))],
        Reason.NON_FINITE_INPUT: [("nan", np.full((8, 8, 1), np.nan)), ("large", np.full((8, 8, 1), 1e300))],
        Reason.WRONG_SCALE: [("in counts", pixels.astype(np.float32) + 200)],
        Reason.INVALID_RECORD: ["ab", 5, None, (), ("key", pixels, "more"), pixels, {"key": pixels}],
    }
    right = {
        "as it is": pixels,
        "bytearray": bytearray(png(digits[0])),
        "view": memoryview(png(digits[0])),
        "other order of bytes": (pixels.astype(np.float32) / 255).astype(">f4"),
        "strides": pixels[::-1][::-1],
        "half": (pixels.astype(np.float32) / 255).astype(np.float64),
    }
    items = [*right.items(), *(item for some in wrong.values() for item in some)]
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        made = (
            pipeline | beam.Create(list(range(len(items)))) | beam.Map(items.__getitem__) | EncodeImages(model.bundle)
        )
        _ = made.latents | "keep latents" >> beam.Map(keep, "right")
        _ = made.rejects | "keep rejects" >> beam.Map(keep, "wrong")
    latents, rejects = dict(_SEEN["right"]), _SEEN["wrong"]
    assert Counter(reject.reason for reject in rejects) == {reason: len(some) for reason, some in wrong.items()}
    keys = {reject.key: reject.reason for reject in rejects if reject.key is not None}
    assert keys == {
        item[0]: reason for reason, some in wrong.items() for item in some if reason != Reason.INVALID_RECORD
    }
    assert latents.keys() == right.keys()
    expected = model.encode(digits[:1])[0]
    for name, latent in latents.items():
        np.testing.assert_allclose(latent, expected, atol=1e-5, err_msg=name)


def test_items_that_beam_can_tell_to_be_no_images(model: Model) -> None:
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        made = pipeline | beam.Create([("key", "a.png")]) | EncodeImages(model.bundle)
        _ = made.rejects | beam.Map(keep, "typed")
    assert [(reject.key, reject.image, reject.reason) for reject in _SEEN["typed"]] == [
        ("key", "a.png", Reason.WRONG_TYPE)
    ]


def test_an_array_that_only_claims_its_size_is_not_copied(model: Model) -> None:
    huge = np.broadcast_to(np.uint8(0), (10**6, 10**6, 1))
    worker = worker_for(
        WorkerKey(model=model.bundle, digest=Bundle.open(model.bundle).digest, target=Target(shape=(8, 8, 1)))
    )
    (reject,) = encode_items([("huge", huge)], worker)
    assert reject.reason == Reason.TOO_MANY_PIXELS


def test_counters_equal_receipts(tmp_path: Path, model: Model, digit_files: list[bytes]) -> None:
    write_parquet(tmp_path / "in/a.parquet", [*digit_files[:300], b"junk"], range(301))
    write_parquet(tmp_path / "in/b.parquet", [*digit_files[:20], b""], range(21))
    settings = JobOptions(
        verb="encode", input=(str(tmp_path / "in"),), model=model.bundle, output=str(tmp_path / "out")
    )
    job = begin(settings, ends_with_process=True)
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


def test_an_output_inside_the_input_is_refused_when_the_transform_is_applied(shards: Path, model: Model) -> None:
    transform = EncodeShards(input=[str(shards)], model=model.bundle, output=f"{shards}/../{shards.name}/out")
    with pytest.raises(UsageError, match="lies inside the input"):
        _ = beam.Pipeline(runner=FnApiRunner()) | transform
    assert not (shards / "out").exists()


def test_a_full_disk_ends_the_pipeline_in_its_last_step(
    tmp_path: Path, shards: Path, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where anything raises before, an engine starts the job again, which cannot help."""
    tried = list[str]()

    def full(unit: Unit, *_: object) -> None:
        tried.append(unit.id)
        raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path))

    monkeypatch.setattr(run_unit, "_run", full)
    output = tmp_path / "out"
    fails(shards, model, output, f"No space left on device: '{tmp_path}'")
    assert 1 <= len(tried) <= UNITS_AT_ONCE
    assert not (output / "_SUCCESS").exists()
    assert not (output / "_hold").exists()
    monkeypatch.undo()
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        _ = pipeline | EncodeShards(input=shards, model=model.bundle, output=output)
    assert (output / "_SUCCESS").exists()
    assert [*output.glob("_plan/*/stop.json")] == []


def test_so_does_a_plan_that_is_gone(tmp_path: Path, shards: Path, model: Model) -> None:
    (tmp_path / "out/_plan").mkdir(parents=True)
    fails(shards, model, tmp_path / "out", "No such file or directory: '.*part-00000.jsonl'", before=remove_plans)


def test_so_does_a_commit_that_is_refused(
    tmp_path: Path, shards: Path, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = list[int]()

    def refused(*_: object) -> None:
        tried.append(1)
        raise PermissionError(errno.EACCES, "answered 403", "gs://b/_manifest.parquet")

    monkeypatch.setattr(steps, "commit", refused)
    fails(shards, model, tmp_path / "out", "answered 403: 'gs://b/_manifest.parquet'")
    assert tried == [1]


def remove_plans(output: Path) -> None:
    for plan in output.glob("_plan/*/part-*"):
        plan.unlink()


def fails(shards: Path, model: Model, output: Path, why: str, before: Callable[[Path], None] = lambda _: None) -> None:
    """A pipeline fails in its last step, and in no other."""
    with pytest.raises(LatentlakeError, match=rf"{why} \[while running 'EncodeShards/Finish/Complete"):  # noqa: SIM117
        with beam.Pipeline(runner=FnApiRunner()) as pipeline:
            _ = pipeline | EncodeShards(input=shards, model=model.bundle, output=output)
            before(output)
