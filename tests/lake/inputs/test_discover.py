from pathlib import Path

import pytest

from lake.core.errors import InputError
from lake.inputs.discover import find_shards
from lake.inputs.passed_over import PassedOver, Why


def make(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


def paths(root: Path, *inputs: str, format: str = "auto") -> list[str]:
    return [shard.path for shard in find_shards([f"{root}/{i}" if i else str(root) for i in inputs], format).shards]


TREE = ("a/1.parquet", "a/b/2.parquet", "c/3.parquet", "notes.txt", "_logs/4.parquet", "a/.hidden/5.parquet")


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        ([""], ["a/1.parquet", "a/b/2.parquet", "c/3.parquet"]),
        (["a"], ["1.parquet", "b/2.parquet"]),
        (["a", "c"], ["a/1.parquet", "a/b/2.parquet", "c/3.parquet"]),
        (["a", "a/b"], ["1.parquet", "b/2.parquet"]),
        (["a/1.parquet"], ["1.parquet"]),
        (["a/1.parquet", "c/3.parquet"], ["a/1.parquet", "c/3.parquet"]),
        (["*/*.parquet"], ["a/1.parquet", "c/3.parquet"]),
        (["**/*.parquet"], ["a/1.parquet", "a/b/2.parquet", "c/3.parquet"]),
        (["a/**"], ["1.parquet", "b/2.parquet"]),
        (["?/[13].parquet"], ["a/1.parquet", "c/3.parquet"]),
        (["?/[!1].parquet"], ["c/3.parquet"]),
    ],
)
def test_inputs(tmp_path: Path, inputs: list[str], expected: list[str]) -> None:
    make(tmp_path, *TREE)
    assert paths(tmp_path, *inputs) == expected


def test_files_that_are_no_shards_are_counted(tmp_path: Path) -> None:
    make(tmp_path, *TREE)
    assert find_shards([str(tmp_path)]).passed_over == {
        Why.UNKNOWN_FORMAT: PassedOver(count=1, examples=("notes.txt",)),
        Why.HIDDEN: PassedOver(count=2, examples=("_logs/", "a/.hidden/")),
    }


@pytest.mark.parametrize(
    ("names", "given", "text"),
    [
        ((), "none", "no such file or directory"),
        (("a/1.parquet",), "a/*.tar", "matches no file"),
        (("a/1.doc",), "a/*.doc", "no shard of a known format"),
        (("a/1.parquet", "a/2.tar"), "a", r"mixes formats \(1 parquet, 1 webdataset\).*--format=parquet"),
        (("a/1.doc",), "a/1.doc", "of no known format"),
        (("a/readme.doc",), "a", r"/a: no shard of a known format .* among 1 file$"),
    ],
)
def test_what_is_refused(tmp_path: Path, names: tuple[str, ...], given: str, text: str) -> None:
    make(tmp_path, *names)
    with pytest.raises(InputError, match=text):
        find_shards([f"{tmp_path}/{given}"])


def test_a_format_chosen_among_mixed_ones(tmp_path: Path) -> None:
    make(tmp_path, "1.parquet", "2.tar", "3.tfrecord")
    assert paths(tmp_path, "", format="webdataset") == ["2.tar"]


def test_relative_inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, *TREE)
    monkeypatch.chdir(tmp_path)
    assert [s.path for s in find_shards(["a"]).shards] == ["1.parquet", "b/2.parquet"]
    assert [s.path for s in find_shards(["."]).shards] == ["a/1.parquet", "a/b/2.parquet", "c/3.parquet"]
    assert [s.path for s in find_shards(["**/*.parquet"]).shards] == ["a/1.parquet", "a/b/2.parquet", "c/3.parquet"]
    assert [s.path for s in find_shards(["a/1.parquet", "c/3.parquet"]).shards] == ["a/1.parquet", "c/3.parquet"]
