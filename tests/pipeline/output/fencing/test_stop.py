"""What a launcher makes of a pipeline that came to its end without a commit."""

import errno
from pathlib import Path

import pytest

from lake.core.errors import HeldError, LatentlakeError, UnfinishedError
from lake.storage import put
from pipeline.output.fencing import stop as module
from pipeline.output.fencing.lease import acquire
from pipeline.output.fencing.stop import is_stop, raise_if_stopped, write_stop
from pipeline.output.layout import Layout
from pipeline.output.units.receipt_accumulator import ReceiptAccumulator
from tests.pipeline.values import make_config, make_receipt

STOP = module.Stop(stop='the disk is "full"\n', exit_status=1)


@pytest.fixture
def held(tmp_path: Path) -> Path:
    acquire(str(tmp_path), "run-1", ends_with_process=False)
    return tmp_path


def test_a_commit_is_no_stop(held: Path) -> None:
    put(Layout(str(held)).summary("run-1"), b"{}")
    raise_if_stopped(make_config(held))


def test_the_words_and_status_of_the_error(held: Path) -> None:
    write_stop(make_config(held), UnfinishedError("too many rejects"))
    with pytest.raises(LatentlakeError, match=r"^too many rejects$") as caught:
        raise_if_stopped(make_config(held))
    assert caught.value.exit_status == 3


def test_a_lost_lease(held: Path) -> None:
    (held / "_hold").unlink()
    acquire(str(held), "run-2", ends_with_process=False)
    before = sorted(held.rglob("*"))
    with pytest.raises(HeldError, match="no longer held by run run-1"):
        raise_if_stopped(make_config(held))
    assert sorted(held.rglob("*")) == before


def test_an_output_that_nobody_can_write_to(held: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(held))

    monkeypatch.setattr(module, "put", full)
    write_stop(make_config(held), OSError(errno.ENOSPC, "full"))
    with pytest.raises(OSError, match="No space left"):
        raise_if_stopped(make_config(held))


def test_a_worker_whose_words_are_lost(held: Path) -> None:
    for _ in range(2):  # the next one to ask, as status does, reads it
        with pytest.raises(LatentlakeError, match="the engine's log does"):
            raise_if_stopped(make_config(held))


def test_among_receipts() -> None:
    receipt = make_receipt('{"stop": "x"}')
    assert is_stop(STOP.to_line())
    assert not is_stop(receipt.to_json())
    one, two, both = ReceiptAccumulator(), ReceiptAccumulator(), ReceiptAccumulator()
    one.add(receipt.to_json())
    two.add(STOP.to_line())
    both.join([one, two, ReceiptAccumulator()])
    assert [*both.receipts()] == [receipt]
    assert module.Stop.from_line(both.stop) == STOP
    assert one.stop == ""
