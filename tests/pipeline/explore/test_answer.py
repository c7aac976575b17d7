"""The answers of an output, which are alike: each has a table, and is read as one."""

import copy
import pickle
import sys

import polars as pl
import pyarrow as pa
import pytest

from lake.core.errors import UsageError
from pipeline.explore.output import Output
from tests.pipeline.explore.values import clustered, make_output


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Output:
    return Output(make_output(tmp_path_factory.mktemp("answers") / "o", clustered(300, 4)))


@pytest.mark.parametrize(
    "ask",
    [
        lambda output: output.similar("k3", k=2),
        lambda output: output.outliers(top=4),
        lambda output: output.duplicates(threshold=0.5),
        lambda output: output.compare(output),
    ],
    ids=["similar", "outliers", "duplicates", "compare"],
)
def test_every_answer_is_read_as_a_table(output: Output, ask) -> None:
    found = ask(output)
    assert isinstance(found.table, pa.Table)
    assert len(found) == len(found.table) == len(found.to_pylist()) == len(found.to_pandas())
    assert pa.table(found).equals(found.table)
    assert pl.DataFrame(found).columns == found.table.column_names


def test_without_pandas(output: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    for answer in (output, output.outliers(top=4), output.duplicates(threshold=0.5)):
        with pytest.raises(UsageError, match=r"to_pandas needs pandas, which is not installed; \.table"):
            answer.to_pandas()


def test_neighbours_have_what_a_table_has(output: Output) -> None:
    """As before there was an object, code that takes columns of them goes on."""
    found = output.similar("k3", k=5)
    assert found.column("distance").equals(found.table.column("distance"))
    assert found.column_names == found.table.column_names
    assert found["rank"].to_pylist() == [1, 2, 3, 4, 5]
    assert str(found.metric) == "l2"
    for again in (copy.copy(found), pickle.loads(pickle.dumps(found))):
        assert again.table.equals(found.table)
    with pytest.raises(AttributeError, match="nearest"):
        _ = found.nearest
