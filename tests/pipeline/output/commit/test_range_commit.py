"""A commit range by range leaves what that of one task does, byte for byte, whatever changes and whoever dies."""

import itertools
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from lake.core.errors import HeldError, LatentlakeError, VerifyError
from lake.storage import StoreOptions
from lake.storage.local import LocalSink, LocalStore
from pipeline.config import Gate, JobConfig
from pipeline.output.commit import ranges as ranges_module
from pipeline.output.commit.commit import commit
from pipeline.output.commit.range_commit import clean_range, commit_folded, commit_ranges, end_ranges
from pipeline.output.commit.range_file import read_range_file
from pipeline.output.commit.range_fold import FoldedRange, fold_range
from pipeline.output.commit.ranges import Ranges, are_many, make_ranges, read_range, write_ranges
from pipeline.output.commit.recovery import Recovered, find_leavings, known_state, write_recovered
from pipeline.output.commit.run import Run
from pipeline.output.fencing.lease import acquire, release
from pipeline.output.layout import Layout
from pipeline.output.manifest import manifest, manifest_cutter, manifest_parts
from pipeline.output.manifest.manifest import read_manifest
from pipeline.output.state.plan_files import unit_line, write_lines, write_obsolete
from pipeline.output.units.receipts import Receipt, write_receipt
from tests.pipeline.values import make_config, make_file, make_receipt, make_unit

