"""Outputs that are mended: rejects and failed units once more, shards that come and go, what dead runs leave."""

import errno
import os
import pickle
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.cli.command import main
from pipeline.job.prepare import prepare
from pipeline.options.job_options import JobOptions, Scope
from pipeline.output.verify import verify
from tests.conftest import Model, Pixels, make_model, png, write_parquet
from tests.faults.outputs import add_up, files, litter, rows, success
from tests.lake.formats.support import write
from tests.pipeline.conftest import run_job

pytestmark = pytest.mark.slow  # jobs, or models, from end to end


def encode(source: Path, model: Model, output: Path, *more: str, verb: str = "encode") -> int:
    return main([verb, "--input", str(source), "--model", model.bundle, "--output", str(output), *more])


def examples(images: Sequence[bytes]) -> list[bytes]:
    import tensorflow as tf

    features = [{"image/encoded": tf.train.Feature(bytes_list=tf.train.BytesList(value=[data]))} for data in images]
    return [tf.train.Example(features=tf.train.Features(feature=f)).SerializeToString() for f in features]


@pytest.fixture
def mixed(tmp_path: Path, digits: Pixels) -> Path:
    """Two shards of 600 digits, of which every 50th has other sides, and a shard without."""
    source = tmp_path / "in"
    sized = [png(np.kron(d, np.ones((2, 2), np.uint8))) if i % 50 == 7 else png(d) for i, d in enumerate(digits[:600])]
    write_parquet(source / "a.parquet", sized[:350], range(350))
    write_parquet(source / "b.parquet", sized[350:], range(250))
    write_parquet(source / "c.parquet", [png(d) for d in digits[:40]], range(40))
    return source


