"""What sources say of themselves: the index files that other projects' tools leave."""

import json
from pathlib import Path
from typing import Any

import pytest

from lake.core.errors import InputError
from lake.core.records import Shard, Unit
from lake.inputs.discover import Found
from lake.inputs.expected import Expected, find_expected


def found(*paths: str, format: str = "webdataset") -> Found:
    shards = [Shard(uri=f"/in/{path}", path=path, size=1, identity="1") for path in paths]
    return Found(root="/in", format=format, shards=shards)


def expected(tmp_path: Path, value: Any, *paths: str, name: str = "counts.json", format: str = "webdataset") -> Any:
    (tmp_path / name).write_text(json.dumps(value))
    return find_expected(str(tmp_path / name), found(*paths, format=format)).shards


def test_a_number_is_the_sum() -> None:
    assert find_expected("60000", found("a.tar")) == Expected(total=60000)


def test_a_plain_mapping(tmp_path: Path) -> None:
    assert expected(tmp_path, {"x/a.tar": 3, "b": 4}, "x/a.tar", "x/b.tar") == {"x/a.tar": 3, "x/b.tar": 4}


def test_the_index_of_webdataset(tmp_path: Path) -> None:
    # https://github.com/webdataset/webdataset, wids: {"shardlist": [{"url": ..., "nsamples": ...}]}
    shards = [{"url": "a-0.tar", "nsamples": 5}, {"url": "gs://b/a-1.tar", "nsamples": 6}]
    value = {"wids_version": 1, "shardlist": shards}
    assert expected(tmp_path, value, "a-0.tar", "a-1.tar") == {"a-0.tar": 5, "a-1.tar": 6}


def test_the_statistics_of_img2dataset(tmp_path: Path) -> None:
    for number, count in ((0, 7), (1, 9)):
        value = {"count": 10, "successes": count, "failed_to_download": 10 - count}
        (tmp_path / f"0000{number}_stats.json").write_text(json.dumps(value))
    told = find_expected(f"{tmp_path}/*_stats.json", found("00000.tar", "00001.tar"))
    assert told.shards == {"00000.tar": 7, "00001.tar": 9}


@pytest.mark.parametrize("template", [None, "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"])
def test_the_description_of_tensorflow_datasets(tmp_path: Path, template: str | None) -> None:
    split = {"name": "train", "shardLengths": ["8", "9"], **({"filepathTemplate": template} if template else {})}
    paths = [f"mnist-train.tfrecord-0000{number}-of-00002" for number in range(2)]
    value = {"name": "mnist", "fileFormat": "tfrecord", "splits": [split]}
    assert expected(tmp_path, value, *paths, format="tfrecord") == dict(zip(paths, (8, 9), strict=True))


@pytest.mark.parametrize(
    ("value", "paths", "text"),
    [
        ({"a.tar": 1, "c.tar": 2}, ("a.tar",), r"2 records of 'c.tar', which is no shard of the input"),
        ({"a.tar": 1}, ("a.tar", "b.tar"), "does not say how many records b.tar has"),
        ({"a.tar": 1}, ("x/a.tar", "y/a.tar"), "may be x/a.tar or y/a.tar"),
        ({"a.tar": -1}, ("a.tar",), "negative"),
        ({"a.tar": "many"}, ("a.tar",), "not a JSON file that counts records"),
        ([1, 2], ("a.tar",), "not a JSON file that counts records"),
    ],
)
def test_what_is_refused(tmp_path: Path, value: Any, paths: tuple[str, ...], text: str) -> None:
    with pytest.raises(InputError, match=text):
        expected(tmp_path, value, *paths)


def test_a_file_of_a_folder_is_one_record(tmp_path: Path) -> None:
    files = ("a/1.png", "a/2.png")
    assert expected(tmp_path, dict.fromkeys(files, 1), *files, format="folder") == dict.fromkeys(files, 1)
    for count in (0, 2):
        with pytest.raises(InputError, match=rf"counts {count} records of 'a/2.png', and an image file is one"):
            expected(tmp_path, {"a/1.png": 1, "a/2.png": count}, *files, format="folder")


def test_slices_share_the_records_of_their_shard() -> None:
    (shard,) = found("a.parquet", format="parquet").shards
    units = [
        Unit(id=f"a-{number:05d}-of-00002", format="parquet", shards=(shard,), start=start, stop=stop)
        for number, (start, stop) in enumerate([(0, 60), (60, 100)])
    ]
    # Two more than there are: the last slice will miss them.
    assert [unit.expected for unit in Expected(shards={"a.parquet": 102}).tell(units)] == [60, 42]


def test_a_group_has_the_records_of_all_its_files() -> None:
    files = found("a/1.png", "a/2.png", format="folder").shards
    (unit,) = Expected(shards={"a/1.png": 1, "a/2.png": 1}).tell([Unit(id="a", format="folder", shards=files)])
    assert unit.expected == 2