LENIENT = Gate(max_reject_fraction=1.0, max_failed_units=10**6)
NO_TIMES = {"ended", "seconds"}


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of about ten units, and at most twenty; ranges where more than twenty units change."""
    monkeypatch.setattr(manifest, "PART_UNITS", 20)
    monkeypatch.setattr(manifest_cutter, "PART_UNITS", 20)
    monkeypatch.setattr(ranges_module, "PART_UNITS", 20)
    monkeypatch.setattr(manifest_parts, "_ENDS", 10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Night:
    """What a run has done when it commits."""

    fresh: Sequence[Receipt]
    obsolete: Sequence[str] = ()
    adopted: Sequence[Receipt] = ()
    doubtful: Sequence[str] = ()
    litter: Sequence[str] = ()
    gate: Gate = LENIENT
    tidy: bool = False


@dataclass(slots=True)
class Output:
    """An output, and the runs that commit it."""

    path: Path
    nights: int = 0
    config: JobConfig = field(init=False)

    @property
    def layout(self) -> Layout:
        return Layout(str(self.path))

    def begin(self, night: Night) -> Run:
        """Hold the output, and leave what launcher and workers of that night leave."""
        self.nights += 1
        run = f"2026010{self.nights}T000000Z-00000{self.nights}"
        self.config = replace(make_config(self.path), run=run)
        acquire(str(self.path), run, ends_with_process=True)
        (self.path / "_SUCCESS").unlink(missing_ok=True)
        write_obsolete(self.layout.obsolete(run), night.obsolete)
        recovered = Recovered(adopted=[receipt.unit for receipt in night.adopted], doubtful=night.doubtful)
        write_recovered(self.layout.recovered(run), recovered, None)  # type: ignore[arg-type]
        lines = [unit_line(make_unit(one.unit)) for one in night.fresh]
        write_lines(f"{self.layout.plan(run)}/part-00000.jsonl", lines)
        for receipt in (*night.adopted, *night.fresh):
            if receipt.error is None:
                of_run = receipt if receipt in night.adopted else replace(receipt, run=run)
                write_receipt(self.layout, of_run, durable=False)
                write(self.path, *(output.name for output in receipt.outputs))
        write(self.path, *night.litter)
        ranges = None
        if are_many(len(night.fresh), night.obsolete, recovered):
            todo = (one.unit for one in night.fresh)
            ranges = make_ranges(todo, read_manifest(self.layout), night.obsolete, recovered)
            assert ranges is not None
            write_ranges(self.layout, run, ranges)
        return Run(
            units=len(night.fresh) + 7,
            todo=len(night.fresh),
            obsolete=self.layout.obsolete(run),
            recovered=self.layout.recovered(run),
            passed_over={},
            started=100.0,
            tidy=night.tidy,
            ranges=0 if ranges is None else len(ranges),
        )

    def files(self) -> dict[str, bytes]:
        """All files, but for summaries, in which times are."""
        paths = (path for path in self.path.rglob("*") if path.is_file())
        found = {path.relative_to(self.path).as_posix(): path.read_bytes() for path in paths}
        return {name: data for name, data in found.items() if name != "_SUCCESS" and not name.endswith("summary.json")}


def write(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"data")


def by_range(layout: Layout, run: str, count: int, fresh: Sequence[Receipt]) -> Iterator[list[Receipt]]:
    for number in range(count):
        units = read_range(layout, run, number)
        yield [receipt for receipt in fresh if receipt.unit in units]


def fold_all(output: Output, night: Night, run: Run) -> list[FoldedRange]:
    dealt = by_range(output.layout, output.config.run, run.ranges, night.fresh)
    return [fold_range(output.config, run, number, fresh) for number, fresh in enumerate(dealt)]


def in_ranges(output: Output, night: Night, run: Run, dealt: Sequence[Sequence[Receipt]] = ()) -> dict[str, Any]:
    """As the steps of the pipeline do."""
    dealt = dealt or [*by_range(output.layout, output.config.run, run.ranges, night.fresh)]
    folded = [fold_range(output.config, run, number, fresh) for number, fresh in enumerate(dealt)]
    for cleaned in commit_folded(output.config, night.gate, run, reversed(folded)):
        clean_range(output.config, cleaned)
    return end_ranges(output.config, run)


def commit_once(output: Output, night: Night) -> dict[str, Any]:
    """As one task does."""
    run = output.begin(night)
    return commit(output.config, night.gate, run, night.fresh)


def told(summary: Mapping[str, Any]) -> dict[str, Any]:
    """What a summary says, without the times and the place of a run."""
    place = summary["output"]
    value = json.loads(json.dumps(summary).replace(place, "OUTPUT"))
    value["run"] = {name: item for name, item in value["run"].items() if name not in NO_TIMES}
    return dict(value)


def receipts(numbers: Sequence[int], fingerprint: str = "", **changes: Any) -> list[Receipt]:
    return [
        make_receipt(
            f"{n:03d}",
            read=n + 3,
            rejects={"wrong_size": n % 2} if n % 2 else {},
            first=100.0 + n,
            seconds=n / 8,
            store_retries=n % 3,
            **({"fingerprint": fingerprint} if fingerprint else {}),
            **changes,
        )
        for n in numbers
    ]


def failed(numbers: Sequence[int], fingerprint: str = "") -> list[Receipt]:
    units = [f"{number:03d}" for number in numbers]
    return [Receipt(unit=u, fingerprint=fingerprint or f"print of {u}", error=f"{u} is damaged") for u in units]


ALL = range(120)
FIRST = Night(fresh=receipts(ALL))
NIGHTS = {
    "some units changed": Night(fresh=receipts(range(30, 60), "new")),
    "all units changed": Night(fresh=receipts(ALL, "new")),
    "new units at the end": Night(fresh=receipts(range(200, 260))),
    "new units in between": Night(fresh=[make_receipt(f"{n:03d}x") for n in range(0, 120, 2)]),
    "units are gone": Night(fresh=receipts(range(40, 60), "new"), obsolete=[f"{n:03d}" for n in range(60, 110)]),
    "nearly all are gone": Night(fresh=receipts(range(6), "new"), obsolete=[f"{n:03d}" for n in range(10, 120)]),
    "all that ended parts fail at first": Night(fresh=failed(range(200, 260))),
    "stale units go": Night(fresh=[*receipts(range(60), "new"), *failed(range(60, 100, 3), "new")]),
    "stale units stay": Night(fresh=[*receipts(range(60), "new"), *failed(range(60, 100, 3), "new")], gate=Gate()),
    "unchanged units fail": Night(fresh=[*receipts(range(10), "new"), *failed(range(60, 100))]),
    "too many rejects": Night(fresh=receipts(ALL), gate=Gate(max_reject_fraction=0.001)),
    "files have other names": Night(
        fresh=[make_receipt(f"{n:03d}", outputs=(make_file(f"latents/new/{n}.parquet"),)) for n in range(50)]
    ),
    "names move to other units": Night(
        fresh=[make_receipt(f"9{n:02d}", outputs=(make_file(f"latents/{n:03d}.parquet"),)) for n in range(10, 30)],
        obsolete=[f"{n:03d}" for n in range(5, 30)],
    ),
    "after a run that died": Night(
        fresh=receipts(range(50), "new"),
        adopted=receipts([*range(45, 60), *range(300, 330)], "new", run="dead"),
        doubtful=[f"{n:03d}" for n in range(40, 80)],
        litter=["latents/lost.parquet", "images/lost.tar", "_receipts/late.json", "_manifest/old.parquet"],
        tidy=True,
    ),
}  # fmt: skip


CASES = {"the first night": (FIRST, 0), "a second night, of many more": (FIRST, 15)}
CASES |= {name: (night, 120) for name, night in NIGHTS.items()}


@pytest.mark.parametrize(("night", "before"), CASES.values(), ids=CASES)
def test_both_ways_leave_the_same(tmp_path: Path, night: Night, before: int) -> None:
    one, other = Output(tmp_path / "one"), Output(tmp_path / "other")
    for output in (one, other):
        commit_once(output, Night(fresh=receipts(range(before))))
    expected = commit_once(one, night)
    run = other.begin(night)
    assert run.ranges
    found = in_ranges(other, night, run)
    assert other.files() == one.files()
    assert told(found) == told(expected)
    assert (one.path / "_SUCCESS").exists() == (other.path / "_SUCCESS").exists() == expected["complete"]


SECOND = Night(
    fresh=[
        *(make_receipt(f"{n:03d}", outputs=(make_file(f"latents/new/{n}.parquet"),)) for n in range(0, 16, 2)),
        *failed(range(17, 30, 6), "new"),
        *receipts(range(60, 72)),
    ],
    obsolete=[f"{n:03d}" for n in range(30, 36)],
    litter=["latents/lost.parquet"],
    tidy=True,
)


def second_night(path: Path) -> tuple[Output, Run]:
    """An output with a night behind it, before the commit of the next one: units change, fail, go and come."""
    output = Output(path)
    commit_once(output, Night(fresh=receipts(range(40))))
    return output, output.begin(SECOND)


def copied(output: Output, path: Path) -> Output:
    """The same output at another place, held by the same run."""
    shutil.copytree(output.path, path)
    other = Output(path, output.nights)
    other.config = replace(output.config, output=str(path))
    return other


def moved(run: Run, output: Output) -> Run:
    """The run, in a copy of its output."""
    name = output.config.run
    return replace(run, obsolete=output.layout.obsolete(name), recovered=output.layout.recovered(name))


class KilledError(BaseException):
    """In the place of a process that has ended."""


def kill_at(patch: pytest.MonkeyPatch, number: int) -> list[int]:
    """End a commit before its so-manieth request that changes something; gives how many there were."""
    done = list[int]()

    def ending(known: Callable[..., Any]) -> Callable[..., Any]:
        def act(*arguments: Any, **named: Any) -> Any:
            if len(done) == number:
                if isinstance(arguments[0], LocalSink):
                    arguments[0].abort()
                raise KilledError
            done.append(1)
            return known(*arguments, **named)

        return act

    patch.setattr(LocalSink, "publish", ending(LocalSink.publish))
    patch.setattr(LocalStore, "delete", ending(LocalStore.delete))
    return done


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No disk is waited for."""
    monkeypatch.setattr("os.fsync", lambda _: None)


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
def test_killed_before_any_request_the_manifest_is_whole_and_the_end_the_same(tmp_path: Path) -> None:
    """Whether its engine tries it again, or another run comes."""
    base, run = second_night(tmp_path / "base")
    old, whole = dict(read_manifest(base.layout)), copied(base, tmp_path / "whole")
    in_ranges(whole, SECOND, moved(run, whole))
    clean, new, states = whole.files(), dict(read_manifest(whole.layout)), list[bool]()
    dealt = [*by_range(base.layout, base.config.run, run.ranges, SECOND.fresh)]
    # Of parts, ranges, manifest, _SUCCESS and summary; then of receipts, and of the plan.
    for number in itertools.chain(range(2, 24, 4), itertools.count(24, 17)):
        output = copied(base, tmp_path / f"{number}")
        with pytest.MonkeyPatch.context() as patch:
            kill_at(patch, number)
            try:
                in_ranges(output, SECOND, moved(run, output))
                break
            except KilledError:
                pass
        state = dict(read_manifest(output.layout))
        assert state in (old, new)
        states.append(state == new)
        other = copied(output, tmp_path / f"{number} taken over")
        in_ranges(output, SECOND, moved(run, output), dealt)
        assert output.files() == clean
        next_run(other)
        assert other.files() == clean
    assert states == sorted(states)
    assert {*states} == {True, False}