class TestRetry:
    def test_what_succeeds_joins_the_others(
        self, mixed: Path, tmp_path: Path, model: Model, capsys: pytest.CaptureFixture[str]
    ) -> None:
        output, clean = tmp_path / "out", tmp_path / "clean"
        assert encode(mixed, model, output) == 3
        assert add_up(output) == (640, 628, 12)
        before, kept = rows(output), (output / "latents/c.parquet").stat().st_mtime_ns
        capsys.readouterr()
        assert main(["retry", str(output), "--resize", "stretch"]) == 0
        told = capsys.readouterr().out
        assert told.startswith(
            "640 records, none rejected: complete\ntried again: 2 units of 600 records, 1 kept: 600 results, "
        )
        assert add_up(output) == (640, 640, 0)
        assert encode(mixed, model, clean, "--resize", "stretch") == 0
        assert rows(output) == rows(clean)
        assert [row for row in rows(output) if row in before] == before
        assert [row["index"] for row in pq.read_table(output / "latents/a.parquet").to_pylist()] == list(range(350))
        assert not list((output / "rejects").rglob("*.parquet"))
        assert (output / "latents/c.parquet").stat().st_mtime_ns == kept
        assert verify(str(output), deep=True).problems == ()
        assert litter(output) == []

    def test_a_nightly_run_keeps_what_was_retried(self, mixed: Path, tmp_path: Path, model: Model) -> None:
        output = tmp_path / "out"
        encode(mixed, model, output, "--max-reject-fraction", "1")
        assert main(["retry", str(output), "--resize", "stretch"]) == 0
        before = files(output)
        assert run_job("encode", mixed, model.bundle, output)["run"]["units"] == 0
        assert files(output) == before
        assert main(["retry", str(output)]) == 0

    def test_only_some_succeed(self, mixed: Path, tmp_path: Path, model: Model, digit_files: list[bytes]) -> None:
        write_parquet(mixed / "c.parquet", [*digit_files[:40], b"no image"], range(41))
        output = tmp_path / "out"
        encode(mixed, model, output)
        assert main(["retry", str(output), "--resize", "fit"]) == 0
        assert add_up(output) == (641, 640, 1)
        assert [(r["shard"], r["index"], r["reason"]) for r in rows(output, "rejects")] == [
            ("c.parquet", 40, "unknown_format")
        ]
        assert verify(str(output), deep=True).problems == ()

    def test_files_of_a_folder(self, tmp_path: Path, digits: Pixels, model: Model) -> None:
        source, output, clean = tmp_path / "in", tmp_path / "out", tmp_path / "clean"
        for number, digit in enumerate(digits[:60]):
            (source / f"{number % 3}").mkdir(parents=True, exist_ok=True)
            image = Image.fromarray(digit).resize((9, 9)) if number % 7 == 2 else Image.fromarray(digit)
            image.save(source / f"{number % 3}/{number:03d}.png")
        encode(source, model, output, "--carry", "folder")
        assert main(["retry", str(output), "--resize", "crop"]) == 0
        encode(source, model, clean, "--carry", "folder", "--resize", "crop")
        assert rows(output) == rows(clean)

    def test_images_are_in_their_places(self, mixed: Path, tmp_path: Path, model: Model) -> None:
        output, clean = tmp_path / "out", tmp_path / "clean"
        assert encode(mixed, model, output, verb="reconstruct") == 3
        assert main(["retry", str(output), "--resize", "stretch"]) == 0
        assert encode(mixed, model, clean, "--resize", "stretch", verb="reconstruct") == 0
        for name in ("a", "b", "c"):
            tables = [pq.read_table(place / f"images/{name}.parquet").to_pylist() for place in (output, clean)]
            assert tables[0] == tables[1]
        assert rows(output) == rows(clean)
        assert verify(str(output), deep=True).problems == ()

    def test_a_failed_unit_is_done_with_what_is_left_of_it(
        self, tmp_path: Path, digit_files: list[bytes], model: Model
    ) -> None:
        source, output = tmp_path / "in", tmp_path / "out"
        source.mkdir()
        write(source / "a.tfrecord", examples(digit_files[:200]))
        whole = (source / "a.tfrecord").read_bytes()
        (source / "b.tfrecord").write_bytes(whole[: len(whole) * 3 // 4])
        assert encode(source, model, output) == 3
        assert add_up(output) == (200, 200, 0)
        assert main(["retry", str(output), "--on-damage", "reject"]) == 0
        read, results, rejects = add_up(output)
        assert (read, rejects) == (results + 1, 1)
        (lost,) = rows(output, "rejects")
        assert (lost["shard"], lost["index"], lost["reason"]) == ("b.tfrecord", results - 200, "damaged_shard")
        assert "truncated" in lost["detail"]
        assert [row["latent"] for row in rows(output)[200:]] == [row["latent"] for row in rows(output)[: results - 200]]

    @pytest.mark.parametrize("removed", [False, True])
    def test_an_interrupted_retry_is_made_up_for(
        self, mixed: Path, tmp_path: Path, model: Model, monkeypatch: pytest.MonkeyPatch, removed: bool
    ) -> None:
        """Also where its receipts went with their names, by a request of an earlier run that came late."""
        output, clean = tmp_path / "out", tmp_path / "clean"
        encode(mixed, model, output)
        shutil.copytree(output, clean)

        def no_receipt(*_: object, **__: object) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with monkeypatch.context() as patch:
            patch.setattr(
                "pipeline.worker.run_unit.write_receipt", no_receipt
            )  # the files are there, and nothing says so
            assert main(["retry", str(output), "--resize", "stretch"]) == 1
        if removed:
            shutil.rmtree(output / "_receipts")
        assert encode(mixed, model, output) == 3
        assert files(output) == files(clean)
        assert verify(str(output), deep=True).units_to_redo == ()


class TestShardsThatGo:
    def test_they_are_kept_unless_they_are_pruned(self, mixed: Path, tmp_path: Path, model: Model) -> None:
        output, clean = tmp_path / "out", tmp_path / "clean"
        wide = ("--max-reject-fraction", "1")
        encode(mixed, model, output, *wide)
        (mixed / "b.parquet").unlink()
        assert encode(mixed, model, output, *wide) == 0
        assert add_up(output)[0] == 640
        assert encode(mixed, model, output, "--prune", *wide) == 0
        assert encode(mixed, model, clean, *wide) == 0
        assert files(output) == files(clean)

    def test_what_travels_in_the_graph_does_not_grow_with_them(
        self, tmp_path: Path, model: Model, digits: Pixels
    ) -> None:
        """Names of units that go are in the plan."""
        source, output = tmp_path / "in", tmp_path / "out"
        for number in range(30):
            write_parquet(source / f"{number:02d}.parquet", [png(digits[0])], [0])
        encode(source, model, output)
        asked = JobOptions(
            verb="encode", input=(str(source),), model=model.bundle, output=str(output), scope=Scope(prune=True)
        )
        sizes = []
        for gone in (range(1), range(1, 30)):
            for number in gone:
                (source / f"{number:02d}.parquet").rename(tmp_path / f"{number:02d}")
            (source / "new.parquet").write_bytes((tmp_path / "00").read_bytes())
            sizes.append(len(pickle.dumps(prepare(asked, f"99990101T000000Z-00000{len(sizes)}").run)))
        assert sizes[0] == sizes[1]

    def test_another_model_leaves_nothing_of_the_first(
        self, mixed: Path, tmp_path: Path, model: Model, other: Model
    ) -> None:
        output, clean = tmp_path / "out", tmp_path / "clean"
        wide = ("--max-reject-fraction", "1")
        encode(mixed, model, output, *wide)
        (mixed / "b.parquet").unlink()
        assert encode(mixed, other, output, *wide) == 2
        assert encode(mixed, other, output, "--overwrite", *wide) == 0
        assert encode(mixed, other, clean, *wide) == 0
        assert files(output) == files(clean)
        assert verify(str(output), deep=True).problems == ()

    def test_success_never_stands_over_rows_of_an_earlier_shard(
        self, mixed: Path, tmp_path: Path, model: Model
    ) -> None:
        output = tmp_path / "out"
        wide = ("--max-reject-fraction", "1")
        encode(mixed, model, output, *wide)
        (mixed / "b.parquet").write_bytes(b"PAR1 no more")
        assert encode(mixed, model, output, *wide) == 3
        assert len([row for row in rows(output) if row["shard"] == "b.parquet"]) == 245
        assert encode(mixed, model, output, "--max-failed-units", "1", *wide) == 0
        assert {row["shard"] for row in rows(output)} == {"a.parquet", "c.parquet"}
        assert success(output)["run"]["failed_units"] == 1
        assert verify(str(output), deep=True).problems == ()


class TestExpectedRecords:
    @pytest.mark.parametrize(("count", "status"), [(40, 0), (41, 3), (39, 3)])
    def test_of_all_shards(
        self, mixed: Path, tmp_path: Path, model: Model, count: int, status: int, capsys: Any
    ) -> None:
        source = mixed / "c.parquet"
        assert encode(source, model, tmp_path / "out", "--expect-records", str(count)) == status
        assert (f"40 records, and {count} are expected" in capsys.readouterr().err) == bool(status)
        assert encode(source, model, tmp_path / "out", "--expect-records", "40") == 0

    def test_a_shard_that_was_cut_on_an_edge(
        self, tmp_path: Path, digit_files: list[bytes], model: Model, capsys: Any
    ) -> None:
        (tmp_path / "in").mkdir()
        write(tmp_path / "in/a.tfrecord", examples(digit_files[:30]))
        write(tmp_path / "in/b.tfrecord", examples(digit_files[:28]))
        (tmp_path / "counts.json").write_text('{"a.tfrecord": 30, "b.tfrecord": 30}')
        told = ("--expect-records", str(tmp_path / "counts.json"))
        assert encode(tmp_path / "in", model, tmp_path / "out") == 0  # no format can show it
        assert encode(tmp_path / "in", model, tmp_path / "out", *told) == 3
        assert "b.tfrecord: 28 records, and 30 are expected" in capsys.readouterr().out
        assert (
            encode(
                tmp_path / "in", model, tmp_path / "out", *told, "--on-damage", "reject", "--max-reject-fraction", "1"
            )
            == 0
        )
        assert add_up(tmp_path / "out") == (59, 58, 1)


class TestLeavings:
    def test_a_dead_runs_files_go(self, mixed: Path, tmp_path: Path, model: Model) -> None:
        output, clean = tmp_path / "out", tmp_path / "clean"
        wide = ("--max-reject-fraction", "1")
        encode(mixed, model, clean, *wide)
        shutil.copytree(clean, output)
        for name in ("latents/gone.parquet", "images/x/1.png", "latents/.latentlake-x~", "_plan/dead/part-00000.jsonl"):
            (output / name).parent.mkdir(parents=True, exist_ok=True)
            (output / name).write_bytes(b"left")
        (output / "latents/_metadata").write_bytes(b"an engine's own")
        (output / "_hold").write_text('{"run": "dead"}')
        assert encode(mixed, model, output, *wide) == 0
        assert (output / "latents/_metadata").read_bytes() == b"an engine's own"
        (output / "latents/_metadata").unlink()
        assert files(output) == files(clean)
        assert litter(output) == []

    def test_an_output_in_use_is_refused(self, mixed: Path, tmp_path: Path, model: Model, capsys: Any) -> None:
        from pipeline.output.fencing.lease import acquire

        output = tmp_path / "out"
        acquire(str(output), "other", ends_with_process=True)
        assert encode(mixed, model, output) == 4
        assert "is in use by run other" in capsys.readouterr().err
        assert sorted(path.name for path in output.iterdir()) == ["_hold"]


class TestRepair:
    @pytest.mark.parametrize("harm", ["flip", "cut", "gone", "extra", "other"])
    def test_damage_is_undone(self, mixed: Path, tmp_path: Path, model: Model, harm: str) -> None:
        output, clean = tmp_path / "out", tmp_path / "clean"
        encode(mixed, model, output, "--max-reject-fraction", "1")
        shutil.copytree(output, clean)
        path, data = output / "latents/a.parquet", (output / "latents/a.parquet").read_bytes()
        if harm == "gone":
            path.unlink()
        elif harm == "extra":
            (output / "latents/d.parquet").write_bytes(data)
        else:
            changed = {"flip": data[:99] + bytes([data[99] ^ 4]) + data[100:], "cut": data[:-1]}
            path.write_bytes(changed.get(harm) or (output / "latents/b.parquet").read_bytes())
        assert main(["verify", str(output), "--deep"]) == 3
        assert main(["verify", str(output), "--deep", "--repair"]) == 0
        assert files(output) == files(clean)
        assert main(["verify", str(output), "--deep"]) == 0
        assert litter(output) == []


@pytest.fixture(scope="session")
def other(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A model of the same shapes as ``model``, with other weights."""
    return make_model(tmp_path_factory.mktemp("other"), 8)
