"""The job end to end on Beam: values against Keras, counts against each other, bytes against another run."""

import gc
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from lake.core.errors import HeldError, OutputError
from lake.core.records import Reason, Unit
from pipeline.beam.launch import launch
from pipeline.job.prepare import Job
from pipeline.options.job_options import JobOptions
from pipeline.output.fencing.lease import check_free
from pipeline.output.verify import verify
from tests.conftest import Model, Pixels, png, write_parquet
from tests.pipeline.conftest import run_job


def data_files(output: Path) -> dict[str, bytes]:
    """Everything that a run must reproduce byte for byte."""
    found = [p for part in ("latents", "rejects") for p in (output / part).rglob("*") if p.is_file()]
    return {str(path.relative_to(output)): path.read_bytes() for path in [*found, output / "_manifest.parquet"]}


def test_latents_are_those_of_keras(encoded: Path, model: Model, digits: Pixels, labels: Pixels) -> None:
    table = pq.read_table(encoded / "latents")
    latents = np.stack(table["latent"].to_numpy())
    np.testing.assert_allclose(latents, model.encode(digits), atol=1e-5)
    assert table["label"].to_pylist() == labels.tolist()
    assert table.schema.names == ["key", "shard", "index", "latent", "label"]


def test_errors_are_those_of_the_reconstruction(reconstructed: Path, model: Model, digits: Pixels) -> None:
    table = pq.read_table(reconstructed / "latents")
    error = ((model.reconstruct(digits).astype(np.float64) - digits / 255) ** 2).mean((1, 2))
    np.testing.assert_allclose(table["mse"].to_numpy(), error, rtol=1e-4)
    np.testing.assert_allclose(table["psnr"].to_numpy(), 10 * np.log10(1 / error), rtol=1e-4)
    np.testing.assert_allclose(np.stack(table["latent"].to_numpy()), model.encode(digits), atol=1e-5)


def test_names_and_identities_mirror_the_input(encoded: Path) -> None:
    names = sorted(str(p.relative_to(encoded)) for p in (encoded / "latents").rglob("*.parquet"))
    assert names == ["latents/a/train-0.parquet", "latents/a/train-1.parquet", "latents/b/train-2.parquet"]
    table = pq.read_table(encoded / "latents/a/train-1.parquet")
    assert set(table["shard"].to_pylist()) == {"a/train-1.parquet"}
    assert table["index"].to_pylist() == list(range(300))
    assert table["key"].to_pylist() == [f"{i:05d}.png" for i in range(300)]


def test_all_counts_agree(encoded: Path) -> None:
    summary = json.loads((encoded / "_SUCCESS").read_text())
    manifest = pq.read_table(encoded / "_manifest.parquet").to_pylist()
    footers = sum(pq.read_metadata(p).num_rows for p in (encoded / "latents").rglob("*.parquet"))
    assert summary["total"]["read"] == summary["total"]["results"] == footers == 1797
    assert [row["read"] for row in manifest] == [700, 300, 797]
    assert all(row["read"] == row["results"] + sum(dict(row["rejects"]).values()) for row in manifest)


def test_the_footer_says_what_made_the_table(encoded: Path, model: Model) -> None:
    metadata = pq.read_metadata(encoded / "latents/b/train-2.parquet").metadata
    digest = json.loads((encoded / "_SUCCESS").read_text())["model_digest"].encode()
    assert metadata[b"latentlake.model_digest"] == digest
    assert metadata[b"latentlake.latent_layer"] == b"encoded"
    assert (encoded / "_model" / digest.decode() / "model.json").exists()


def test_running_again_does_nothing(encoded: Path, shards: Path, model: Model) -> None:
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in encoded.rglob("*") if path.is_file()}
    summary = run_job("encode", shards, model.bundle, encoded)
    assert summary["run"]["units"] == 0
    assert summary["run"]["kept_units"] == 3
    assert summary["total"]["results"] == 1797
    assert before == {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in encoded.rglob("*") if p.is_file()}


