"""What would stop every unit ends the run as a value, so that no engine starts the job again for it."""

import errno
from pathlib import Path
from typing import Any

import pytest

from lake.core.errors import BundleError, LatentlakeError, UnfinishedError
from lake.storage import StoreOptions, configure, configured
from lake.storage.options import DEFAULTS
from pipeline.output.fencing.stop import Stop, read_stop
from pipeline.worker import run_or_stop as module
from pipeline.worker.run_or_stop import run_or_stop
from tests.pipeline.values import guard_for, make_config, make_receipt, make_unit

PERMANENT = [
    (OSError(errno.ENOSPC, "full", "/out/x"), 1),
    (OSError(errno.EDQUOT, "over quota", "/out/x"), 1),
    (OSError(errno.EROFS, "read-only", "/out/x"), 1),
    (PermissionError(errno.EACCES, "403", "gs://b/x"), 1),
    (FileNotFoundError(errno.ENOENT, "no such bucket", "gs://b/x"), 1),
    (BundleError("another model"), 2),
    (UnfinishedError("too many rejects"), 3),
    (LatentlakeError("the plan is damaged"), 1),
]


class Units:
    """Stands for ``run_unit``: raises what it is told, and counts its calls."""

    def __init__(self, error: Exception | None) -> None:
        self.error, self.calls = error, 0

    def __call__(self, unit: Any, _: object) -> Any:
        self.calls += 1
        if self.error is not None:
            raise self.error
        return make_receipt(unit.id)


@pytest.fixture
def other_process(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Forgets what this process knows."""
    return lambda: monkeypatch.setattr(module, "_STOPS", module._Stops())


@pytest.mark.parametrize(("error", "status"), PERMANENT, ids=lambda value: type(value).__name__)
def test_it_is_met_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other_process: Any, error: Exception, status: int
) -> None:
    config = make_config(tmp_path / "out", restarts=True)
    guard_for(config.output)
    units = Units(error)
    monkeypatch.setattr(module, "run_unit", units)
    stop = run_or_stop(make_unit("a"), config)
    assert stop == Stop(stop=str(error), exit_status=status)
    assert (stop.error.exit_status, str(stop.error)) == (status, str(error))
    assert run_or_stop(make_unit("b"), config) == stop
    other_process()
    assert run_or_stop(make_unit("c"), config) == stop
    assert units.calls == 1
    units.error = None
    following = make_config(tmp_path / "out", restarts=True, run="the next")
    assert run_or_stop(make_unit("a"), following) == make_receipt("a")


def test_another_process_is_heard_after_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other_process: Any
) -> None:
    config = make_config(tmp_path / "out", restarts=True)
    guard_for(config.output)
    monkeypatch.setattr(module, "run_unit", Units(None))
    assert run_or_stop(make_unit("a"), config) == make_receipt("a")
    here = module._STOPS
    other_process()
    monkeypatch.setattr(module, "run_unit", Units(UnfinishedError("too many rejects")))
    stop = run_or_stop(make_unit("b"), config)
    monkeypatch.setattr(module, "_STOPS", here)
    monkeypatch.setattr(module, "run_unit", Units(None))
    assert run_or_stop(make_unit("c"), config) == make_receipt("c")
    monkeypatch.setattr(module, "_EVERY", 0.0)
    assert run_or_stop(make_unit("c"), config) == stop


@pytest.mark.parametrize(
    "stop", [Stop(stop="held by run two", exit_status=4), Stop(stop="too many rejects", exit_status=3)]
)
def test_who_lost_the_output_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: Stop) -> None:
    config = make_config(tmp_path / "out", restarts=True)
    guard_for(config.output, held=False)
    monkeypatch.setattr(module, "run_unit", Units(stop.error))
    assert run_or_stop(make_unit("a"), config) == stop
    assert read_stop(config) is None


def test_an_output_that_takes_nothing_does_not_hide_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "out").write_text("a file")
    config = make_config(tmp_path / "out", restarts=True)
    monkeypatch.setattr(module, "run_unit", Units(OSError(errno.ENOSPC, "full")))
    for unit in ("a", "b"):
        assert run_or_stop(make_unit(unit), config) == Stop(stop="[Errno 28] full", exit_status=1)


@pytest.mark.parametrize(
    "error",
    [TimeoutError(errno.ETIMEDOUT, "503"), OSError(errno.EIO, "no luck"), KeyboardInterrupt(), RuntimeError("a bug")],
    ids=lambda error: type(error).__name__,
)
def test_what_may_pass_is_left_to_the_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    config = make_config(tmp_path / "out", restarts=True)
    monkeypatch.setattr(module, "run_unit", Units(error))
    with pytest.raises(type(error)):
        run_or_stop(make_unit("a"), config)
    assert read_stop(config) is None


def test_a_run_of_this_process_ends_with_the_error_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "run_unit", Units(OSError(errno.ENOSPC, "full")))
    with pytest.raises(OSError, match="full"):
        run_or_stop(make_unit("a"), make_config(tmp_path / "out"))
    assert [*tmp_path.iterdir()] == []


def test_the_store_is_reached_as_the_job_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything else is asked: no other code of the job may have run in this process."""
    configure(DEFAULTS)
    asked = list[StoreOptions]()
    monkeypatch.setattr(module, "run_unit", Units(None))
    monkeypatch.setattr(module, "read_stop", lambda _: asked.append(configured()))
    stores = StoreOptions(gcs_endpoint="http://localhost:1")
    run_or_stop(make_unit("a"), make_config(tmp_path / "out", restarts=True, stores=stores))
    configure(DEFAULTS)
    assert asked == [stores]
