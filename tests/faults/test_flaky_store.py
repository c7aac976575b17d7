"""A store that fails, stalls, cuts or spoils: the output is the clean one, or an error names what happened."""

from pathlib import Path

import pytest

from tests.conftest import long_forms
from tests.faults.flaky import Flaw
from tests.faults.forkserver import Nursery
from tests.faults.torture import Work, suffer

FLAWS = (  # where, what, which calls, every so many-th
    ("/in/", "fail", "read", 3),
    ("/bundle/", "flip", "read", 6),
    ("/out/", "cut", "write", 4),
    ("/out/", "late", "publish", 5),
    ("/out/", "stall", "swap", 1),
)
MORE_FLAWS = (
    ("/in/", "flip", "read", 4),
    ("/in/", "cut", "read", 1),
    ("/in/", "fail", "stat", 1),
    ("/out/", "fail", "write", 40),
    ("/out/", "flip", "write", 30),  # what was written is read back
    ("/out/", "flip", "read", 7),
    ("/out/", "late", "delete", 2),
)


@pytest.mark.parametrize(("where", "what", "call", "every"), [*FLAWS, *long_forms(*MORE_FLAWS)])
def test_flaw(nursery: Nursery, work: Work, tmp_path: Path, where: str, what: str, call: str, every: int) -> None:
    child = suffer(nursery, work, tmp_path / "out", Flaw(what=what, calls=[call], where=where, every=every))
    assert child.status in (0, 1, 2, 3), child.said
