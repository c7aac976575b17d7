"""Archives written again and anew: what tarfile, tar and webdataset find in them."""

import gzip
import io
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from lake.core.errors import ShardError
from lake.core.records import OutputFile, Records, Shard, Unit
from lake.formats import FORMATS
from lake.formats.common.npy import npy_header
from lake.formats.reader import ColumnSelection, RecordSchema
from lake.formats.webdataset.writer import WebDatasetWriter
from lake.images.types import ImageFile
from tests.conftest import Pixels, png
from tests.lake.formats.rewriting import create_in, feed, rewrite
from tests.lake.formats.support import archive, rows, shard_of, special
from tests.lake.formats.webdataset.rewriting import Members, anew, found_in, new

READER = FORMATS["webdataset"].reader


JPEG = b"\xff\xd8\xff\xe0 jpeg"


def again(shard: Shard, root: Path, *, suffix: str = "png", **options: Any) -> OutputFile:
    columns = READER.settle(shard, ColumnSelection(whole=True, **options.pop("request", {})))
    return rewrite("webdataset", shard, columns, root, lambda i: ImageFile(data=new(i).data, suffix=suffix), **options)


def dataset(count: int) -> Members:
    """Samples with sidecars around the image, of sizes at and between the edges of blocks."""
    members: Members = []
    for i in range(count):
        key = f"d{i % 3}/{i:04d}"
        members += [(f"{key}.json", b'{"i": %d}' % i), (f"{key}.png", b"old %d" % i)]
        members += [(f"{key}.seg.PNG", bytes(i % 1030))] + [(f"{key}.cls", b"%d" % i)] * (i % 2)
    return members


def replaced(members: Members) -> Members:
    """What must become of ``dataset``."""
    return [(name, new(int(data[4:])).data if data.startswith(b"old") else data) for name, data in members]


def theirs(path: Path) -> list[dict[str, Any]]:
    """What webdataset reads and decodes."""
    from webdataset import autodecode, tariterators

    decoder = autodecode.Decoder([autodecode.imagehandler("pil")])
    with path.open("rb") as stream:
        files = ({**file, "__url__": "x"} for file in tariterators.tar_file_iterator(stream))
        return [decoder(sample) for sample in tariterators.group_by_keys(files)]


@pytest.mark.parametrize("format", ["ustar", "gnu", "pax"])
@pytest.mark.parametrize("name", ["a.tar", "b.tar.gz", "c.tgz", "d"])
def test_every_member_but_the_image_is_as_it_was(tmp_path: Path, format: str, name: str) -> None:
    data = archive(dataset(120), format)
    packed = name.endswith("gz")
    shard = shard_of(tmp_path / name, gzip.compress(data) if packed else data)
    output = again(shard, tmp_path / "out")
    assert (output.name, output.rows) == (name, 120)
    assert found_in(tmp_path / "out" / name) == replaced(dataset(120))
    assert (tmp_path / "out" / name).read_bytes().startswith(b"\x1f\x8b") == packed


def test_gzip_by_content_whatever_the_name(tmp_path: Path) -> None:
    shard = shard_of(tmp_path / "a.tar", gzip.compress(archive(dataset(3))))
    again(shard, tmp_path / "out")
    assert gzip.decompress((tmp_path / "out/a.tar").read_bytes())[:4] == b"d0/0"


