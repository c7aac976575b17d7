"""``reconstruct`` and ``decode`` write images: the same dataset, read back by other libraries."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from lake.core.errors import UsageError
from pipeline.job.prepare import prepare
from pipeline.options.job_options import JobOptions
from pipeline.output.verify import verify
from tests.conftest import Model, Pixels, png, write_parquet
from tests.pipeline.conftest import run_job

pytestmark = pytest.mark.slow  # jobs, or models, from end to end


def pixels_of(data: bytes) -> Pixels:
    return np.asarray(Image.open(io.BytesIO(data)))


def expected(model: Model, pixels: Pixels) -> Pixels:
    """What Keras makes of uint8 digits, as 8 bits."""
    return np.rint(np.clip(model.reconstruct(pixels), 0, 1) * 255).astype(np.uint8)


def rows_of(output: Path, table: str) -> list[dict]:
    """Rows of a table of the output, shard by shard."""
    return [row for file in sorted((output / table).rglob("*.parquet")) for row in pq.read_table(file).to_pylist()]


def close(made: Pixels, wanted: Pixels) -> bool:
    """Equal but for roundings of halves: Keras computes with other threads."""
    return int(np.abs(made.astype(int) - wanted.astype(int)).max()) <= 1 and np.mean(made != wanted) < 0.01


def test_reconstruct_writes_the_dataset_again(reconstructed: Path, shards: Path, model: Model, digits: Pixels) -> None:
    for name in ("a/train-0", "a/train-1", "b/train-2"):
        before, after = (pq.read_table(root / f"{name}.parquet") for root in (shards, reconstructed / "images"))
        assert after.schema.equals(before.schema)
        assert after["label"].equals(before["label"])
        assert [i["path"] for i in after["image"].to_pylist()] == [i["path"] for i in before["image"].to_pylist()]
    made = np.stack([pixels_of(row["image"]["bytes"]) for row in rows_of(reconstructed, "images")])
    assert close(made, expected(model, digits))
    assert verify(str(reconstructed)).problems == ()


def test_errors_are_of_the_images(reconstructed: Path, digits: Pixels) -> None:
    made = np.stack([pixels_of(row["image"]["bytes"]) for row in rows_of(reconstructed, "images")])
    mse = ((made.astype(float) - digits) ** 2).mean((1, 2)) / 255**2
    stated = np.array([row["mse"] for row in rows_of(reconstructed, "latents")])
    np.testing.assert_allclose(mse, stated, rtol=0.01)  # the table's are of the output before it is rounded


def test_decode_of_encode_is_reconstruct(encoded: Path, reconstructed: Path, model: Model, tmp_path: Path) -> None:
    run_job("decode", encoded / "latents", model.bundle, tmp_path / "out")
    decoded, wanted = rows_of(tmp_path / "out", "images"), rows_of(reconstructed, "images")
    assert [row["image"]["bytes"] for row in decoded] == [row["image"]["bytes"] for row in wanted]
    assert [row["label"] for row in decoded] == [row["label"] for row in wanted]
    assert "latent" not in decoded[0]
    assert [row["key"] for row in decoded] == [row["image"]["path"] for row in wanted]


def test_an_error_map_is_the_difference(model: Model, digits: Pixels, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for i in range(5):
        (tmp_path / f"in/{i}.png").write_bytes(png(digits[i]))
    run_job("reconstruct", tmp_path / "in", model.bundle, tmp_path / "out", error_map=True)
    for i in range(5):
        made, error = (pixels_of((tmp_path / f"out/{d}/{i}.png").read_bytes()) for d in ("images", "error_maps"))
        assert np.array_equal(error, np.abs(made.astype(int) - digits[i]))
    assert verify(str(tmp_path / "out")).problems == ()


def test_no_images_on_request(shards: Path, model: Model, tmp_path: Path) -> None:
    run_job("reconstruct", shards, model.bundle, tmp_path / "out", images=False)
    assert not (tmp_path / "out/images").exists()
    assert len(rows_of(tmp_path / "out", "latents")) == 1797


def test_a_bad_image_costs_itself(model: Model, digit_files: list[bytes], tmp_path: Path) -> None:
    files = [*digit_files[:3], b"no image", *digit_files[3:6]]
    write_parquet(tmp_path / "in/x.parquet", files, list(range(7)))
    summary = run_job("reconstruct", tmp_path / "in", model.bundle, tmp_path / "out")
    assert summary["total"]["reasons"] == {"unknown_format": 1}
    assert [row["label"] for row in rows_of(tmp_path / "out", "images")] == [0, 1, 2, 4, 5, 6]
    assert [row["label"] for row in rows_of(tmp_path / "out", "latents")] == [0, 1, 2, 4, 5, 6]


@pytest.mark.parametrize(
    ("chosen", "suffix"), [("webdataset", "tar"), ("tfrecord", "tfrecord"), ("array", "npz"), ("folder", None)]
)
def test_another_format_on_request(
    chosen: str, suffix: str | None, reconstructed: Path, shards: Path, model: Model, tmp_path: Path
) -> None:
    run_job("reconstruct", shards / "b", model.bundle, tmp_path / "out", output_format=chosen)
    wanted = [pixels_of(row["image"]["bytes"]) for row in rows_of(reconstructed, "images")[1000:]]
    place = tmp_path / "out/images/train-2"
    made = read_any(place if suffix is None else place.with_suffix(f".{suffix}"))
    assert np.array_equal(made, wanted)
    assert verify(str(tmp_path / "out")).problems == ()


def read_any(path: Path) -> list[Pixels]:
    """Images of a dataset of any format, by other people's libraries."""
    if path.is_dir():
        return [pixels_of(file.read_bytes()) for file in sorted(path.iterdir())]
    if path.suffix == ".npz":
        return list(np.load(path)["images"][..., 0])
    if path.suffix == ".tar":
        with tarfile.open(path) as tar:
            return [pixels_of(tar.extractfile(m).read()) for m in tar if m.name.endswith(".png")]
    import tensorflow as tf

    records = tf.data.TFRecordDataset(str(path))
    feature = {"image/encoded": tf.io.FixedLenFeature([], tf.string)}
    return [pixels_of(tf.io.parse_single_example(r, feature)["image/encoded"].numpy()) for r in records]


