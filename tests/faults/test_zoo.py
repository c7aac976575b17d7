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

from pipeline.cli import main
from pipeline.config import Verb
from pipeline.records import Reason
from pipeline.verify import verify
from tests.faults import visits
from tests.faults.cages import CAGES
from tests.faults.cages_of_numbers import ARRAYS, LENGTH, VECTORS
from tests.faults.mirror import mirror
from tests.faults.outputs import add_up, rows, success
from tests.faults.visits import Identity, Visit
from tests.faults.zoo import SIDE, TWICE, Record

CASES = {f"encode {name}": (Verb.ENCODE, cage) for name, cage in {**CAGES, **ARRAYS}.items()}
CASES |= {f"encode vectors, {name}": (Verb.ENCODE, cage) for name, cage in VECTORS.items()}
_IMAGES_OUT = {
    Verb.RECONSTRUCT: ("webdataset", "parquet, binary", "folder"),
    Verb.DENOISE: ("tfrecord", "parquet", "folder"),
}
CASES |= {f"{verb} {name}": (verb, CAGES[name]) for verb, names in _IMAGES_OUT.items() for name in names}
CASES |= {"reconstruct npz": (Verb.RECONSTRUCT, ARRAYS["npz"])}
CASE = pytest.mark.parametrize("case", CASES)
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
        return visits.visit(
            verb, cage, bundles["vectors" if "vectors" in case else "grey"], tmp_path_factory.mktemp("zoo")
        )

    return of


# ---- bad records


def _each_bad_one() -> Iterator[Any]:
    for case, (verb, cage) in CASES.items():
        for at, record in enumerate(visits.herd(verb, cage)):
            if record.bad:
                yield pytest.param(case, at, id=f"{case}: {record.name}")


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
    reasons = {record.bad.reason for _, cage in CASES.values() for record in cage.records() if record.bad}
    elsewhere = {Reason.DAMAGED_SHARD, Reason.CORRUPT_RECORD, Reason.UNWRITABLE_IMAGE}  # of shards, and of an option
    assert reasons == set(Reason) - elsewhere


# ---- good ones


@CASE
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


@CASE
def test_the_model_is_given_the_pixels_that_were_drawn(case: str, visit: Visits) -> None:
    """And what comes of it is no more and no less: a latent that is the input, or an image without an error."""
    seen = visit(case)
    table = rows(seen.mixed, seen.table)
    for row, (_, record) in zip(table, seen.results(seen.records), strict=True):
        assert record.pixels is not None
        if "latent" in row:
            np.testing.assert_allclose(row["latent"], record.pixels.ravel(), atol=1e-6, err_msg=record.name)
        if seen.verb is not Verb.ENCODE:
            assert row["mse"] == 0, record.name


@pytest.mark.parametrize("case", [case for case, (verb, _) in CASES.items() if verb is not Verb.ENCODE])
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


@pytest.mark.parametrize("case", [case for case, (_, cage) in CASES.items() if cage.keys])
def test_records_of_one_key_are_all_there(case: str, visit: Visits) -> None:
    seen = visit(case)
    found = [[row["key"] for row in rows(seen.mixed, name)] for name in (seen.table, "rejects")]
    assert [sum(key.partition(".")[0] == TWICE for key in keys) for keys in found] == [2, 2]


# ---- counts and names


@CASE
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


@CASE
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
    if seen.verb is Verb.ENCODE:
        return set()
    return {seen.cage.shard.rpartition(".")[0] or seen.cage.name(record) for record in seen.good}


# ---- shards and summaries


def test_arrays_of_another_shape(bundles: dict[str, str], tmp_path: Path) -> None:
    """Rows that are images of another size are rejects; an array whose rows are no images is a damaged shard."""
    (tmp_path / "in").mkdir()
    good = np.random.default_rng(0).random((5, SIDE, SIDE)).astype(np.float32)
    shards = {"a": good, "b": good[:, :-1], "c": good[0, 0], "d": good.astype(np.int64), "e": good[None, None]}
    for name, array in shards.items():
        np.save(tmp_path / f"in/{name}.npy", array)
    counters = visits.run(Verb.ENCODE, tmp_path / "in", bundles["grey"], tmp_path / "out")
    counted = {"records_read": 10, "results": 5, "rejects": 5, "rejects_wrong_size": 5}
    assert counters == {"units_done": 2, "units_failed": 3, **counted}
    assert not (tmp_path / "out/_SUCCESS").exists()
    (summary,) = (tmp_path / "out/_plan").glob("*/summary.json")
    assert [failed["error"] for failed in json.loads(summary.read_text())["failed"]] == [
        "c.npy: array 'image' has the shape (8,), not [n, d], [n, H, W] or [n, H, W, C]",
        "d.npy: array 'image' holds <i8; pixels must be uint8, uint16 or floating",
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


@pytest.mark.parametrize("verb", [Verb.ENCODE, Verb.RECONSTRUCT, Verb.DENOISE])
def test_what_a_header_claims_is_not_allocated(verb: Verb, bundles: dict[str, str], tmp_path: Path) -> None:
    """Two of these decode, to 120 and 200 MB; the others claim gigabytes."""
    cage = CAGES["parquet"]
    records = [record for record in cage.records() if record.bad is None or _is_large(record)]
    for name, some in (("good", cage.good()), ("mixed", records)):  # the first run makes what stays
        (tmp_path / name).mkdir()
        cage.write(tmp_path / name, some)
        _forget_peak()
        before = _memory("VmRSS")
        counters = visits.run(verb, tmp_path / name, bundles["grey"], tmp_path / f"{name}.out")
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