def next_run(output: Output) -> None:
    """A run that finds what a dead one left, and does what it had to do."""
    release(str(output.path), output.config.run)
    known, recovered = known_state(output.layout, find_leavings(output.layout), StoreOptions())
    prints = {unit: receipt.fingerprint for unit, receipt in known.items()}
    todo = [one for one in SECOND.fresh if prints.get(one.unit) != one.fingerprint or one.error]
    night = Night(
        fresh=todo,
        obsolete=[unit for unit in SECOND.obsolete if unit in known],
        adopted=[known[unit] for unit in recovered.adopted],
        doubtful=recovered.doubtful,
        tidy=True,
    )
    run = output.begin(night)
    if run.ranges:
        in_ranges(output, night, run)
    else:
        commit(output.config, night.gate, run, todo)


@pytest.mark.usefixtures("quick")
def test_tasks_that_are_done_twice_harm_nothing(tmp_path: Path) -> None:
    base, run = second_night(tmp_path / "base")
    output = copied(base, tmp_path / "twice")
    in_ranges(base, SECOND, run)
    run = moved(run, output)
    first, again = fold_all(output, SECOND, run), fold_all(output, SECOND, run)
    assert first == again
    cleaned = commit_folded(output.config, LENIENT, run, first)
    late = fold_all(output, SECOND, run)  # when the new root is there
    assert [one.parts for one in late] == [one.judged or one.parts for one in first]
    assert commit_folded(output.config, LENIENT, run, [*again, *first]) == cleaned
    for one in [*cleaned, *cleaned]:
        clean_range(output.config, one)
    summary = end_ranges(output.config, run)
    assert output.files() == base.files()
    # What an engine repeats when all is over is told what there is.
    assert [one.sums for one in fold_all_ended(output, run)] == [None] * run.ranges
    assert commit_folded(output.config, LENIENT, run, first) == []
    clean_range(output.config, cleaned[0])
    assert end_ranges(output.config, run) == summary
    assert output.files() == base.files()


