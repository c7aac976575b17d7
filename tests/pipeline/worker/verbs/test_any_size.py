"""``encode``, ``reconstruct`` and ``decode`` of images of many sizes, compared with Keras and Pillow."""

import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.testing.util import assert_that
from PIL import Image, ImageOps

from lake.core.errors import InputError, UsageError
from lake.images.buckets import Buckets
from model.bundle import Bundle
from pipeline.config import Gate
from pipeline.output.verify import verify
from pipeline.transforms import EncodeImages
from tests.conftest import Pixels, png
from tests.model import nets
from tests.pipeline.conftest import run_job

pytestmark = pytest.mark.slow  # jobs from end to end

_SIZES = [(40, 64), (64, 40), (33, 47), (40, 64), (90, 31), (8, 8)]
_SEVERAL = Gate(max_reject_fraction=0.5)


def photograph(number: int) -> Pixels:
    height, width = _SIZES[number % len(_SIZES)]
    smooth = np.add.outer(np.arange(height) * 3, np.arange(width) * 2)[..., None] + np.array([0, 70, 140])
    noise = np.random.default_rng(number).integers(0, 40, (height, width, 3))
    return ((smooth + noise) % 256).astype(np.uint8)


@pytest.fixture(scope="module")
def network() -> Any:
    from lake.core.tensorflow import keras

    keras().utils.set_random_seed(9)
    return nets.open_autoencoder(variance=True)


