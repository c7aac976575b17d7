"""Damage to a finished output is found and named, whatever it is."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from lake.core import sealed_json
from lake.core.errors import OutputError, VerifyError
from lake.storage import StoreOptions
from pipeline.output.commit.recovery import find_leavings, known_state
from pipeline.output.fencing.lease import acquire
from pipeline.output.layout import Layout
from pipeline.output.manifest.manifest import read_manifest, write_manifest
from pipeline.output.units.receipts import Receipt, read_receipts, write_receipt
from pipeline.output.verify import verify
from tests.lake.formats.parquet.tables import deep_file


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def mix(path: Path) -> None:
    """Another run's file under the same name."""
    table = pq.read_table(path)
    pq.write_table(table.replace_schema_metadata({}), path)


def state(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a file of the job's own state, and make its check right again."""
    value = sealed_json.loads(path.read_bytes(), str(path))
    change(value)
    path.write_bytes(sealed_json.dumps(value))


def reseal(output: Path, receipts: dict[str, Receipt]) -> None:
    """Another manifest, and a ``_SUCCESS`` that stands over it."""
    manifest = write_manifest(Layout(str(output)), receipts.values())
    state(output / "_SUCCESS", lambda value: value["manifest"].update(crc32c=manifest.crc32c, size=manifest.size))


# what is damaged -> the file, the damage, the words of its problem, and the unit to redo
DAMAGE: dict[str, tuple[str, Callable[[Path], object], str, str | None]] = {
    "truncated": ("latents/b/train-2.parquet", cut, "bytes, but the manifest says", "b/train-2"),
    "missing": ("latents/a/train-1.parquet", Path.unlink, "missing", "a/train-1"),
    "mixed": ("latents/a/train-1.parquet", mix, "its unit is '', but the manifest says 'a/train-1'", "a/train-1"),
    "extra": ("latents/a/train-9.parquet", lambda p: p.write_bytes(b"x"), "not in the manifest", None),
    "no success": ("_SUCCESS", Path.unlink, "missing: the last run did not complete", None),
    "damaged success": ("_SUCCESS", lambda p: flip(p, 100), "damaged (", None),
    "count": ("_SUCCESS", lambda p: state(p, lambda v: v["total"].update(read=9)), "9 read, but 1797 in fact", None),
    "reasons": (
        "_SUCCESS",
        lambda p: state(p, lambda v: v["total"]["reasons"].update(corrupt_image=1)),
        "{'corrupt_image': 1} reasons, but {} in fact",
        None,
    ),
    "of another run": ("_SUCCESS", lambda p: state(p, lambda v: v.update(complete=False)), "did not complete", None),
    "of other options": (
        "_SUCCESS",
        lambda p: state(p, lambda v: v["options"].update(reject_bytes=5)),
        "made with other options than _job.json",
        None,
    ),
    "no job": ("_job.json", Path.unlink, "missing", None),
    "damaged job": ("_job.json", lambda p: flip(p, 100), "damaged (", None),
    "no options": ("_job.json", lambda p: state(p, lambda v: v.pop("options")), "damaged (it has no options)", None),
    "no digest": (
        "_job.json",
        lambda p: state(p, lambda v: v["options"].update(model_digest="../../x")),
        "'../../x' is no digest",
        None,
    ),
}


@pytest.fixture
def output(tmp_path: Path, encoded: Path) -> Path:
    return shutil.copytree(encoded, tmp_path / "out")


@pytest.mark.parametrize("deep", [False, True])
def test_a_good_output(output: Path, deep: bool) -> None:
    report = verify(str(output), deep=deep)
    assert report.problems == () and report.notes == ()
    assert (report.units, report.files, report.read, report.results, report.rejects) == (3, 3, 1797, 1797, 0)
    assert report.describe().splitlines() == [
        f"{output}: 3 units, 3 files, 1,797 records read = 1,797 results + 0 rejects",
        "every file, checksum, row and count is right"
        if deep
        else "every file is there with its size, and every count is right; --deep also reads every byte",
    ]
    report.raise_for_problems()


def test_a_schema_that_is_too_deep_is_named(output: Path) -> None:
    """Arrow would descend into it until the process ends. The file has its size, so that only its footer tells."""
    path, deep = output / "latents/b/train-2.parquet", deep_file(2_000)
    path.write_bytes(deep[:4] + bytes(path.stat().st_size - len(deep)) + deep[4:])
    (problem,) = verify(str(output)).problems
    assert problem.problem == "its footer cannot be read (its schema has more than 100 levels of groups)"


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("case", DAMAGE)
def test_damage_is_named(output: Path, case: str, deep: bool) -> None:
    name, damage, text, unit = DAMAGE[case]
    damage(output / name)
    report = verify(str(output), deep=deep)
    assert [(p.name, p.unit, text in p.problem) for p in report.problems] == [(name, unit, True)]
    assert report.units_to_redo == (() if unit is None else (unit,))
    assert report.extra == ((name,) if case == "extra" else ())
    assert [p.name for p in report.lost] == ([name] if name.startswith("_") else [])
    with pytest.raises(VerifyError, match=f"1 problems{'; units to redo: ' + unit if unit else ''}$"):
        report.raise_for_problems()


@pytest.mark.parametrize("at", [4, 1000, -20])
def test_a_flipped_bit_is_found_by_reading_all_bytes(output: Path, at: int) -> None:
    flip(output / "latents/a/train-0.parquet", at)
    (problem,) = verify(str(output), deep=True).problems
    assert (problem.name, problem.unit) == ("latents/a/train-0.parquet", "a/train-0")
    assert problem.problem.startswith("checksum ")


def test_every_problem_at_once(output: Path) -> None:
    (output / "latents/b/train-2.parquet").unlink()
    cut(output / "latents/a/train-0.parquet")
    (output / "images/x").mkdir(parents=True)
    (output / "images/x/left.tar").write_bytes(b"")
    (output / "latents/_metadata").write_bytes(b"an engine's index")
    (output / "_SUCCESS").unlink()
    report = verify(str(output))
    assert report.units_to_redo == ("a/train-0", "b/train-2")
    assert report.extra == ("images/x/left.tar",)
    assert [problem.name for problem in report.lost] == ["_SUCCESS"]
    value = json.loads(json.dumps(report.to_value()))
    assert (value["units_to_redo"], value["extra"]) == (["a/train-0", "b/train-2"], ["images/x/left.tar"])
    assert [(p["name"], p["unit"]) for p in value["problems"]] == [
        ("latents/a/train-0.parquet", "a/train-0"),
        ("latents/b/train-2.parquet", "b/train-2"),
        ("images/x/left.tar", None),
        ("_SUCCESS", None),
    ]
    assert verify(str(output)) == report


def test_a_name_of_an_extra_file_is_shown_as_text(output: Path) -> None:
    (output / "latents/\x1b[2J\n.parquet").write_bytes(b"")
    assert "latents/\\x1b[2J\\n.parquet: not in the manifest" in verify(str(output)).describe()


def test_many_problems_are_counted(output: Path) -> None:
    for number in range(60):
        (output / f"latents/{number}.parquet").write_bytes(b"")
    lines = verify(str(output)).describe().splitlines()
    assert len(lines) == 52 and lines[-1] == "  and 10 more problems; --json has all"


def test_a_receipt_that_contradicts_itself(output: Path) -> None:
    receipts = dict(read_manifest(Layout(str(output))))
    receipts["a/train-0"] = replace(receipts["a/train-0"], results=699)
    reseal(output, receipts)
    state(output / "_SUCCESS", lambda value: value["total"].update(results=1796))
    (problem,) = verify(str(output)).problems
    assert (problem.name, problem.unit) == ("a/train-0", "a/train-0")
    assert problem.problem == (
        "700 records read, but 699 results and 0 rejects; 700 rows in latents/, but the receipt says 699"
    )


def test_a_unit_of_other_options(output: Path) -> None:
    receipts = dict(read_manifest(Layout(str(output))))
    receipts["a/train-1"] = replace(receipts["a/train-1"], options="0" * 64)
    reseal(output, receipts)
    report = verify(str(output))
    assert [p.problem for p in report.problems] == ["made with other options than _job.json has"]
    assert report.units_to_redo == ("a/train-1",)


def test_units_that_are_not_committed(output: Path) -> None:
    layout = Layout(str(output))
    receipt = read_manifest(layout)["a/train-1"]
    write_receipt(layout, replace(receipt, seconds=3.5, first=1.25))
    report = verify(str(output), deep=True)
    (problem,) = report.problems
    assert (problem.name, problem.unit) == ("_receipts", None)
    assert problem.problem == "1 units finished since the last commit; run the job again to commit"
    assert (report.lost, report.units, report.files, report.read) == ((problem,), 3, 3, 1797)


def test_files_of_a_unit_that_is_not_committed_are_its_own(output: Path) -> None:
    """Neither its new file nor the old one, which the commit drops, is extra."""
    layout = Layout(str(output))
    receipt = read_manifest(layout)["a/train-1"]
    new = replace(receipt.outputs[0], name="latents/a/new.parquet")
    shutil.copy(output / receipt.outputs[0].name, output / new.name)
    write_receipt(layout, replace(receipt, outputs=(new,)))
    report = verify(str(output), deep=True)
    assert (report.extra, report.units_to_redo) == ((), ())


def test_a_unit_whose_files_were_being_replaced(output: Path) -> None:
    layout = Layout(str(output))
    receipt = read_manifest(layout)["a/train-1"]
    write_receipt(layout, replace(receipt, outputs=(), error="its files were being replaced"))
    report = verify(str(output))
    (problem,) = report.problems
    assert (problem.unit, problem.problem) == ("a/train-1", "not done: its files were being replaced")
    assert report.extra == ()


def test_a_receipt_of_an_earlier_run_that_arrived_late_says_nothing(output: Path) -> None:
    """It is of another model, and was created when the receipts of the last run had been removed."""
    layout = Layout(str(output))
    receipt = read_manifest(layout)["a/train-1"]
    last = json.loads((output / "_SUCCESS").read_text())["run"]["id"]
    write_receipt(layout, replace(receipt, run="20200101T000000Z-abcdef", fingerprint="other", outputs=()))
    report = verify(str(output), deep=True)
    assert (report.problems, report.extra) == ((), ()), report.describe()
    write_receipt(layout, replace(receipt, run=f"{last}-later"))
    assert "1 units finished since the last commit" in verify(str(output)).describe()


def test_a_damaged_receipt(output: Path) -> None:
    layout = Layout(str(output))
    write_receipt(layout, replace(read_manifest(layout)["a/train-1"], seconds=3.5, first=1.25))
    path = Path(layout.receipt("a/train-1"))
    whole = path.read_bytes()
    assert read_receipts(layout)["a/train-1"].error is None
    for at in range(len(whole)):
        flip(path, at)
        assert "its receipt is damaged" in str(read_receipts(layout)["a/train-1"].error)
        assert "a/train-1" not in known_state(layout, find_leavings(layout), StoreOptions())[0]
        path.write_bytes(whole)
    flip(path, 50)
    report = verify(str(output))
    assert report.units_to_redo == ("a/train-1",)
    assert "its receipt is damaged" in report.damaged[0].problem


def test_a_damaged_manifest(output: Path) -> None:
    cut(output / "_manifest.parquet")
    with pytest.raises(VerifyError, match=r"_manifest\.parquet: the manifest is damaged .*remove it and run the job"):
        verify(str(output))


def test_a_missing_manifest(output: Path) -> None:
    (output / "_manifest.parquet").unlink()
    with pytest.raises(VerifyError, match=r"_manifest\.parquet: missing: .*run the job again"):
        verify(str(output))


def test_an_older_manifest(output: Path) -> None:
    """Whole in itself, but not the one that ``_SUCCESS`` stands over; the unit that it lacks is extra."""
    receipts = dict(read_manifest(Layout(str(output))))
    del receipts["b/train-2"]
    write_manifest(Layout(str(output)), receipts.values())
    report = verify(str(output))
    assert report.extra == ("latents/b/train-2.parquet",)
    assert "it stands over the manifest" in report.lost[0].problem
    texts = [problem.problem for problem in report.lost[1:]]
    facts = ("3 units, but 2 in fact", "1797 read, but 1000 in fact", "1797 results, but 1000 in fact")
    assert texts[:3] == [f"{fact}; remove _SUCCESS and run the job again" for fact in facts]
    assert len(texts) == 4 and " output_bytes, but " in texts[3]


def test_another_model_in_the_copys_place(output: Path) -> None:
    (copy,) = (output / "_model").iterdir()
    copy.rename(copy.with_name("0" * 64))
    state(output / "_job.json", lambda value: value["options"].update(model_digest="0" * 64))
    report = verify(str(output))
    names = [(p.name.partition("/")[0], p.problem.partition(",")[0]) for p in report.problems]
    stated = f"its model_digest is {copy.name!r}"
    expected = f"it has the digest {copy.name[:12]}; remove the directory and run the job again"
    other = "it was made with other options than _job.json has; remove _SUCCESS and run the job again"
    assert names == [*[("latents", stated)] * 3, ("_model", expected), ("_SUCCESS", other)]
    assert report.units_to_redo == ("a/train-0", "a/train-1", "b/train-2")


def test_the_copy_of_the_model_is_the_text_that_was_written(output: Path) -> None:
    """The bundle's digest leaves white space out."""
    (path,) = output.glob("_model/*/model.json")
    path.write_bytes(path.read_bytes() + b"\n")
    (problem,) = verify(str(output)).problems
    assert problem.name == str(path.parent.relative_to(output))
    assert problem.problem.startswith("model.json is not the text that was written; remove the directory and run")


def test_images_in_parquet_say_whose_they_are(tmp_path: Path, reconstructed: Path) -> None:
    output = shutil.copytree(reconstructed, tmp_path / "out")
    assert verify(str(output), deep=True).problems == ()
    shutil.copy(output / "images/a/train-1.parquet", output / "images/b/train-2.parquet")
    (problem,) = verify(str(output)).problems
    assert (problem.name, problem.unit) == ("images/b/train-2.parquet", "b/train-2")
    assert "its unit is 'a/train-1', but the manifest says 'b/train-2'" in problem.problem


def test_a_hold_is_noted(output: Path) -> None:
    acquire(str(output), "another", ends_with_process=True)
    report = verify(str(output))
    assert report.problems == ()
    (note,) = report.notes
    assert "is in use by run another" in note and f"note: {note}" in report.describe()
    hold = output / "_hold"
    hold.write_text(json.dumps({**json.loads(hold.read_text()), "place": "", "beat": 0.0}))
    assert verify(str(output)).notes == ("a run over this output died; run the job again to go on",)


def test_footers_longer_than_one_read(output: Path) -> None:
    """The footer is still the unit's, and its rows are counted: many row groups make it long."""
    path = output / "latents/b/train-2.parquet"
    table = pq.read_table(path)
    pq.write_table(table.slice(0, 796), path, row_group_size=1)
    assert int.from_bytes(path.read_bytes()[-8:-4], "little") > 1 << 16
    (problem,) = verify(str(output)).problems
    assert problem.problem.endswith("; 796 rows, but the manifest says 797")


def test_no_output(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"no _manifest.parquet; name the directory that a finished job wrote"):
        verify(str(tmp_path))