def fold_all_ended(output: Output, run: Run) -> list[FoldedRange]:
    return [fold_range(output.config, run, number, ()) for number in range(run.ranges)]


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("step", ["fold", "join", "clean", "end"])
def test_a_run_that_lost_its_output_changes_nothing_more(tmp_path: Path, step: str) -> None:
    output, run = second_night(tmp_path / "lost")
    night = SECOND
    folded = [] if step == "fold" else fold_all(output, night, run)
    cleaned = commit_folded(output.config, night.gate, run, folded) if step in ("clean", "end") else []
    if step == "end":
        for one in cleaned:
            clean_range(output.config, one)
    (output.path / "_hold").unlink()
    acquire(str(output.path), "later", ends_with_process=True)
    before = output.files()
    steps: dict[str, Callable[[], object]] = {
        "fold": lambda: fold_all(output, night, run),
        "join": lambda: commit_folded(output.config, night.gate, run, folded),
        "clean": lambda: clean_range(output.config, cleaned[0]),
        "end": lambda: end_ranges(output.config, run),
    }
    if step in ("clean", "end"):  # it has a summary by then, and nothing to do any more
        steps[step]()
    else:
        with pytest.raises(HeldError):
            steps[step]()
    assert output.files() == before


def test_without_a_unit_to_process_one_process_commits_range_by_range(tmp_path: Path) -> None:
    night = Night(fresh=(), adopted=receipts(range(100), run="dead"), tidy=True)
    one, other = Output(tmp_path / "one"), Output(tmp_path / "other")
    expected = commit_once(one, night)
    run = other.begin(night)
    assert run.ranges > 1
    found = commit_ranges(other.config, night.gate, run)
    assert (other.files(), told(found)) == (one.files(), told(expected))


def test_a_receipt_that_the_plan_counted_on_is_gone(tmp_path: Path) -> None:
    night = Night(fresh=(), adopted=receipts(range(100), run="dead"), tidy=True)
    output = Output(tmp_path / "out")
    run = output.begin(night)
    Path(output.layout.receipt("042")).unlink()
    with pytest.raises(LatentlakeError, match=r"^1 receipts of an earlier run are gone, such as .*/042\.json; run the"):
        commit_ranges(output.config, night.gate, run)
    assert read_manifest(output.layout) == {}


