"""Bad records of every kind among good ones, in every container, through whole jobs: each costs itself alone."""

import io
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from lake.core.records import Reason
from pipeline.cli.command import main
from pipeline.output.verify import verify
from tests.conftest import long_forms
from tests.faults import fault_jobs
from tests.faults.bad_records import SIDE, TWICE, Record
from tests.faults.containers import CAGES, Cage
from tests.faults.fault_jobs import Identity, Visit
from tests.faults.mirror import mirror
from tests.faults.number_containers import ARRAYS, LENGTH, VECTORS
from tests.faults.outputs import add_up, rows, success
from tests.faults.read_containers import READ_IMAGES, READ_VECTORS

CASES = {f"encode {name}": ("encode", cage) for name, cage in {**CAGES, **ARRAYS, **READ_IMAGES}.items()}
CASES |= {f"encode vectors, {name}": ("encode", cage) for name, cage in {**VECTORS, **READ_VECTORS}.items()}
_IMAGES_OUT = {
    "reconstruct": ("webdataset", "parquet, binary", "folder"),
    "denoise": ("tfrecord", "parquet", "folder"),
}
CASES |= {f"{verb} {name}": (verb, CAGES[name]) for verb, names in _IMAGES_OUT.items() for name in names}
CASES |= {f"reconstruct {name}": ("reconstruct", cage) for name, cage in ARRAYS.items()}
QUICK = {  # the usual containers, and each verb; the others are long forms
    *("encode tfrecord", "encode webdataset", "encode parquet", "encode folder", "encode vectors, csv"),
    *("reconstruct webdataset", "denoise tfrecord"),
}
MARKS = {case: [] if case in QUICK else [pytest.mark.slow] for case in CASES}


def cases(wanted: Callable[[str, Cage], bool] = lambda verb, cage: True) -> pytest.MarkDecorator:
    """A test of each case that has this verb and container."""
    chosen = [pytest.param(case, marks=MARKS[case]) for case, given in CASES.items() if wanted(*given)]
    return pytest.mark.parametrize("case", chosen)


Visits: TypeAlias = Callable[[str], Visit]


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    place = tmp_path_factory.mktemp("mirrors")
    shapes = {"grey": (SIDE, SIDE, 1), "vectors": (LENGTH,)}
    return {name: mirror(place, shape) for name, shape in shapes.items()}


@pytest.fixture(scope="module")
def visit(tmp_path_factory: pytest.TempPathFactory, bundles: dict[str, str]) -> Visits:
    """The jobs of a case, run once."""

    @cache
    def of(case: str) -> Visit:
        verb, cage = CASES[case]
        return fault_jobs.visit(
            verb, cage, bundles["vectors" if "vectors" in case else "grey"], tmp_path_factory.mktemp("zoo")
        )

    return of


# ---- bad records


def _each_bad_one() -> Iterator[Any]:
    for case, (verb, cage) in CASES.items():
        for at, record in enumerate(fault_jobs.herd(verb, cage)):
            if record.bad:
                yield pytest.param(case, at, id=f"{case}: {record.name}", marks=MARKS[case])


@pytest.mark.parametrize(("case", "at"), [*_each_bad_one()])
def test_a_bad_record_is_one_reject_of_its_reason_and_bytes(case: str, at: int, visit: Visits) -> None:
    seen = visit(case)
    record = seen.records[at]
    assert record.bad is not None
    shard, index, key = seen.cage.identity(record, at)
    (reject,) = (row for row in rows(seen.mixed, "rejects") if (row["shard"], row["index"]) == (shard, index))
    detail = reject.pop("detail")
    assert re.fullmatch(record.bad.says, detail)
    assert detail.isprintable() and 5 < len(detail) < 300
    assert reject == {
        "shard": shard,
        "index": index,
        "key": key,
        "stage": str(record.bad.stage),
        "reason": str(record.bad.reason),
        "data": record.data,
        "data_truncated": False,
    }


def test_every_reason_that_a_record_can_have_is_here() -> None:
    records = [record for case in CASES.values() for record in fault_jobs.herd(*case)]
    reasons = {record.bad.reason for record in records if record.bad}
    # Of shards, of an option, and of a model that is told something.
    elsewhere = {Reason.DAMAGED_SHARD, Reason.CORRUPT_RECORD, Reason.UNWRITABLE_IMAGE, Reason.INVALID_CONDITION}
    assert reasons == set(Reason) - elsewhere


# ---- good ones


