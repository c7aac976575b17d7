"""The ArrayRecord writer, read by the library itself."""

import errno
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lake.core import sealed_json
from lake.core.errors import UsageError
from lake.formats.arrayrecord import library
from lake.formats.arrayrecord.latents import ArrayRecordWriter
from tests.lake.formats.arrayrecord.samples import at, options, sample, samples
from tests.lake.formats.latent_tables import (
    CAPTIONS,
    KEYS,
    LABELS,
    SHAPES,
    create_in,
    fixed,
    latent_of,
    of_many_shapes,
    written,
)

METADATA = {"latentlake.unit": "a/b", "latentlake.model_digest": "00"}
STAMPS = {"latentlake.fingerprint": "5e"}


def test_records_are_the_rows(tmp_path: Path) -> None:
    table, rows = fixed()
    files = written(ArrayRecordWriter("a/b", create_in(tmp_path), table, METADATA, STAMPS), rows)
    assert [(file.name, file.rows) for file in files] == [("a/b.arrayrecord", 4), ("a/b.json", 0)]
    numbers = np.arange(16, dtype=np.float32).reshape(4, 2, 2)
    found = list(samples(tmp_path / "a/b.arrayrecord"))
    for row, values in enumerate(found):
        np.testing.assert_array_equal(values.pop("latent"), numbers[row])
        np.testing.assert_array_equal(values.pop("latent_flip"), numbers[3 - row])
    same = {**STAMPS, "latent/type": "float32", "latent/shape": [2, 2], "latent_flip/shape": [2, 2]}
    wanted = zip(KEYS, CAPTIONS, LABELS, [0, 1, 5, 9], ["in/a.tar"] * 4, strict=True)
    names = ("key", "txt", "label", "index", "shard")
    there = [{name: value for name, value in zip(names, row, strict=True) if value is not None} for row in wanted]
    assert found == [{**row, **same} for row in there], "a null is no feature"
    assert sealed_json.loads((tmp_path / "a/b.json").read_bytes(), "b.json") == METADATA


def test_any_record_is_read_by_its_number(tmp_path: Path) -> None:
    table, rows = of_many_shapes()
    written(ArrayRecordWriter("x", create_in(tmp_path), table, METADATA), rows)
    assert "group_size:1," in options(tmp_path / "x.arrayrecord"), "what Grain asks for"
    for place, record in zip([3, 0, 2], at(tmp_path / "x.arrayrecord", [3, 0, 2]), strict=True):
        values = sample(record)
        assert values["index"] == [0, 1, 5, 9][place] and tuple(values["latent/shape"]) == SHAPES[place]
        assert (values["latent/type"], values["latent/scaling_factor"]) == ("float16", 0.5)
        assert values["latent"].dtype == np.float16
        np.testing.assert_array_equal(values["latent"], latent_of(place))


def test_equal_rows_give_equal_bytes_whatever_the_batches(tmp_path: Path) -> None:
    table, rows = of_many_shapes()
    one, other = (
        written(ArrayRecordWriter("x", create_in(tmp_path / str(step)), table, METADATA), rows, step) for step in (1, 3)
    )
    assert one == other
    assert (tmp_path / "1/x.arrayrecord").read_bytes() == (tmp_path / "3/x.arrayrecord").read_bytes()


def test_columns_make_way_for_what_is_said_of_latents(tmp_path: Path) -> None:
    table, rows = fixed()
    renamed = rows.rename_columns([{"label": "latent/type"}.get(name, name) for name in rows.schema.names])
    table = type(table)(schema=renamed.schema, names=table.names, shape=table.shape, said=table.said)
    written(ArrayRecordWriter("x", create_in(tmp_path), table, METADATA), renamed)
    first = next(samples(tmp_path / "x.arrayrecord"))
    assert (first["latent/type"], first["source_latent/type"]) == ("float32", 3)


def test_no_rows_no_files(tmp_path: Path) -> None:
    table, rows = fixed()
    assert written(ArrayRecordWriter("x", create_in(tmp_path), table, METADATA), rows.slice(0, 0)) == ()
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_left_of_what_is_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither under the final name nor among temporary files; a full store is such a case."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    table, rows = fixed()
    before = len([*Path("/proc/self/fd").iterdir()])
    writer = ArrayRecordWriter("x", create_in(tmp_path / "out"), table, METADATA)
    writer.write(rows)
    assert list(temporary.iterdir()) == []
    writer.abort()

    def full(name: str) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device", name)

    writer = ArrayRecordWriter("x", full, table, METADATA)
    writer.write(rows)
    with pytest.raises(OSError, match="No space left"):
        writer.publish()
    writer.abort()
    assert list(temporary.iterdir()) == [] and not (tmp_path / "out").exists()
    assert len([*Path("/proc/self/fd").iterdir()]) == before


def test_a_full_disk_of_temporary_files_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table, rows = fixed()
    monkeypatch.setattr("lake.formats.arrayrecord.latents.descriptor_path", lambda _: "/dev/full")
    writer = ArrayRecordWriter("x", create_in(tmp_path), table, METADATA)
    with pytest.raises(OSError, match=r"No space left on device.*TMPDIR"):
        written(writer, rows)
    writer.abort()
    assert list(tmp_path.iterdir()) == []


def test_without_the_library_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "array_record.python", None)
    with pytest.raises(UsageError, match=r"pip install 'latentlake\[arrayrecord\]'"):
        library.array_record_module()
