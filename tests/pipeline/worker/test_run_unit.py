"""Whatever a unit raises is its own failure, unless it would stop every other unit too."""

import errno
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import get_ident
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lake.core.errors import BundleError, HeldError, RejectsError, ShardError
from lake.core.printable import printable
from lake.core.records import Fault, Reason, Reject, Stage
from lake.inputs.units import OWN_BYTES
from pipeline.output.verify import verify
from pipeline.worker import run_unit as module
from pipeline.worker import unit_outputs, unit_progress
from pipeline.worker.run_unit import run_unit
from pipeline.worker.unit_outputs import UnitOutputs
from pipeline.worker.verbs.verb import BatchResult
from tests.conftest import Model
from tests.pipeline.conftest import run_job
from tests.pipeline.values import guard_for, make_config, make_shard, make_unit


@pytest.fixture
def raises(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Makes every unit raise an error."""

    def install(error: BaseException) -> None:
        def fail(*_: object) -> None:
            raise error

        monkeypatch.setattr(module, "worker_for", lambda *_: None)
        monkeypatch.setattr(module, "_run", fail)

    yield install


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (ShardError("a/x.tar", "is cut", 7), "a/x.tar: is cut at byte 7"),
        (ValueError("no such\n shape"), r"a/x: ValueError: no such\n shape"),
        (RecursionError("too deep"), "a/x: RecursionError: too deep"),
        (MemoryError(), "a/x: out of memory; use fewer --threads"),
        (KeyError("label"), "a/x: KeyError: 'label'"),
        (RejectsError("a/x.tar: too many"), "a/x: a/x.tar: too many"),
        (OSError(errno.ENAMETOOLONG, "too long", "a/x"), "a/x: [Errno 36] too long: 'a/x'"),
        (AssertionError("x" * 10_000), printable(f"a/x: AssertionError: {'x' * 10_000}", 2000)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_error_is_the_failure_of_its_unit(tmp_path: Path, raises: Any, error: Exception, says: str) -> None:
    raises(error)
    guard_for(tmp_path)
    receipt = run_unit(make_unit("a/x"), make_config(tmp_path))
    assert (receipt.unit, receipt.error, receipt.read, receipt.outputs) == ("a/x", says, 0, ())


@pytest.mark.parametrize(
    "error",
    [KeyboardInterrupt(), HeldError("held"), BundleError("another"), OSError(errno.ENOSPC, "full")],
    ids=lambda error: type(error).__name__,
)
def test_what_would_stop_every_unit_is_raised(raises: Any, error: BaseException) -> None:
    raises(error)
    with pytest.raises(type(error)):
        run_unit(make_unit("a/x"), make_config())


def test_a_shard_that_breaks_its_reader_does_not_stop_the_others(
    tmp_path: Path, shards: Path, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lake.formats.parquet.reader import ParquetReader

    read = ParquetReader.read

    def breaks(self: Any, unit: Any, *rest: Any) -> Any:
        if unit.id == "a/train-1":
            raise ZeroDivisionError("by zero")
        return read(self, unit, *rest)

    monkeypatch.setattr(ParquetReader, "read", breaks)
    summary = run_job("encode", shards, model.bundle, tmp_path / "out")
    assert summary["failed"] == [{"unit": "a/train-1", "error": "a/train-1: ZeroDivisionError: by zero"}]
    assert verify(str(tmp_path / "out")).results == 1797 - 300
    assert not unit_progress._RUNNING, "else all units after it would seem to share their time with it"


@pytest.mark.parametrize(("size", "here"), [(0, 0), (1, 1), (OWN_BYTES - 1, 1), (OWN_BYTES, 0)])
def test_the_first_batch_of_a_small_unit_is_computed_where_it_is_read(size: int, here: int) -> None:
    """Where a unit has no input, it is sampled, and may be of any size."""
    unit = make_unit("x", shards=(make_shard("x", size=size),))
    with ThreadPoolExecutor(2) as pool:
        worker: Any = SimpleNamespace(pool=pool, ahead=2)
        found: Any = module._computed(unit, worker, lambda batch: (batch, get_ident()), iter("abc"))
        batches, threads = zip(*found, strict=True)
    assert batches == ("a", "b", "c")
    assert [thread == get_ident() for thread in threads] == [True] * here + [False] * (3 - here)


def test_a_unit_may_have_so_many_rejects_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unit_outputs, "MOST_REJECTS", 5)
    outputs = UnitOutputs(make_unit("x"), make_config(tmp_path), _NoTable(), 0)
    outputs.write(_rejects(0, 5))
    with pytest.raises(RejectsError, match=r"x\.tfrecord: more than 5 records are rejected, the last one for missing_"):
        outputs.write(_rejects(5, 1))
    outputs.abort()
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


class _NoTable:
    schema = table = None


def _rejects(start: int, count: int) -> BatchResult:
    fault = Fault(stage=Stage.READ, reason=Reason.MISSING_IMAGE, detail="the image is null")
    rejects = [
        Reject(
            shard="x.tfrecord",
            index=index,
            key=str(index),
            stage=fault.stage,
            reason=fault.reason,
            detail=fault.detail,
            data=None,
        )
        for index in np.arange(start, start + count).tolist()
    ]
    return BatchResult(read=count, results=0, rejects=rejects)
