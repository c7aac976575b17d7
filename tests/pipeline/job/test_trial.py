"""Records that are tried at launch: a model that fits nothing is refused, and nothing else is."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lake.core.errors import InputError
from lake.formats.parquet.reader import ParquetReader
from model.input_spec import Input
from pipeline.config import Gate
from pipeline.job.prepare import prepare
from pipeline.options.job_options import JobOptions, Scope
from tests.conftest import png, write_parquet
from tests.pipeline.job.conftest import VECTORS, Place

ANY = Input(shape=(64, 64, 1), dtype="uint8", value_range=(0.0, 1.0), color="gray", any_size=True, reach=8)


def image(size: int = 8, value: int = 7) -> bytes:
    return png(np.full((size, size), value, np.uint8))


@pytest.fixture
def source(place: Place) -> Path:
    for path in place.source.iterdir():
        path.unlink()
    return place.source


def shards(source: Path, *files: Sequence[bytes | None]) -> None:
    for number, shard in enumerate(files):
        write_parquet(source / f"{number:03d}.parquet", shard, range(len(shard)))


def refused(options: JobOptions) -> str:
    with pytest.raises(InputError) as caught:
        prepare(options)
    assert not Path(options.output).exists()
    assert caught.value.exit_status == 2
    return str(caught.value)


def test_a_model_of_another_size_is_refused(place: Place, source: Path) -> None:
    shards(source, *[[image(9)] * 30] * 20)
    assert refused(place.options()) == (
        "all of 64 records that were tried would be rejected, 64 as wrong_size, such as 000.parquet[0]: 9x9 pixels "
        "(height x width), the model takes 8x8; --resize changes sizes; or use a model of images of this size, or run "
        "the job all the same with --max-reject-fraction 1"
    )
    prepare(place.options(gate=Gate(max_reject_fraction=1.0)))


def test_the_most_frequent_reason_is_said(place: Place, source: Path) -> None:
    shards(source, [None, None, b"junk", *[image(9)] * 5, image(9), b""])
    assert "all of 10 records that were tried would be rejected, 6 as wrong_size" in refused(place.options())


def test_one_good_record_anywhere_is_enough(place: Place, source: Path) -> None:
    bad = [image(9)] * 30
    shards(source, *[bad] * 7, [*[image(9)] * 7, image(8)])
    prepare(place.options())


def test_few_records_say_nothing(place: Place, source: Path) -> None:
    shards(source, [image(9)] * 7)
    prepare(place.options())
    shards(source, [image(9)] * 8)
    refused(place.options())


def test_the_sample_is_spread_over_the_input(place: Place, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shards(source, *[[image(9)] * 3] * 40)
    read, opened = ParquetReader.read, []

    def noted(self: ParquetReader, unit: Any, *rest: Any) -> Iterator[Any]:
        opened.append(unit.id)
        yield from read(self, unit, *rest)

    monkeypatch.setattr(ParquetReader, "read", noted)
    refused(place.options())
    assert opened == [f"{number:03d}" for number in range(0, 40, 5)]
    opened.clear()
    shards(source, [image(8)])
    prepare(place.options())
    assert opened == ["000"], "nearly every job reads one record"


def test_a_directory_of_small_files_is_sampled_throughout(place: Place, source: Path) -> None:
    for number in range(200):
        (source / f"{number:03d}.png").write_bytes(image(9))
    assert "all of 6" in refused(place.options())
    for number in range(0, 200, 3):
        (source / f"{number:03d}.png").write_bytes(image(8))
    prepare(place.options())


def test_what_is_done_already_counts(place: Place, source: Path) -> None:
    """A night with nothing but bad records is none of a wrong model."""
    shards(source, [image(8)] * 3, *[[image(9)] * 30] * 3)
    prepare(place.options())


def test_a_repair_and_a_retry_try_nothing(place: Place, source: Path) -> None:
    shards(source, [image(9)] * 20)
    prepare(place.options(scope=Scope(redo=frozenset(["000"]))))
    prepare(place.options(retry_policies={}, scope=Scope(retry_rejects=True)))


def test_a_damaged_shard_is_for_its_unit_to_tell(place: Place, source: Path) -> None:
    shards(source, [image(8)] * 3, [image(9)] * 9)
    path = source / "001.parquet"
    path.write_bytes(path.read_bytes()[:-9])
    (source / "000.parquet").rename(source / "zzz.parquet")
    write_parquet(source / "000.parquet", [image(8)], [1])
    prepare(place.options())


def test_images_of_any_size(place: Place, source: Path) -> None:
    options = place.options(
        "denoise", model=place.bundle("any", kind="denoiser", input=ANY, functions=("denoise",), latent=None)
    )
    shards(source, [image(9)] * 20)
    prepare(options)
    shards(source, [b"junk"] * 20)
    assert "20 as unknown_format" in refused(options)
    prepare(replace(options, gate=Gate(max_reject_fraction=1.0)))


def test_vectors_of_another_length(place: Place, source: Path) -> None:
    vectors = pa.array(np.zeros((20, 4), np.float32).tolist(), pa.list_(pa.float32()))
    source.mkdir(exist_ok=True)
    pq.write_table(pa.table({"vector": vectors}), source / "a.parquet")
    model = place.bundle("vectors", kind="dense", input=VECTORS, functions=("encode", "reconstruct"))
    assert "wrong_length" in refused(place.options(model=model))


@pytest.mark.parametrize(("white", "advice"), [(255.0, 255), (65535.0, 65535), (200.0, 255)])
def test_floating_pixels_on_another_scale(place: Place, source: Path, white: float, advice: int) -> None:
    pixels = np.random.default_rng(5).random((40, 8, 8), np.float32)
    np.save(source / "a.npy", pixels)
    prepare(place.options())
    np.save(source / "a.npy", pixels * np.float32(1.9))
    prepare(place.options())
    np.save(source / "a.npy", pixels * np.float32(white))
    assert f"set --white {advice}" in refused(place.options())
    np.save(source / "a.npy", pixels * np.float32(30 * white))
    assert "where white is 20, with values up to" in (said := refused(place.options(white=20)))
    assert float(said.rpartition("set --white ")[2]) >= 29 * white
    np.save(source / "a.npy", pixels + np.random.default_rng(6).normal(0, 0.6, pixels.shape).astype(np.float32))
    prepare(place.options())
    bright = np.array(pixels)
    bright[:5] *= 30
    np.save(source / "a.npy", bright)
    prepare(place.options())