def test_a_job_leaves_no_threads_and_no_frozen_heap(tmp_path: Path, model: Model, digits: Pixels) -> None:
    np.save(tmp_path / "digits.npy", digits[:9, ..., None])
    gc.unfreeze()  # a command of another test may have frozen it
    before = set(threading.enumerate())
    for run in range(2):
        run_job("encode", tmp_path / "digits.npy", model.bundle, tmp_path / f"out-{run}")
        assert {thread.name for thread in set(threading.enumerate()) - before} == set()
        assert (gc.get_freeze_count(), gc.isenabled()) == (0, True)
    gc.disable()
    try:
        run_job("encode", tmp_path / "digits.npy", model.bundle, tmp_path / "out-2")
        assert not gc.isenabled()
    finally:
        gc.enable()


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.slow
def test_any_number_of_threads_gives_the_same_bytes(
    tmp_path: Path, encoded: Path, shards: Path, model: Model, threads: int
) -> None:
    run_job("encode", shards, model.bundle, tmp_path / "out", threads=threads)
    assert data_files(tmp_path / "out") == data_files(encoded)


def test_only_what_is_new_or_changed_is_done(tmp_path: Path, digit_files: list[bytes], model: Model) -> None:
    source, output = tmp_path / "in", tmp_path / "out"
    for name in ("1", "2"):
        write_parquet(source / f"{name}.parquet", digit_files[:40], range(40))
    run_job("encode", source, model.bundle, output)
    write_parquet(source / "2.parquet", digit_files[40:90], range(50))
    write_parquet(source / "3.parquet", digit_files[:7], range(7))
    kept = (output / "latents/1.parquet").stat().st_mtime_ns
    summary = run_job("encode", source, model.bundle, output)
    assert (summary["run"]["units"], summary["run"]["kept_units"]) == (2, 1)
    assert summary["total"]["results"] == 40 + 50 + 7
    assert (output / "latents/1.parquet").stat().st_mtime_ns == kept
    assert verify(str(output)).problems == ()
    clean = tmp_path / "clean"
    run_job("encode", source, model.bundle, clean)
    assert data_files(output) == data_files(clean)


def test_an_output_is_not_mixed_with_another_model_or_options(
    tmp_path: Path, encoded: Path, shards: Path, model: Model
) -> None:
    with pytest.raises(OutputError, match=r"verb encode -> reconstruct.*--overwrite"):
        run_job("reconstruct", shards, model.bundle, encoded)
    (tmp_path / "photo.jpg").write_bytes(b"x")
    with pytest.raises(OutputError, match="not empty and not an output of this job"):
        run_job("encode", shards, model.bundle, tmp_path)


def test_overwrite_replaces_everything(tmp_path: Path, shards: Path, reconstructed: Path, model: Model) -> None:
    output = tmp_path / "out"
    run_job("encode", shards, model.bundle, output)
    run_job("reconstruct", shards, model.bundle, output, overwrite=True)
    assert data_files(output) == data_files(reconstructed)


def test_a_bad_record_is_one_reject_and_its_neighbours_are_unchanged(
    tmp_path: Path, digit_files: list[bytes], encoded: Path, digits: Pixels, model: Model
) -> None:
    files: list[bytes | None] = list(digit_files[:700])
    bad = {
        0: (b"", Reason.EMPTY_IMAGE),
        5: (b"<html>not found</html>", Reason.UNKNOWN_FORMAT),
        99: (digit_files[99][:-20], Reason.CORRUPT_IMAGE),
        100: (png(np.zeros((9, 8), np.uint8)), Reason.WRONG_SIZE),
        256: (png(np.zeros((8, 8, 3), np.uint8)), Reason.WRONG_CHANNELS),
        699: (None, Reason.MISSING_IMAGE),
    }
    for position, (data, _) in bad.items():
        files[position] = data
    write_parquet(tmp_path / "in/a.parquet", files, range(700))
    summary = run_job("encode", tmp_path / "in", model.bundle, tmp_path / "out")
    assert summary["complete"]
    assert (summary["total"]["read"], summary["total"]["results"], summary["total"]["rejects"]) == (700, 694, 6)
    rejects = pq.read_table(tmp_path / "out/rejects").to_pylist()
    assert [(r["index"], r["reason"], r["data"]) for r in rejects] == [(i, str(r), d) for i, (d, r) in bad.items()]
    table = pq.read_table(tmp_path / "out/latents/a.parquet")
    clean = pq.read_table(encoded / "latents/a/train-0.parquet").take(table["index"].to_pylist())
    assert table["latent"].equals(clean["latent"]), "to the bit"
    assert table["index"].to_pylist() == [i for i in range(700) if i not in bad]
    assert verify(str(tmp_path / "out")).problems == ()


