"""``_job.json``: what an output was made with comes back, and nothing else is mixed into it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from lake.core import sealed_json
from lake.core.errors import OutputError, VerifyError
from lake.formats.reader import ColumnSelection
from lake.images.types import Target
from pipeline.config import NoiseLevel, options_digest
from pipeline.output.layout import Layout
from pipeline.output.manifest.manifest import write_manifest
from pipeline.output.state.job_file import check_job_file, check_receipts, read_job_file, settled_schema, write_job_file
from tests.pipeline.values import COLUMNS, make_config, make_receipt

SELECTION = ColumnSelection(carry=("label",), max_record_bytes=1 << 20)
OPTIONS = {"verb": "encode", "model": "/m"}


def test_what_is_written_comes_back(tmp_path: Path) -> None:
    config = make_config(tmp_path)
    write_job_file(config, SELECTION, OPTIONS)
    found = read_job_file(str(tmp_path))
    assert found == sealed_json.loads((tmp_path / "_job.json").read_bytes(), "")
    assert found is not None
    assert found.pop("columns").keys() == {"image", "key", "numeric", "length", "max_record_bytes", "carry"}
    assert found == {
        "options_digest": options_digest(config),
        "options": config.options(),
        "request": {
            "image": None,
            "key": None,
            "carry": ["label"],
            "numeric": False,
            "max_record_bytes": 1 << 20,
            "length": None,
        },
        "settings": OPTIONS,
    }


@pytest.mark.parametrize(
    "columns",
    [
        COLUMNS,
        replace(COLUMNS, key=None, numeric=True, length=5, max_record_bytes=7),
        replace(
            COLUMNS,
            carry=pa.schema(
                [
                    pa.field("é", pa.dictionary(pa.int32(), pa.string()), nullable=False),
                    pa.field("b", pa.list_(pa.float32()), metadata={"a": "b"}),
                ],
                metadata={"x": "y"},
            ),
        ),
    ],
)
def test_the_columns_last(tmp_path: Path, columns: Any) -> None:
    write_job_file(make_config(tmp_path, columns=columns), SELECTION, OPTIONS)
    found = read_job_file(str(tmp_path))
    schema = settled_schema(found, SELECTION)
    assert schema == columns
    assert schema is not None
    assert schema.carry.equals(columns.carry, check_metadata=True)
    assert settled_schema(None, SELECTION) is None


def test_what_outputs_say_of_a_whole_shard_never_changes(tmp_path: Path) -> None:
    """Only where it is asked for: outputs that are older than the option do not say it."""
    for whole in (False, True):
        write_job_file(make_config(tmp_path), replace(SELECTION, whole=whole), OPTIONS)
        found = read_job_file(str(tmp_path))
        assert found is not None
        assert found["request"].get("whole") is (True if whole else None)


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("salvage", [False, True])
def test_what_is_kept_of_a_shard_is_the_runs_own_matter(tmp_path: Path, whole: bool, salvage: bool) -> None:
    selection = replace(SELECTION, whole=whole)
    write_job_file(make_config(tmp_path), selection, OPTIONS)
    asked = replace(selection, salvage=salvage)
    assert settled_schema(read_job_file(str(tmp_path)), asked) == replace(COLUMNS, whole=whole, salvage=salvage)


@pytest.mark.parametrize(
    "changes",
    [
        {"image": "x"},
        {"key": "x"},
        {"carry": None},
        {"carry": ()},
        {"carry": ("label", "x")},
        {"numeric": True},
        {"max_record_bytes": 5},
        {"length": 5},
        {"whole": True},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_another_selection_is_settled_anew(tmp_path: Path, changes: dict[str, Any]) -> None:
    write_job_file(make_config(tmp_path), SELECTION, OPTIONS)
    found = read_job_file(str(tmp_path))
    other = replace(SELECTION, **changes)
    assert settled_schema(found, other) is None
    write_job_file(make_config(tmp_path), other, OPTIONS)
    assert settled_schema(read_job_file(str(tmp_path)), other) is not None


def test_what_is_no_output_is_refused(tmp_path: Path) -> None:
    assert read_job_file(str(tmp_path / "new")) is None
    assert read_job_file(str(tmp_path)) is None
    Path(Layout(str(tmp_path)).lease).write_bytes(b"of a run that has just begun")
    assert read_job_file(str(tmp_path)) is None
    file = tmp_path / "precious"
    file.write_bytes(b"1")
    with pytest.raises(OutputError, match="is not empty and not an output of this job; name another directory"):
        read_job_file(str(tmp_path))
    with pytest.raises(OutputError, match="precious is a file; name a directory"):
        read_job_file(str(file))


def test_an_output_that_lost_its_file_is_still_one(tmp_path: Path) -> None:
    write_manifest(Layout(str(tmp_path)), [])
    (tmp_path / "latents").mkdir()
    (tmp_path / "latents/a.parquet").write_bytes(b"1")
    assert read_job_file(str(tmp_path)) is None


def test_a_damaged_one_is_an_error(tmp_path: Path) -> None:
    write_job_file(make_config(tmp_path), SELECTION, OPTIONS)
    path = tmp_path / "_job.json"
    path.write_bytes(path.read_bytes().replace(b"label", b"babel"))
    with pytest.raises(VerifyError, match=r"_job\.json: damaged"):
        read_job_file(str(tmp_path))


@pytest.mark.parametrize("latents", ["int8", ["code"], {"names": "code"}, {"names": [1]}, {"format": 3}])
def test_latents_of_another_form_are_damage(tmp_path: Path, latents: object) -> None:
    """Sealed anew, so that the checksum is right."""
    write_job_file(make_config(tmp_path), SELECTION, OPTIONS)
    path = tmp_path / "_job.json"
    found = sealed_json.loads(path.read_bytes(), "")
    path.write_bytes(sealed_json.dumps({**found, "options": {**found["options"], "latents": latents}}))
    with pytest.raises(VerifyError, match=r"_job\.json: damaged .*latents"):
        read_job_file(str(tmp_path))


def test_other_options_are_not_mixed(tmp_path: Path) -> None:
    config = make_config(tmp_path)
    write_job_file(config, SELECTION, OPTIONS)
    found = read_job_file(str(tmp_path))
    check_job_file(None, config, False)
    check_job_file(found, config, False)
    check_job_file(found, replace(config, threads=5, run="other"), False)
    other = replace(config, target=Target(shape=(4, 4, 1)), reject_bytes=7, variance=True)
    check_job_file(found, other, True)
    with pytest.raises(OutputError) as caught:
        check_job_file(found, other, False)
    assert str(caught.value) == (
        f"{tmp_path} was made with other options (target.shape [8, 8, 1] -> [4, 4, 1], reject_bytes 100 -> 7, "
        "variance None -> True); name another --output, or replace what it holds with --overwrite"
    )


def test_options_that_are_not_asked_for_any_more_are_named_too(tmp_path: Path) -> None:
    noisy = make_config(tmp_path, noise=NoiseLevel(level=5.0), variance=True)
    write_job_file(noisy, SELECTION, OPTIONS)
    with pytest.raises(OutputError) as caught:
        check_job_file(read_job_file(str(tmp_path)), make_config(tmp_path), False)
    assert "(variance True -> None, noise.level 5.0 -> None, noise.estimate False -> None)" in str(caught.value)


def test_without_a_file_the_units_say_what_they_were_made_with(tmp_path: Path) -> None:
    config = make_config(tmp_path)
    mine = {name: make_receipt(name, options=options_digest(config)) for name in ("a", "b")}
    check_receipts({}, config)
    check_receipts(mine, config)
    with pytest.raises(OutputError, match=r"has lost its _job\.json, and unit 'c' was made with another model"):
        check_receipts({**mine, "c": make_receipt("c")}, config)
