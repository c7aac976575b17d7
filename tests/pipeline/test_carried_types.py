"""Columns of any type through whole jobs: a night finds what the last one left, and values are those of the input."""

import base64
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lake.core import sealed_json
from pipeline.beam.launch import launch
from pipeline.config import Gate
from pipeline.options.job_options import JobOptions
from pipeline.output.state.job_file import read_job_file
from pipeline.output.verify import verify
from tests.conftest import Model, Pixels, png

ROWS = 12
COLUMNS: dict[str, pa.Array] = {
    "fixed": pa.array([[at, at + 1] for at in range(ROWS)], pa.list_(pa.float32(), 2)),
    "never_null": pa.array([[at] for at in range(ROWS)], pa.list_(pa.field("v", pa.int8(), nullable=False), 1)),
    "map": pa.array([[("a", at)] for at in range(ROWS)], pa.map_(pa.string(), pa.int32())),
    "sorted_map": pa.array([[("a", at)] for at in range(ROWS)], pa.map_(pa.string(), pa.int32(), keys_sorted=True)),
    "nested": pa.array(
        [[{"m": [("a", [0.5, at])]}] for at in range(ROWS)],
        pa.list_(pa.struct([("m", pa.map_(pa.string(), pa.list_(pa.float32(), 2)))])),
    ),
    "views": pa.array([{"a": [f"v{at}"]} for at in range(ROWS)], pa.struct([("a", pa.list_(pa.string_view()))])),
    "half": pa.array([at / 2 for at in range(ROWS)], pa.float16()),
}


def write(file: Path, table: pa.Table) -> None:
    """A shard, as Parquet or as an Arrow file."""
    file.parent.mkdir(exist_ok=True)
    if file.suffix == ".parquet":
        pq.write_table(table, file)
        return
    with pa.ipc.new_file(str(file), table.schema) as out:
        out.write_table(table)


# Of the records, one in each shard is a reject: the rows of the others are picked.
@pytest.mark.parametrize("suffix", ["parquet", "arrow"])
def test_every_type_is_carried_and_an_output_is_known_again(
    tmp_path: Path, model: Model, digits: Pixels, suffix: str
) -> None:
    images = [b"junk" if at in (2, 8) else png(digits[at]) for at in range(ROWS)]
    table = pa.table({"image": pa.array(images, pa.binary()), **COLUMNS})

    def run() -> dict[str, Any]:
        chosen = JobOptions(
            verb="encode",
            input=(str(tmp_path / "in"),),
            model=model.bundle,
            output=str(tmp_path / "out"),
            carry=tuple(COLUMNS),
            gate=Gate(max_reject_fraction=1),
        )
        return launch(chosen, [])

    write(tmp_path / f"in/a.{suffix}", table.slice(0, 6))
    assert run()["run"]["units"] == 1
    assert verify(str(tmp_path / "out"), deep=True).problems == ()
    assert run()["run"]["units"] == 0, "nothing has changed"
    write(tmp_path / f"in/b.{suffix}", table.slice(6))
    assert run()["run"]["units"] == 1
    assert verify(str(tmp_path / "out"), deep=True).problems == ()
    found = pa.concat_tables(map(pq.read_table, sorted((tmp_path / "out/latents").glob("*.parquet"))))
    for name, column in COLUMNS.items():
        wanted = [value for at, value in enumerate(column.to_pylist()) if at not in (2, 8)]
        assert found.column(name).to_pylist() == wanted


def test_an_output_of_before_goes_on(tmp_path: Path, model: Model, digits: Pixels) -> None:
    """Its job file has the types as the first shard had them, and its receipts as they were on workers."""
    table = pa.table({"image": pa.array([png(digit) for digit in digits[:ROWS]], pa.binary()), **COLUMNS})
    chosen = JobOptions(
        verb="encode",
        input=(str(tmp_path / "in"),),
        model=model.bundle,
        output=str(tmp_path / "out"),
        carry=("never_null", "map"),
    )
    write(tmp_path / "in/a.parquet", table.slice(0, 6))
    launch(chosen, [])
    first = pq.read_schema(tmp_path / "in/a.parquet").remove_metadata()
    carry = pa.schema([first.field(name) for name in chosen.carry or ()])
    job_file = dict(read_job_file(chosen.output) or {})
    options = job_file["options"]
    texts = [[field.name, str(field.type)] for field in carry]
    assert texts != options["columns"]["carry"]
    job_file |= {
        "options": {**options, "columns": {**options["columns"], "carry": texts}},
        "options_digest": "0" * 64,
        "columns": {**job_file["columns"], "carry": base64.b64encode(carry.serialize().to_pybytes()).decode()},
    }
    (tmp_path / "out/_job.json").write_bytes(sealed_json.dumps(job_file))
    write(tmp_path / "in/b.parquet", table.slice(6))
    assert launch(chosen, [])["run"]["units"] == 1
    assert verify(chosen.output, deep=True).problems == ()