def test_too_many_rejects_keep_success_back(tmp_path: Path, digit_files: list[bytes], model: Model) -> None:
    write_parquet(tmp_path / "in/a.parquet", [*digit_files[:9], b"junk"], range(10))
    summary = run_job("encode", tmp_path / "in", model.bundle, tmp_path / "out")
    assert summary["refused"] == ["10.00% of the records were rejected, 1% allowed (--max-reject-fraction)"]
    assert not (tmp_path / "out/_SUCCESS").exists()
    assert pq.read_metadata(tmp_path / "out/latents/a.parquet").num_rows == 9


def test_a_damaged_shard_fails_alone(tmp_path: Path, digit_files: list[bytes], model: Model) -> None:
    for name in "abc":
        write_parquet(tmp_path / f"in/{name}.parquet", digit_files[:30], range(30))
    whole = (tmp_path / "in/b.parquet").read_bytes()
    (tmp_path / "in/b.parquet").write_bytes(whole[:-100])
    summary = run_job("encode", tmp_path / "in", model.bundle, tmp_path / "out")
    assert summary["run"]["failed_units"] == 1
    assert summary["failed"][0]["error"].startswith("b.parquet: ")
    assert not (tmp_path / "out/_SUCCESS").exists()
    assert sorted(p.name for p in (tmp_path / "out/latents").iterdir()) == ["a.parquet", "c.parquet"]
    (tmp_path / "in/b.parquet").write_bytes(whole)
    summary = run_job("encode", tmp_path / "in", model.bundle, tmp_path / "out")
    assert (summary["complete"], summary["run"]["units"], summary["total"]["results"]) == (True, 1, 90)


def test_an_empty_shard_gives_an_empty_table(tmp_path: Path, model: Model, digit_files: list[bytes]) -> None:
    write_parquet(tmp_path / "in/a.parquet", [], [])
    write_parquet(tmp_path / "in/b.parquet", digit_files[:3], range(3))
    run_job("encode", tmp_path / "in", model.bundle, tmp_path / "out")
    assert pq.read_metadata(tmp_path / "out/latents/a.parquet").num_rows == 0
    assert verify(str(tmp_path / "out")).read == 3


def test_columns_last_whatever_shards_come_later(tmp_path: Path, digit_files: list[bytes], model: Model) -> None:
    source, output = tmp_path / "in", tmp_path / "out"
    write_parquet(source / "2.parquet", digit_files[:4], range(4))
    run_job("encode", source, model.bundle, output)
    table = pq.read_table(source / "2.parquet").append_column("class", [["a", "b", "c", "d"]])
    pq.write_table(table, source / "1.parquet")
    summary = run_job("encode", source, model.bundle, output)
    assert (summary["complete"], summary["run"]["units"]) == (True, 1)
    assert pq.read_schema(output / "latents/1.parquet").names == pq.read_schema(output / "latents/2.parquet").names


def test_an_interruption_stays_one_and_frees_the_output(
    tmp_path: Path, shards: Path, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pipeline.worker.run_unit as module

    run, units = module._run, list[str]()

    def interrupted(unit: Unit, *others: object) -> object:
        units.append(unit.id)
        if len(units) == 2:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.5)
        return run(unit, *others)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in the background of a shell
    monkeypatch.setattr(module, "_run", interrupted)
    try:
        with pytest.raises(KeyboardInterrupt):
            run_job("encode", shards, model.bundle, tmp_path / "out")
    finally:
        signal.signal(signal.SIGINT, before)
    assert check_free(str(tmp_path / "out"))
    assert not (tmp_path / "out/_SUCCESS").exists()
    summary = run_job("encode", shards, model.bundle, tmp_path / "out")
    assert (summary["complete"], summary["total"]["results"]) == (True, 1797)
    verify(str(tmp_path / "out"), deep=True).raise_for_problems()


def test_a_run_that_lost_its_output_says_so_and_not_what_it_misses(tmp_path: Path, shards: Path, model: Model) -> None:
    """The next run has removed its plan."""

    @contextmanager
    def taken(job: Job) -> Iterator[None]:
        Path(job.parts[0]).unlink()
        lease = json.loads((tmp_path / "out/_hold").read_text())
        (tmp_path / "out/_hold").write_text(json.dumps({**lease, "run": "another"}))
        yield

    options = JobOptions(verb="encode", input=(str(shards),), model=model.bundle, output=str(tmp_path / "out"))
    with pytest.raises(HeldError, match="no longer held by run"):
        launch(options, [], show=taken)