@pytest.fixture(scope="module")
def open_bundle(network: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    from model.export import export

    place = tmp_path_factory.mktemp("open")
    network.save(place / "vae.keras")
    export(place / "vae.keras", "latent", str(place / "bundle"), variance="log_variance")
    return str(place / "bundle")


def write_tar(path: Path, files: list[bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for number, data in enumerate(files):
            for suffix, content in (("png", data), ("txt", f"photograph {number}".encode())):
                member = tarfile.TarInfo(f"{number:04d}.{suffix}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    return path


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tar of 30 images of several sizes, of which two are damaged, with captions."""
    files = [png(photograph(number)) for number in range(30)]
    files[5], files[11] = files[5][:50], b"no image"
    return write_tar(tmp_path_factory.mktemp("photographs") / "train-0.tar", files)


def table(output: Path, directory: str = "latents") -> pa.Table:
    return pa.concat_tables([pq.read_table(path) for path in sorted((output / directory).rglob("*.parquet"))])


def latents(rows: pa.Table, column: str = "latent") -> list[Pixels]:
    shapes = rows["latent_shape"].to_pylist()
    return [np.array(v, np.float32).reshape(s) for v, s in zip(rows[column].to_pylist(), shapes, strict=True)]


def unit_of(pixels: Pixels) -> Pixels:
    """As Keras takes one image: padded to multiples of 8 by NumPy."""
    pad = [(0, -side % 8) for side in pixels.shape[:2]]
    return np.pad(pixels, [*pad, (0, 0)], "reflect")[None] / np.float32(255)


def of_layer(network: Any, name: str, pixels: Pixels) -> Pixels:
    from lake.core.tensorflow import keras

    return keras().Model(network.input, network.get_layer(name).output)(unit_of(pixels)).numpy()[0]


@pytest.mark.parametrize("executor", ["onnx", "tensorflow"])
def test_many_sizes(network: Any, open_bundle: str, photographs: Path, tmp_path: Path, executor: str) -> None:
    output = tmp_path / "out"
    summary = run_job(
        *("encode", photographs, open_bundle, output),
        executor=executor,
        variance=True,
        hash=True,
        gate=_SEVERAL,
    )
    assert (summary["total"]["results"], summary["total"]["rejects"]) == (28, 2)
    rows = table(output)
    assert rows.column_names == [
        *(
            "key",
            "shard",
            "index",
            "latent",
            "latent_variance",
            "latent_shape",
            "height",
            "width",
            "sha256",
            "phash",
            "txt",
        )
    ]
    assert rows["index"].to_pylist() == [i for i in range(30) if i not in (5, 11)]
    assert rows["txt"].to_pylist() == [f"photograph {i}" for i in rows["index"].to_pylist()]
    for i, found, variance, height, width in zip(
        rows["index"].to_pylist(),
        latents(rows),
        latents(rows, "latent_variance"),
        rows["height"].to_pylist(),
        rows["width"].to_pylist(),
        strict=True,
    ):
        assert (height, width) == photograph(i).shape[:2]
        np.testing.assert_allclose(found, of_layer(network, "latent", photograph(i)), atol=2e-6)
        np.testing.assert_allclose(variance, np.exp(of_layer(network, "log_variance", photograph(i))), rtol=1e-5)
    wanted = [hashlib.sha256(png(photograph(i))).digest() for i in rows["index"].to_pylist()]
    assert rows["sha256"].to_pylist() == wanted and rows["phash"].null_count == 0
    assert table(output, "rejects")["reason"].to_pylist() == ["corrupt_image", "unknown_format"]
    assert not verify(str(output), deep=True).damaged


def test_the_bits_of_a_row_depend_on_its_image_alone(open_bundle: str, photographs: Path, tmp_path: Path) -> None:
    """The same images in one shard, in shards of one each, and in reverse."""
    numbers = [0, 1, 2, 3, 4, 6, 12, 18]
    files = {number: png(photograph(number)) for number in numbers}
    for number, data in files.items():
        write_tar(tmp_path / f"alone/{number:02d}.tar", [data])
    write_tar(tmp_path / "reverse/all.tar", [files[number] for number in reversed(numbers)])
    run_job("encode", photographs, open_bundle, tmp_path / "whole", gate=_SEVERAL)
    for name in ("alone", "reverse"):
        run_job("encode", tmp_path / name, open_bundle, tmp_path / f"of-{name}")
    whole = table(tmp_path / "whole")
    by_index = dict(zip(whole["index"].to_pylist(), whole["latent"].to_pylist(), strict=True))
    wanted = [by_index[number] for number in numbers]
    assert table(tmp_path / "of-alone")["latent"].to_pylist() == wanted
    assert table(tmp_path / "of-reverse")["latent"].to_pylist() == wanted[::-1]


def test_buckets(network: Any, open_bundle: str, photographs: Path, tmp_path: Path) -> None:
    output, buckets = tmp_path / "out", Buckets(step=16, max_area=48 * 48)
    run_job("encode", photographs, open_bundle, output, bucket=16, max_area="48x48", gate=_SEVERAL)
    rows = table(output)
    sizes = [*("height", "width", "original_height", "original_width", "crop_top", "crop_left")]
    assert rows.column_names == ["key", "shard", "index", "latent", "latent_shape", *sizes, "txt"]
    for row, found in zip(rows.select([*sizes, "index"]).to_pylist(), latents(rows), strict=True):
        image = photograph(row["index"])
        bucket = buckets.nearest(*image.shape[:2])
        assert (row["height"], row["width"]) == bucket
        assert (row["original_height"], row["original_width"]) == image.shape[:2]
        cut = np.asarray(ImageOps.fit(Image.fromarray(image), bucket[::-1], Image.Resampling.BICUBIC))
        np.testing.assert_allclose(found, of_layer(network, "latent", cut), atol=0.02)
        scale = max(side / own for side, own in zip(bucket, image.shape[:2], strict=True))
        offset = [(own * scale - side) / 2 for side, own in zip(bucket, image.shape[:2], strict=True)]
        assert np.abs(np.array([row["crop_top"], row["crop_left"]]) - offset).max() <= 0.5
    assert len({tuple(shape) for shape in rows["latent_shape"].to_pylist()}) <= len(buckets.sizes)


def images_of(output: Path) -> dict[str, Pixels]:
    """The images of a WebDataset or Parquet output, by key."""
    found = {}
    for path in sorted((output / "images").rglob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                if member.name.endswith(".png"):
                    found[member.name.removesuffix(".png")] = np.asarray(Image.open(tar.extractfile(member)))
    for path in sorted((output / "images").rglob("*.parquet")):
        for row in pq.read_table(path).to_pylist():
            data = row["image"]["bytes"] if isinstance(row["image"], dict) else row["image"]
            found[row["key"]] = np.asarray(Image.open(io.BytesIO(data)))
    return found


def test_reconstructions_and_decoded_latents(network: Any, open_bundle: str, photographs: Path, tmp_path: Path) -> None:
    run_job("reconstruct", photographs, open_bundle, tmp_path / "made", gate=_SEVERAL)
    run_job("decode", tmp_path / "made/latents", open_bundle, tmp_path / "decoded")
    made, decoded, rows = images_of(tmp_path / "made"), images_of(tmp_path / "decoded"), table(tmp_path / "made")
    assert made.keys() == decoded.keys() and len(made) == 28
    for key, index, mse, psnr in zip(*(rows[n].to_pylist() for n in ("key", "index", "mse", "psnr")), strict=True):
        image = photograph(index)
        height, width = image.shape[:2]
        want = network(unit_of(image)).numpy()[0, :height, :width]
        assert np.abs(made[key].astype(int) - np.rint(want * 255)).max() <= 1
        assert np.array_equal(made[key], decoded[key])
        error = np.mean(np.square(want - image / 255.0))
        assert mse == pytest.approx(error, rel=1e-4) and psnr == pytest.approx(-10 * np.log10(error), abs=1e-3)
    with tarfile.open(next((tmp_path / "made/images").rglob("*.tar"))) as tar:
        assert sum(name.endswith(".txt") for name in tar.getnames()) == 28


def test_smaller_types_mirrors_and_samples(open_bundle: str, photographs: Path, tmp_path: Path) -> None:
    def encoded(name: str, **options: Any) -> pa.Table:
        run_job("encode", photographs, open_bundle, tmp_path / name, gate=_SEVERAL, **options)
        return table(tmp_path / name)

    plain = encoded("plain", variance=True)
    small = encoded("int8", latent_type="int8", flip=True)
    (file,) = (tmp_path / "int8/latents").rglob("*.parquet")
    stated = json.loads(pq.read_schema(file).metadata[b"latentlake.latent"])
    scale, offset = (np.array(stated[name], np.float32) for name in ("scale", "offset"))
    assert len(scale) == latents(plain)[0].shape[2], "one for each channel"
    back = [stored * scale + offset for stored in latents(small)]
    for found, wanted in zip(back, latents(plain), strict=True):
        assert (np.abs(found - wanted) <= scale * 0.51).all()
    assert latents(small, "latent_flip")[0].shape == back[0].shape
    assert not np.array_equal(latents(small, "latent_flip")[0], latents(small)[0])
    shapes = [list(latent.shape) for latent in back]
    sizes = {name: small[name].to_pylist() for name in ("height", "width")}
    write_latents(tmp_path / "back.parquet", [latent.ravel().tolist() for latent in back], shapes, **sizes)
    run_job("decode", file, open_bundle, tmp_path / "a")
    run_job("decode", tmp_path / "back.parquet", open_bundle, tmp_path / "b")
    one, other = (list(images_of(tmp_path / name).values()) for name in "ab")
    assert len(one) == len(other) == small.num_rows
    assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
    sampled = encoded("sampled", sample=1)
    noise = [
        (sample - mean) / np.sqrt(variance)
        for sample, mean, variance in zip(
            latents(sampled), latents(plain), latents(plain, "latent_variance"), strict=True
        )
    ]
    every = np.concatenate([part.ravel() for part in noise])
    np.testing.assert_allclose((every.mean(), every.std()), (0, 1), atol=6 / np.sqrt(len(every)))
    for options in ({"pool": "mean"}, {"normalize": "l2"}):
        with pytest.raises(UsageError, match="keep their shape"):
            encoded("refused", **options)


def write_latents(path: Path, values: list[Any], shapes: list[Any], **columns: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = pa.array(shapes, pa.list_(pa.int32()))
    given = {"key": [str(i) for i in range(len(values))], "latent": pa.array(values, pa.list_(pa.float32()))}
    pq.write_table(pa.table({**given, "latent_shape": shape, **columns}), path)
    return path


def test_latents_that_cannot_be_decoded(open_bundle: str, tmp_path: Path) -> None:
    zeros = [0.0] * 16
    values = [zeros, None, zeros, zeros, [0.0] * 15 + [float("nan")], zeros, zeros[:12], zeros, zeros]
    shapes = [[2, 2, 4], [2, 2, 4], [1, 4, 4], [2, 3, 4], [2, 2, 4], None, [2, 2, 3], [2, 2, 4], [2, 2, 4]]
    heights = [16, 16, 5, 16, 16, 16, 16, 17, None]
    source = write_latents(tmp_path / "in/a.parquet", values, shapes, height=heights, width=[16] * 9)
    summary = run_job("decode", source, open_bundle, tmp_path / "out", gate=Gate(max_reject_fraction=1.0))
    assert (summary["total"]["results"], summary["total"]["rejects"]) == (2, 7)
    assert {key: image.shape for key, image in images_of(tmp_path / "out").items()} == {
        "0": (16, 16, 3),
        "2": (5, 16, 3),
    }
    assert table(tmp_path / "out", "rejects").select(["index", "reason"]).to_pylist() == [
        {"index": 1, "reason": "missing_image"},
        {"index": 3, "reason": "wrong_length"},
        {"index": 4, "reason": "non_finite_input"},
        {"index": 5, "reason": "invalid_record"},
        {"index": 6, "reason": "wrong_channels"},
        {"index": 7, "reason": "invalid_record"},
        {"index": 8, "reason": "invalid_record"},
    ]


def test_latents_without_sizes_and_as_npy_members(open_bundle: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    made = [rng.standard_normal(shape).astype(np.float32) for shape in ((2, 3, 4), (1, 1, 4), (2, 3, 4))]
    write_latents(tmp_path / "in/a.parquet", [z.ravel().tolist() for z in made], [z.shape for z in made])
    with tarfile.open(tmp_path / "b.tar", "w") as tar:
        for number, latent in enumerate(made):
            out = io.BytesIO()
            np.save(out, latent)
            member = tarfile.TarInfo(f"{number}.npy")
            member.size = len(out.getvalue())
            tar.addfile(member, io.BytesIO(out.getvalue()))
    run_job("decode", tmp_path / "in", open_bundle, tmp_path / "table")
    run_job("decode", tmp_path / "b.tar", open_bundle, tmp_path / "tar", output_format="parquet")
    found, same = images_of(tmp_path / "table"), images_of(tmp_path / "tar")
    assert {key: image.shape for key, image in found.items()} == {"0": (16, 24, 3), "1": (8, 8, 3), "2": (16, 24, 3)}
    assert found.keys() == same.keys() and all(np.array_equal(found[key], same[key]) for key in found)


def test_what_is_refused(open_bundle: str, model: Any, photographs: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for verb, bundle, settings, problem in [
        ("encode", open_bundle, {"resize": "crop"}, "--resize is for a model of one size"),
        ("encode", open_bundle, {"max_area": "64x64"}, "--max-area goes with --bucket"),
        ("encode", open_bundle, {"bucket": 12}, "--bucket 12: the model takes sides that are multiples of 8"),
        ("encode", open_bundle, {"bucket": 64, "max_area": 4095}, "--max-area 4095: from 4096"),
        ("reconstruct", open_bundle, {"bucket": 64, "max_area": "1G"}, "to 134217728 pixels"),
        ("denoise", open_bundle, {"bucket": 64}, "--bucket is for latents of a model"),
        ("encode", model.bundle, {"bucket": 64}, "--bucket is for latents of a model"),
        ("generate", open_bundle, {"count": 3, "input": ()}, "no size of their own"),
    ]:
        settings = {"source": photographs} | settings
        settings.pop("input", None)
        with pytest.raises(UsageError, match=problem):
            run_job(verb, settings.pop("source"), bundle, out, **settings)
    with pytest.raises(UsageError, match="resize is for a model of one size"):
        beam.Pipeline() | beam.Create([]) | EncodeImages(open_bundle, resize="crop")
    pq.write_table(pa.table({"latent": pa.array([[0.0] * 16], pa.list_(pa.float32()))}), tmp_path / "a.parquet")
    with pytest.raises(InputError, match="not one column 'latent_shape'"):
        run_job("decode", tmp_path / "a.parquet", open_bundle, out)
    np.save(tmp_path / "a.npy", np.zeros((3, 16), np.float32))
    with pytest.raises(InputError, match="do not say the shapes of latents"):
        run_job("decode", tmp_path / "a.npy", open_bundle, out, format="array")
    assert not out.exists()


def test_images_in_memory(network: Any, open_bundle: str) -> None:
    images = {str(number): photograph(number) for number in range(6)}

    def check(found: list[Any]) -> None:
        assert sorted(key for key, _ in found) == sorted(images)
        for key, latent in found:
            np.testing.assert_allclose(latent, of_layer(network, "latent", images[key]), atol=2e-6)

    def check_rejects(found: list[Any]) -> None:
        assert [(one.key, str(one.reason)) for one in found] == [("bad", "unknown_format")]

    with beam.Pipeline(runner="DirectRunner") as pipeline:
        items = [(key, png(image) if key in "024" else image) for key, image in images.items()]
        encoded = pipeline | beam.Create([*items, ("bad", b"?")]) | EncodeImages(open_bundle)
        assert_that(encoded.latents, check, label="latents")
        assert_that(encoded.rejects, check_rejects, label="rejects")
    assert Bundle.open(open_bundle).spec.input.any_size