def test_an_image_that_its_format_cannot_keep_is_a_reject(model: Model, digits: Pixels, tmp_path: Path) -> None:
    wide = digits.astype(np.uint16)[:3] * 257
    np.save(tmp_path / "x.npy", wide)
    options = {"output_format": "parquet", "image_format": "jpeg"}
    summary = run_job("reconstruct", tmp_path / "x.npy", model.bundle, tmp_path / "out", **options)
    assert summary["total"]["reasons"] == {"unwritable_image": 3}
    assert not summary["complete"]


def test_arrays_have_no_image_format(model: Model, digits: Pixels, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", digits[:3])
    settings = JobOptions(
        verb="reconstruct", input=(str(tmp_path / "x.npy"),), model=model.bundle, output=str(tmp_path / "out"),
        image_format="png",
    )  # fmt: skip
    with pytest.raises(UsageError, match="array shards keep numbers"):
        prepare(settings)


def test_run_again_does_nothing(shards: Path, model: Model, tmp_path: Path) -> None:
    run_job("reconstruct", shards / "a", model.bundle, tmp_path / "out")
    before = {path: path.read_bytes() for path in (tmp_path / "out/images").rglob("*") if path.is_file()}
    again = run_job("reconstruct", shards / "a", model.bundle, tmp_path / "out")
    assert again["run"]["units"] == 0
    (tmp_path / "out/_manifest.parquet").unlink()
    run_job("reconstruct", shards / "a", model.bundle, tmp_path / "out")
    assert before == {path: path.read_bytes() for path in (tmp_path / "out/images").rglob("*") if path.is_file()}


def test_a_flipped_byte_of_an_image_file_is_found(shards: Path, model: Model, tmp_path: Path) -> None:
    run_job("reconstruct", shards / "b", model.bundle, tmp_path / "out", output_format="webdataset")
    path = tmp_path / "out/images/train-2.tar"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert [p.name for p in verify(str(tmp_path / "out"), deep=True).problems] == ["images/train-2.tar"]