@pytest.mark.parametrize("format", ["gnu", "pax"])
def test_an_archive_by_tar_with_long_names_and_directories(tmp_path: Path, format: str) -> None:
    deep, long = "/".join(["directory"] * 13), "é" * 80
    keys = [f"{deep}/a", f"x/{long}", f"{deep}/{'n' * 99}", "y/short"]
    before = [(f"{key}.{name}", data) for key in keys for name, data in (("png", b"old"), ("txt", key.encode()))]
    for name, data in before:
        (tmp_path / "files" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "files" / name).write_bytes(data)
    names = [name for name, _ in before]
    with_directory = ["-C", tmp_path / "files", "--no-recursion", deep, *names]
    subprocess.run(["tar", f"--format={format}", "-cf", tmp_path / "a.tar", *with_directory], check=True)
    again(shard_of(tmp_path / "a.tar"), tmp_path / "out")
    after = [(name, new(i // 2).data if data == b"old" else data) for i, (name, data) in enumerate(before)]
    assert found_in(tmp_path / "out/a.tar") == after
    command = ["tar", "--quoting-style=literal", "-tf", tmp_path / "out/a.tar"]
    listed = subprocess.run(command, check=True, capture_output=True, text=True)
    assert (listed.stdout.splitlines(), listed.stderr) == (names, "")


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz"])
def test_webdataset_finds_its_own_samples_again(tmp_path: Path, digits: Pixels, labels: Any, name: str) -> None:
    import webdataset

    with webdataset.TarWriter(str(tmp_path / name)) as writer:
        for i in range(40):
            sidecars = {"cls": int(labels[i]), "json": {"i": i}, "txt": f"ziffer nº {i}"}
            writer.write({"__key__": f"d/{i:05d}", "png": png(digits[i]), **sidecars})
    made = [ImageFile(data=png(255 - image), suffix="png") for image in digits[:40]]
    shard = shard_of(tmp_path / name)
    rewrite(
        "webdataset",
        shard,
        READER.settle(shard, ColumnSelection(whole=True)),
        tmp_path / "out",
        made.__getitem__,
        size=7,
    )
    found = theirs(tmp_path / "out" / name)
    assert [(s["__key__"], s["cls"], s["json"], s["txt"]) for s in found] == [
        (f"d/{i:05d}", labels[i], {"i": i}, f"ziffer nº {i}") for i in range(40)
    ]
    assert np.array_equal([np.asarray(s["png"].convert("L")) for s in found], 255 - digits[:40])


@pytest.mark.parametrize(
    ("name", "suffix", "original", "expected"),
    [
        ("a.jpg", "png", JPEG, "a.png"),
        ("a.JPG", "png", JPEG, "a.png"),
        ("d.x/a.jpeg", "png", JPEG, "d.x/a.png"),
        ("a.jpeg", "jpg", JPEG, "a.jpeg"),
        ("a.JPEG", "jpg", JPEG, "a.JPEG"),
        ("a.tiff", "tif", b"II*\0", "a.tiff"),
        ("a.noisy.jpg", "png", JPEG, "a.noisy.png"),
        ("a.v1.noisy.Jpg", "webp", JPEG, "a.v1.noisy.webp"),
        ("a.img", "png", JPEG, "a.img"),  # names no format
        ("a.jpg", "png", b"\x89PNG\r\n\x1a\n", "a.jpg"),  # the format has not changed, whatever the name says
        ("a.png", "png", JPEG, "a.png"),
        ("a.npy", "png", npy_header(np.dtype("u1"), (1, 1)) + b"x", "a.png"),
        ("a.bmp", "tif", b"BM", "a.tif"),
    ],
)
def test_the_extension_changes_where_the_format_does(
    tmp_path: Path, name: str, suffix: str, original: bytes, expected: str
) -> None:
    extension = name.rpartition("/")[2].partition(".")[2]
    stem = name.removesuffix(extension)
    shard = shard_of(tmp_path / "a.tar", archive([(name, original), (f"{stem}txt", b"t")]))
    again(shard, tmp_path / "out", suffix=suffix, request={"image": extension})
    assert found_in(tmp_path / "out/a.tar") == [(expected, new(0).data), (f"{stem}txt", b"t")]


def test_a_name_that_another_member_has_is_not_taken(tmp_path: Path) -> None:
    members = [("a.jpg", JPEG), ("a.PNG", b"mask"), ("b.jpg", JPEG), ("b.x.png", b"mask")]
    shard = shard_of(tmp_path / "a.tar", archive(members))
    again(shard, tmp_path / "out", request={"image": "jpg"})
    found = found_in(tmp_path / "out/a.tar")
    assert found == [("a.jpg", new(0).data), ("a.PNG", b"mask"), ("b.png", new(1).data), ("b.x.png", b"mask")]


def test_rejects_and_what_belongs_to_no_sample_are_missing(tmp_path: Path) -> None:
    members: list[tuple[str | tarfile.TarInfo, bytes]] = [(special("d", tarfile.DIRTYPE), b""), *dataset(20)]
    members += [("d/._x.png", b"hidden"), ("no-image.txt", b"x"), (special("z.png", tarfile.SYMTYPE), b"")]
    shard = shard_of(tmp_path / "a.tar", archive(members))
    output = again(shard, tmp_path / "out", drop={0, 5, 19})
    gone = {"d0/0000", "d2/0005", "d1/0019"}
    assert found_in(tmp_path / "out/a.tar") == [m for m in replaced(dataset(20)) if m[0].partition(".")[0] not in gone]
    assert output.rows == 17


def test_vectors_make_place_for_images(tmp_path: Path) -> None:
    vector = io.BytesIO()
    np.save(vector, np.ones(3))
    shard = shard_of(tmp_path / "a.tar", archive([("a.cls", b"1"), ("a.npy", vector.getvalue()), ("a.txt", b"t")]))
    again(shard, tmp_path / "out", request={"numeric": True})
    assert found_in(tmp_path / "out/a.tar") == [("a.cls", b"1"), ("a.png", new(0).data), ("a.txt", b"t")]


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz"])
def test_bytes_do_not_depend_on_batches(tmp_path: Path, name: str) -> None:
    data = archive([*dataset(200), ("big.png", b"b"), ("big.bin", np.random.default_rng(0).bytes(3 << 20))])
    shard = shard_of(tmp_path / name, gzip.compress(data) if name.endswith("gz") else data)
    outputs = [again(shard, tmp_path / f"{size}", size=size) for size in (1, 7, 64, 1000)]
    assert len({(tmp_path / f"{size}" / name).read_bytes() for size in (1, 7, 64, 1000)}) == 1
    assert len({output.crc32c for output in outputs}) == 1


def test_what_is_written_again_is_read_again(tmp_path: Path) -> None:
    shard = shard_of(tmp_path / "a.tar", archive(dataset(50)))
    again(shard, tmp_path / "out")
    written = shard_of(tmp_path / "out/a.tar")
    columns = READER.settle(written, ColumnSelection())
    (batch,) = READER.read(Unit(id="a", format="webdataset", shards=(written,)), columns, 64)
    assert [(row["key"], row["payload"], row["json"]) for row in rows([batch.records()])] == [
        (f"d{i % 3}/{i:04d}", new(i).data, f'{{"i": {i}}}') for i in range(50)
    ]


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz"])
@pytest.mark.parametrize("whole", [True, False])
def test_an_aborted_archive_leaves_nothing(tmp_path: Path, name: str, whole: bool) -> None:
    data = archive(dataset(5))
    shard = shard_of(tmp_path / name, gzip.compress(data) if name.endswith("gz") else data)
    columns = READER.settle(shard, ColumnSelection(whole=whole))
    unit = Unit(id="a", format="webdataset", shards=(shard,))
    format = WebDatasetWriter(columns, whole)
    writer = format.begin(unit, create_in(tmp_path / "out"))
    feed(writer, format, unit, columns, new)
    writer.abort()
    assert list((tmp_path / "out").iterdir()) == []


def test_a_shard_that_is_gone_is_named(tmp_path: Path) -> None:
    shard = Shard(uri=str(tmp_path / "gone.tar"), path="x/gone.tar", size=1, identity="1")
    columns = RecordSchema(image="png", key=None, carry=pa.schema([]), numeric=False, max_record_bytes=1, whole=True)
    with pytest.raises(ShardError, match=r"x/gone\.tar"):
        WebDatasetWriter(columns, True).begin(
            Unit(id="a", format="webdataset", shards=(shard,)), create_in(tmp_path / "out")
        )


@pytest.fixture
def digits_anew(tmp_path: Path, digit_files: list[bytes], labels: Any) -> Path:
    records = Records(
        shard="x",
        index=np.arange(30),
        key=pa.array([f"digit {i}" for i in range(30)]),
        payload=pa.array(digit_files[:30]),
        carried={"label": pa.array(labels[:30])},
    )
    output = anew(tmp_path, [(records, [ImageFile(data=data, suffix="png") for data in digit_files[:30]], range(30))])
    return tmp_path / output.name


def test_webdataset_reads_what_is_written_anew(digits_anew: Path, digits: Pixels, labels: Any) -> None:
    found = theirs(digits_anew)
    assert [(sample["__key__"], sample["cls"], sample["json"]) for sample in found] == [
        (f"{i:08d}", labels[i], {"key": f"digit {i}", "label": labels[i]}) for i in range(30)
    ]
    assert np.array_equal([np.asarray(sample["png"].convert("L")) for sample in found], digits[:30])


@pytest.mark.filterwarnings("ignore")  # its own: it leaves files to the garbage collector
def test_datasets_reads_what_is_written_anew(digits_anew: Path, digits: Pixels, labels: Any, tmp_path: Path) -> None:
    import datasets

    cache = str(tmp_path / "cache")
    found = datasets.load_dataset("webdataset", data_files=str(digits_anew), split="train", cache_dir=cache)
    assert found["cls"][:] == labels[:30].tolist()
    assert np.array_equal([np.asarray(image) for image in found["png"]], digits[:30])