@cases()
def test_its_neighbours_are_what_they_are_without_it(case: str, visit: Visits) -> None:
    seen = visit(case)
    found, alone = rows(seen.mixed, seen.table), rows(seen.clean, seen.table)
    results = seen.results(seen.records)
    assert _identities(found) == [identity for identity, _ in results]
    assert _identities(alone) == [identity for identity, _ in seen.results(seen.good)]
    assert [_values(row) for row in found] == [_values(row) for row in alone]
    assert all(_in_order(path) for path in (seen.mixed / seen.table).rglob("*.parquet"))
    if "label" in found[0]:
        assert [row["label"] for row in found] == [record.label for _, record in results]


def _identities(table: Sequence[dict[str, Any]]) -> list[Identity]:
    return [(row["shard"], row["index"], row["key"]) for row in table]


def _in_order(path: Path) -> bool:
    found = [identity[:2] for identity in _identities(pq.read_table(path).to_pylist())]
    return found == sorted(found)


def _values(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in ("shard", "index", "key")}


@cases()
def test_the_model_is_given_the_pixels_that_were_drawn(case: str, visit: Visits) -> None:
    """And what comes of it is no more and no less: a latent that is the input, or an image without an error."""
    seen = visit(case)
    table = rows(seen.mixed, seen.table)
    for row, (_, record) in zip(table, seen.results(seen.records), strict=True):
        assert record.pixels is not None
        if "latent" in row:
            np.testing.assert_allclose(row["latent"], record.pixels.ravel(), atol=1e-6, err_msg=record.name)
        if seen.verb != "encode":
            assert row["mse"] == 0, record.name


@cases(lambda verb, cage: verb != "encode")
def test_images_out_lack_bad_records_and_nothing_else(case: str, visit: Visits) -> None:
    seen = visit(case)
    assert seen.cage.read is not None
    found = seen.cage.read(seen.mixed / "images")
    assert found == seen.cage.read(seen.clean / "images")
    assert [name for name, _ in found] == [seen.cage.name(record) for _, record in seen.results(seen.records)]
    for (_, data), (_, record) in zip(found, seen.results(seen.records), strict=True):
        assert record.pixels is not None
        made = np.frombuffer(data, np.float32) if "npz" in case else _pixels(data)
        np.testing.assert_allclose(made.ravel(), record.pixels.ravel(), atol=1e-6, err_msg=record.name)


def _pixels(data: bytes) -> np.ndarray:
    """An image's first channel, white is 1."""
    pixels = np.asarray(Image.open(io.BytesIO(data)))
    first = pixels if pixels.ndim == 2 else pixels[..., 0]
    return first / (np.iinfo(first.dtype).max if first.dtype.kind == "u" else 1)


@cases(lambda verb, cage: bool(cage.keys))
def test_records_of_one_key_are_all_there(case: str, visit: Visits) -> None:
    seen = visit(case)
    found = [[row["key"] for row in rows(seen.mixed, name)] for name in (seen.table, "rejects")]
    twice = [sum(key.partition(".")[0] == TWICE for key in keys) for keys in found]
    assert twice == [sum(record.key == TWICE for record in some) for some in (seen.good, seen.bad)]
    assert sum(twice) == 4


# ---- counts and names


@cases()
def test_read_is_results_and_rejects_wherever_it_is_counted(case: str, visit: Visits) -> None:
    seen = visit(case)
    reasons = Counter(str(record.bad.reason) for record in seen.bad if record.bad)
    counts = len(seen.records), len(seen.good), len(seen.bad)
    assert add_up(seen.mixed) == counts
    assert add_up(seen.clean) == (len(seen.good), len(seen.good), 0)
    manifest = pq.read_table(seen.mixed / "_manifest.parquet").to_pylist()
    assert sum((Counter(dict(row["rejects"])) for row in manifest), Counter()) == reasons
    assert success(seen.mixed)["total"]["reasons"] == reasons
    assert Counter(row["reason"] for row in rows(seen.mixed, "rejects")) == reasons
    assert seen.counters == {
        **dict(zip(("records_read", "results", "rejects"), counts, strict=True)),
        **{f"rejects_{reason}": count for reason, count in reasons.items()},
        "units_done": len(manifest),
    }
    assert verify(str(seen.mixed), deep=True).problems == ()


@cases()
def test_no_key_reaches_the_file_system(case: str, visit: Visits) -> None:
    """What is written is named after shards; of a folder's images, which are shards, after the files themselves."""
    seen = visit(case)
    place = seen.mixed.parent
    assert {path.name for path in place.iterdir()} == {"in", "mixed", "clean"}
    names = {str(path.relative_to(seen.mixed)) for path in seen.mixed.rglob("*") if path.is_file()}
    own = {name for name in names if name.startswith("_")}
    kinds = r"_SUCCESS|_manifest\.parquet|_job\.json|_plan/[\w-]+/summary\.json|_model/[0-9a-f]{64}/[a-z]+\.[a-z]+"
    assert all(re.fullmatch(kinds, name) for name in own)
    images = {name for name in names if name.startswith("images/")}
    assert {name.removeprefix("images/").rpartition(".")[0] for name in images} == _stems(seen)
    table = rf"({seen.table}|rejects)/{seen.cage.unit}\.parquet"
    assert all(re.fullmatch(table, name) for name in names - own - images)


