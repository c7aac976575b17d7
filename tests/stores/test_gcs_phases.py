"""Each fault at the first, the middle and the last request of each phase of a job: its output, or a named failure."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from harness.servers.gcs_server import GcsBucket, GcsServer
from harness.servers.proxy import Fault, Request, always
from lake.core import retry
from lake.core.errors import LatentlakeError
from lake.storage import request_retry
from lake.storage.gcs import store as gcs_store
from lake.storage.request_retry import RequestBackoff
from pipeline.cli.command import main
from tests.conftest import Model
from tests.faults.forkserver import Nursery
from tests.faults.outputs import files, litter
from tests.faults.torture import make_shards
from tests.stores.test_gcs_job import command, reconstruct

SHARDS = 4
STALL = 1.0
CALM = RequestBackoff(first=0.01, most=0.05, deadline=30, stall=STALL)
HASTY = RequestBackoff(first=0.01, most=0.05, deadline=0.2, stall=STALL)

READS = (503, 429, "reset", "cut", "short", "stall")
WRITES = (503, 429, "reset", "lost", "spoil", "stall")
# phase -> the requests that are its, and what may go wrong with them
PHASES = {
    "plan": (
        Fault(what="", method="GET", name=r"^bundle/|^in/?$|^out$|^out/_(job|plan|receipts|manifest|SUCC)"),
        READS,
    ),
    "stage": (Fault(what="", method="POST", name=r"^out/_(hold|job|model|plan/.*(\.jsonl|run\.json))"), WRITES),
    "model": (Fault(what="", method="GET", target="alt=media", name="^bundle/|^out/_model/"), (*READS, "flip")),
    "read": (Fault(what="", method="GET", target="alt=media", name=r"^in/.*parquet$"), (*READS, "flip")),
    "publish": (Fault(what="", method="POST", name="^out/(latents|images|rejects|_receipts)/"), WRITES),
    "manifest": (Fault(what="", method="POST", name=r"^out/_manifest\.parquet"), WRITES),
    "success": (Fault(what="", method="POST", name=r"^out/(_SUCCESS|_plan/.*summary\.json)$"), WRITES),
    "sweep": (Fault(what="", method="DELETE", name="^out/(?!_hold)"), (503, "reset", "lost", "stall")),
}
RECEIPTS = Fault(what="", method="GET", target="alt=media", name="^out/_receipts/")  # of a run that did not commit


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_retry, "REQUESTS", CALM)
    monkeypatch.setattr(retry, "TRANSIENT", replace(retry.TRANSIENT, first=0.01))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source") / "in"
    make_shards(folder, SHARDS)
    return folder


@pytest.fixture
def stocked(gs: GcsBucket, source: Path, model: Model) -> GcsBucket:
    gs.upload(source, "in")
    gs.upload(Path(model.bundle), "bundle")
    return gs


class Clean:
    """What an undisturbed run over a bucket's shards leaves, and the requests that it makes."""

    def __init__(self, gs: GcsBucket, gcs: GcsServer, folder: Path) -> None:
        self._gs, self._gcs, self._folder = gs, gcs, folder
        with gcs.proxy.doing() as seen:
            reconstruct(gs, gcs)
        self.seen: Sequence[Request] = [*seen]
        self.files = files(gs.download("out", folder / "clean"))
        self.wipe()

    def places(self, wanted: Fault) -> list[int]:
        """How many requests come before the first, the middle and the last of those that are wanted."""
        count = sum(replace(wanted, times=1 << 30).meets(request) for request in self.seen)
        assert count, "a phase that makes no request"
        return sorted({0, count // 2, count - 1})

    def check(self, name: str) -> None:
        """The output is the undisturbed one and nothing else is there; then it goes."""
        output = self._gs.download("out", self._folder / name)
        found = files(output)
        assert sorted(key for key in found | self.files if found.get(key) != self.files.get(key)) == []
        assert (output / "_SUCCESS").exists()
        if left := litter(output):
            # The request for a receipt was given up, and arrived after the commit. The next run removes it.
            assert [file for file in left if not file.startswith("_receipts/")] == []
            reconstruct(self._gs, self._gcs)
            assert litter(self._gs.download("out", self._folder / f"{name}, and again")) == []
        self.wipe()

    def check_halfway(self, name: str) -> None:
        """Nothing partial is there, and no ``_SUCCESS`` over less than the whole."""
        output = self._gs.download("out", self._folder / name)
        output.mkdir(exist_ok=True)
        found = files(output)
        done = {key: data for key, data in found.items() if key != "_manifest.parquet"}
        assert [key for key, data in done.items() if self.files[key] != data] == []
        assert not (output / "_SUCCESS").exists() or found == self.files

    def wipe(self) -> None:
        for name in self._gs.names("out/"):
            self._gs.delete(name)


@pytest.fixture
def clean(stocked: GcsBucket, gcs: GcsServer, tmp_path: Path) -> Clean:
    return Clean(stocked, gcs, tmp_path)


@pytest.mark.parametrize(("phase", "what"), [(phase, what) for phase, (_, whats) in PHASES.items() for what in whats])
def test_a_fault_changes_nothing(stocked: GcsBucket, gcs: GcsServer, clean: Clean, phase: str, what: int | str) -> None:
    wanted = PHASES[phase][0]
    for skip in clean.places(wanted):
        with gcs.proxy.doing(replace(wanted, what=what, skip=skip, seconds=1.2 * STALL)):
            reconstruct(stocked, gcs)
        clean.check(f"after {skip}")


def test_a_commit_does_not_read_receipts_that_came_to_it_by_themselves(clean: Clean) -> None:
    assert [request for request in clean.seen if replace(RECEIPTS, times=1 << 30).meets(request)] == []


@pytest.mark.parametrize("what", [*READS, "flip"])
def test_a_fault_at_receipts_that_were_left_changes_nothing(
    stocked: GcsBucket, gcs: GcsServer, clean: Clean, monkeypatch: pytest.MonkeyPatch, what: int | str
) -> None:
    """The run after one that did not come to its commit reads them twice: as it plans, and as it commits."""
    for skip in (0, SHARDS, 2 * SHARDS - 1):
        leave_receipts(stocked, gcs, monkeypatch)
        with gcs.proxy.doing(replace(RECEIPTS, what=what, skip=skip, seconds=1.2 * STALL)):
            reconstruct(stocked, gcs)
        clean.check(f"after {skip}")


@pytest.mark.parametrize("what", [503, "reset", "flip"])
def test_receipts_that_cannot_be_read_are_a_named_failure(
    stocked: GcsBucket, gcs: GcsServer, clean: Clean, monkeypatch: pytest.MonkeyPatch, what: int | str
) -> None:
    for skip in (0, SHARDS, 2 * SHARDS - 1):
        leave_receipts(stocked, gcs, monkeypatch)
        monkeypatch.setattr(request_retry, "REQUESTS", HASTY)
        with gcs.proxy.doing(always(replace(RECEIPTS, what=what, skip=skip))):
            assert f"{stocked.uri}/out/_receipts/" in failure(stocked, gcs)
        clean.check_halfway(f"half {skip}")
        monkeypatch.setattr(request_retry, "REQUESTS", CALM)
        reconstruct(stocked, gcs)
        clean.check(f"after {skip}")


def leave_receipts(gs: GcsBucket, gcs: GcsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run whose units are done, and that ends before its manifest."""
    monkeypatch.setattr(request_retry, "REQUESTS", HASTY)
    with gcs.proxy.doing(always(replace(PHASES["manifest"][0], what=503))):
        failure(gs, gcs)
    monkeypatch.setattr(request_retry, "REQUESTS", CALM)
    assert len(gs.names("out/_receipts/")) == SHARDS


@pytest.mark.parametrize("what", [503, "reset", "lost", "spoil", "part", 410])
def test_parts_of_uploads(
    stocked: GcsBucket, gcs: GcsServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, what: int | str
) -> None:
    """Where everything is large: the same with uploads in parts."""
    monkeypatch.setattr(gcs_store, "SINGLE", 16)
    clean, wanted = Clean(stocked, gcs, tmp_path), Fault(what="", method="PUT")
    for skip in clean.places(wanted):
        with gcs.proxy.doing(replace(wanted, what=what, skip=skip)):
            reconstruct(stocked, gcs)
        clean.check(f"after {skip}")


@pytest.mark.parametrize(
    ("phase", "what"),
    [(phase, what) for phase, (_, whats) in PHASES.items() for what in (503, "reset", "flip") if what in whats],
)
def test_what_does_not_pass_is_a_named_failure_and_is_completed(
    stocked: GcsBucket, gcs: GcsServer, clean: Clean, monkeypatch: pytest.MonkeyPatch, phase: str, what: int | str
) -> None:
    wanted = PHASES[phase][0]
    for skip in clean.places(wanted):
        monkeypatch.setattr(request_retry, "REQUESTS", HASTY)
        with gcs.proxy.doing(always(replace(wanted, what=what, skip=skip))):
            said = failure(stocked, gcs)
        assert f"{stocked.uri}/" in said or "parquet: " in said, said
        clean.check_halfway(f"half {skip}")
        monkeypatch.setattr(request_retry, "REQUESTS", CALM)
        reconstruct(stocked, gcs)
        clean.check(f"after {skip}")


def failure(gs: GcsBucket, gcs: GcsServer) -> str:
    """What a run says that does not succeed."""
    try:
        summary = reconstruct(gs, gcs)
    except (LatentlakeError, OSError) as error:
        return str(error)
    assert not summary["complete"]
    return " ".join(failed["error"] for failed in summary["failed"])


@pytest.mark.parametrize("call", range(5))
def test_an_outage_is_one_line_and_is_completed(
    stocked: GcsBucket, gcs: GcsServer, clean: Clean, nursery: Nursery, tmp_path: Path, call: int
) -> None:
    """From some request on nothing is answered, not even to let go of the output."""
    skip = len(clean.seen) * call // 5
    with gcs.proxy.doing(always(Fault(what=503, skip=skip))):
        child = nursery.run(command(stocked, gcs.proxy.url), tmp_path / "log", call=f"{__name__}:hasty")
    assert child.status in (1, 2, 3), child.said
    lines = [line for line in child.said.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, child.said
    assert "Traceback" not in child.said
    assert stocked.uri in lines[0]
    clean.check_halfway("half")
    ended = nursery.run(command(stocked, gcs.proxy.url), tmp_path / "log")
    assert ended.status == 0, ended.said
    clean.check("after")


def hasty(arguments: Sequence[str]) -> int:
    """``python -m pipeline`` that gives up soon."""
    request_retry.REQUESTS, retry.TRANSIENT = HASTY, replace(retry.TRANSIENT, first=0.01)
    return main(arguments)