def test_receipts_are_missing(tmp_path: Path) -> None:
    output = Output(tmp_path / "out")
    run = output.begin(FIRST)
    folded = fold_all(output, replace(FIRST, fresh=FIRST.fresh[1:]), run)
    with pytest.raises(LatentlakeError, match=r"^120 units were planned and 119 left a receipt; run the job again$"):
        commit_folded(output.config, LENIENT, run, folded)
    with pytest.raises(LatentlakeError, match=rf"^{run.ranges - 1} of {run.ranges} ranges of units were folded"):
        commit_folded(output.config, LENIENT, replace(run, todo=120 - folded[-1].found - 1), folded[:-1])
    assert read_manifest(output.layout) == {}


def test_one_file_of_two_units_in_two_ranges_is_refused(tmp_path: Path) -> None:
    shared = (make_file("images/a.tar"),)
    night = Night(fresh=[*receipts(range(50)), make_receipt("9", outputs=shared), make_receipt("0", outputs=shared)])
    output = Output(tmp_path / "out")
    run = output.begin(night)
    with pytest.raises(LatentlakeError, match=r"^units '0' and '9' both wrote images/a\.tar; run one job for each$"):
        in_ranges(output, night, run)
    assert read_manifest(output.layout) == {}


def test_a_receipt_that_contradicts_itself(tmp_path: Path) -> None:
    night = Night(fresh=[*receipts(range(50)), make_receipt("9", results=1)])
    output = Output(tmp_path / "out")
    run = output.begin(night)
    with pytest.raises(LatentlakeError, match=r"^unit 9: 3 records read, but 1 results and 0 rejects"):
        in_ranges(output, night, run)


def test_a_file_of_a_range_that_was_changed_is_found(tmp_path: Path) -> None:
    output = Output(tmp_path / "out")
    run = output.begin(FIRST)
    fold_all(output, FIRST, run)
    path = Path(output.layout.range_file(output.config.run, 0, "folded"))
    assert read_range_file(output.layout, output.config.run, 0, ["names"]).names.size
    data = path.read_bytes()
    path.write_bytes(data[:30] + bytes([data[30] ^ 1]) + data[31:])
    with pytest.raises(VerifyError, match=r"00000\.folded: damaged \(its bytes are not"):
        read_range_file(output.layout, output.config.run, 0, ["names"])


def test_ranges_end_where_parts_do(tmp_path: Path) -> None:
    output = Output(tmp_path / "out")
    commit_once(output, FIRST)
    before = read_manifest(output.layout)
    todo = [f"{number:03d}" for number in range(200, 230)]
    made = make_ranges(todo, before, ["015"], Recovered(adopted=["300"], doubtful=["015", "301"]))
    assert made is not None
    units = [*(f"{number:03d}" for number in range(120) if number != 15), *todo, "300"]
    ends = {unit for unit in units if manifest_parts.ends_part(unit)}
    assert {part.last for part in before.parts} & {*made.lasts}
    assert {*made.lasts} <= ends
    assert ends & {*todo} <= {*made.lasts}
    write_ranges(output.layout, "run", made)
    for unit in units:
        assert sum(unit in read_range(output.layout, "run", number) for number in range(len(made))) == 1
    lists = [read_range(output.layout, "run", number) for number in range(len(made))]
    assert [unit for one in lists for unit in one.doubtful] == ["015", "301"]
    assert [(unit in one) for one in lists for unit in (*one.obsolete, *one.adopted)] == [True, True]


def test_few_changes_and_a_manifest_of_an_earlier_version_are_for_one_task(tmp_path: Path) -> None:
    layout, many = Layout(str(tmp_path)), [f"{number:03d}" for number in range(50)]
    assert not are_many(10, many[:5], Recovered(adopted=many[5:10]))
    assert are_many(10, many[:6], Recovered(adopted=many[5:10]))
    assert isinstance(make_ranges(many, manifest.Manifest(layout), (), Recovered()), Ranges)
    assert make_ranges(many, manifest.Manifest(layout, receipts(range(21))), (), Recovered()) is None