def _stems(seen: Visit) -> set[str]:
    """Names of the image files, without their extensions."""
    if seen.verb == "encode":
        return set()
    return {seen.cage.shard.rpartition(".")[0] or seen.cage.name(record) for record in seen.good}


# ---- shards and summaries


def test_arrays_of_another_shape(bundles: dict[str, str], tmp_path: Path) -> None:
    """Rows that are images of another size are rejects; an array whose rows are no images is a damaged shard."""
    (tmp_path / "in").mkdir()
    good = np.random.default_rng(0).random((5, SIDE, SIDE)).astype(np.float32)
    shards = {"a": good, "b": good[:, :-1], "c": good[0, 0], "d": good.astype(np.complex64), "e": good[None, None]}
    for name, array in shards.items():
        np.save(tmp_path / f"in/{name}.npy", array)
    counters = fault_jobs.run("encode", tmp_path / "in", bundles["grey"], tmp_path / "out")
    counted = {"records_read": 10, "results": 5, "rejects": 5, "rejects_wrong_size": 5}
    assert counters == {"units_done": 2, "units_failed": 3, **counted}
    assert not (tmp_path / "out/_SUCCESS").exists()
    (summary,) = (tmp_path / "out/_plan").glob("*/summary.json")
    assert [failed["error"] for failed in json.loads(summary.read_text())["failed"]] == [
        "c.npy: array 'image' has the shape (8,), not [n, d], [n, H, W] or [n, H, W, C]",
        "d.npy: array 'image' holds <c8, not numbers",
        "e.npy: array 'image' has the shape (1, 1, 5, 8, 8), not [n, d], [n, H, W] or [n, H, W, C]",
    ]
    rejects = rows(tmp_path / "out", "rejects")
    assert [row["data"] for row in rejects] == [row.tobytes() for row in shards["b"]]


def test_a_night_by_the_command_line(
    bundles: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The gate closes, the summary names each reason with an example, and of long originals the beginning is kept."""
    cage = CAGES["parquet"]
    cage.write(tmp_path, cage.records())
    arguments = ["--input", f"{tmp_path}/a.parquet", "--model", bundles["grey"], "--output", f"{tmp_path}/out"]
    status = main(["encode", *arguments, "--max-record-bytes", "512K", "--reject-bytes", "100"])
    said = capsys.readouterr()
    bad = [record for record in cage.records() if record.bad]
    assert status == 3
    assert said.err.splitlines()[-1].startswith(f"error: {tmp_path}/out has no _SUCCESS: ")
    for reason, count in Counter(str(record.bad.reason) for record in bad if record.bad).items():
        assert f"  rejected: {count} {reason}\n" in said.out
    assert all(line.isprintable() for line in said.out.splitlines())
    kept = [(row["data"], row["data_truncated"]) for row in rows(tmp_path / "out", "rejects")]
    wanted = [
        (record.data, False) if record.data is None else (record.data[:100], len(record.data) > 100) for record in bad
    ]
    assert kept == wanted


# ---- bombs


@pytest.mark.parametrize("verb", ["encode", *long_forms("reconstruct", "denoise")])
def test_what_a_header_claims_is_not_allocated(verb: str, bundles: dict[str, str], tmp_path: Path) -> None:
    """Two of these decode, to 120 and 200 MB; the others claim gigabytes."""
    cage = CAGES["parquet"]
    records = [record for record in fault_jobs.herd(verb, cage) if record.bad is None or _is_large(record)]
    good = [record for record in records if record.bad is None]
    for name, some in (("good", good), ("mixed", records)):  # the first run makes what stays
        (tmp_path / name).mkdir()
        cage.write(tmp_path / name, some)
        _forget_peak()
        before = _memory("VmRSS")
        counters = fault_jobs.run(verb, tmp_path / name, bundles["grey"], tmp_path / f"{name}.out")
        grown = _memory("VmHWM") - before
    assert counters["rejects"] == len([record for record in records if record.bad]) > 8
    assert grown < 32 << 20  # the job itself takes a few MB


def _is_large(record: Record) -> bool:
    assert record.bad is not None
    return record.bad.reason is Reason.TOO_MANY_PIXELS or record.name == "honest giant"


def _forget_peak() -> None:
    """Let the most memory that this process has had be what it has now (proc(5), clear_refs)."""
    Path("/proc/self/clear_refs").write_text("5")


def _memory(field: str) -> int:
    """Bytes of this process, by a field of /proc/self/status."""
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) << 10
