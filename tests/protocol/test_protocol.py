"""Two runs and one output: no interleaving does harm, and a fault of the protocol is found."""

import pytest

from tests.conftest import long_forms
from tests.protocol import scenarios
from tests.protocol.faults import FOUND_LATE, FOUND_SOON, Fault, NoLook
from tests.protocol.protocol import Protocol
from tests.protocol.scenarios import LIMITS, LONG, QUICK, Case, Limit, explored, litter
from tests.protocol.store import Kind


def name(value: Case | Fault | Limit) -> str:
    return str(value)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("case", [*QUICK, *long_forms(*LONG)], ids=name)
def test_no_interleaving_does_harm(case):
    found = explored(case, Protocol(case.kind))
    assert not found.wrong, "\n".join((found.wrong, *found.trace))


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("fault", [*FOUND_SOON, *long_forms(*FOUND_LATE)], ids=name)
def test_a_fault_is_found(fault):
    found = explored(fault.case, fault.protocol(fault.case.kind))
    assert fault.wrong in found.wrong


@pytest.mark.parametrize("limit", LIMITS, ids=name)
def test_what_a_store_cannot_prevent_is_what_the_decision_says(limit):
    found = explored(limit.case, Protocol(limit.case.kind))
    assert limit.wrong in found.wrong


def test_a_file_that_no_manifest_names_may_appear_late_in_a_remote_store_alone():
    of_disk, of_gs = (Case(scenarios.extra, kind) for kind in (Kind.DISK, Kind.GS))
    assert not explored(of_disk, Protocol(Kind.DISK), litter).wrong
    assert explored(of_gs, Protocol(Kind.GS), litter).wrong == "data/x is of no unit"


def test_a_way_to_what_is_wrong_is_told_step_by_step():
    found = explored(Case(scenarios.worker, Kind.GS), NoLook(Kind.GS))
    assert "A: COPY data/u from staged/A/data/u#0 -> ok" in found.trace
    assert found.trace[-1] == "B: COPY _SUCCESS from staged/B/_SUCCESS#0 -> ok"
