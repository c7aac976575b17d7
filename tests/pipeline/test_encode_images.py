"""``EncodeImages`` with the options of latents: the numbers that the table of a job over the same images has."""

import json
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from lake.core.errors import UsageError
from lake.core.records import Reason
from lake.images.types import ImageError
from latentlake import EncodeImages
from pipeline.worker.in_memory import _identity
from tests.conftest import Model, Pixels, long_forms, write_parquet
from tests.model.conditional import CLASSES, LATENT
from tests.pipeline.conftest import run_job
from tests.pipeline.test_conditional import Trained, files_of, pixels, table, trained

assert pixels and trained  # fixtures
_SEEN: dict[str, list[Any]] = {}
COUNT = 30


def keep(element: Any, name: str) -> None:
    _SEEN.setdefault(name, []).append(element)


def run(name: str, items: list[Any], bundle: str, **options: Any) -> tuple[dict[Any, Any], list[Any]]:
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        made = pipeline | beam.Create(items) | EncodeImages(bundle, **options)
        _ = made.latents | "latents" >> beam.Map(keep, f"{name} latents")
        _ = made.rejects | "rejects" >> beam.Map(keep, f"{name} rejects")
    return dict(_SEEN.get(f"{name} latents", [])), _SEEN.get(f"{name} rejects", [])


@pytest.fixture(scope="module")
def shard(tmp_path_factory: pytest.TempPathFactory, digit_files: list[bytes]) -> Path:
    file = tmp_path_factory.mktemp("in") / "x.parquet"
    write_parquet(file, digit_files[:COUNT], range(COUNT))
    return file


def column(output: Path) -> Pixels:
    return np.stack(pq.read_table(next((output / "latents").rglob("*.parquet")))["latent"].to_numpy())


@pytest.mark.parametrize(
    "options",
    [
        {"latent_type": "uint8", "latent_quantization": "scales.json", "latent_scale": 0.5, "latent_shift": "-0.25"},
        *long_forms(
            {"latent_type": "float16"},
            {"latent_type": "bfloat16", "latent_scale": 0.18215},
            {"latent_type": "int8", "latent_quantization": "scales.json"},
            {"latent_type": "binary", "latent_quantization": "scales.json"},
            {"normalize": "l2", "latent_type": "float16"},
            {"latent_shift": 0.125},
        ),
    ],
)
def test_the_numbers_of_a_table(
    options: dict[str, Any], shard: Path, model: Model, digit_files: list[bytes], tmp_path: Path
) -> None:
    (tmp_path / "scales.json").write_text(json.dumps({"scale": 0.02, "offset": 0.1}))
    if "latent_quantization" in options:
        options = {**options, "latent_quantization": str(tmp_path / "scales.json")}
    run_job("encode", shard, model.bundle, tmp_path / "out", **options)
    found, _ = run(str(options), list(enumerate(digit_files[:COUNT])), model.bundle, **options)
    wanted = column(tmp_path / "out")
    got = np.stack([found[i] for i in range(COUNT)])
    assert got.dtype == wanted.dtype
    np.testing.assert_array_equal(got, wanted)


@pytest.mark.slow
def test_a_grid_becomes_one_vector(shard: Path, digit_files: list[bytes], tmp_path: Path) -> None:
    from lake.core.tensorflow import keras
    from model.export import export

    keras().utils.set_random_seed(2)
    image = keras().Input((8, 8, 1))
    net = keras().Model(image, keras().layers.Conv2D(3, 2, strides=2, name="grid")(image))
    net.save(tmp_path / "net.keras")
    bundle = export(tmp_path / "net.keras", "grid", str(tmp_path / "bundle")).uri
    run_job("encode", shard, bundle, tmp_path / "out", pool="mean", normalize="l2")
    found, _ = run("pool", list(enumerate(digit_files[:COUNT])), bundle, pool="mean", normalize="l2")
    np.testing.assert_array_equal(np.stack([found[i] for i in range(COUNT)]), column(tmp_path / "out"))


@pytest.mark.slow
def test_samples_of_conditional_images(trained: Trained, pixels: Pixels, tmp_path: Path) -> None:
    """By shard and index the noise is that of the job; by another key it follows from the key alone."""
    files, classes = files_of(pixels), np.arange(len(pixels)) % CLASSES
    shard = table(tmp_path / "in/x.parquet", pixels, label=pa.array(classes))
    run_job("encode", shard, trained.bundle, tmp_path / "out", sample=7)
    items: list[Any] = [(("x.parquet", i), file, int(classes[i])) for i, file in enumerate(files)]
    items += [("a", files[0], classes[0]), (5, files[0], "0"), (None, files[0], 0)]
    items += [("bad", files[0], CLASSES), ("none", files[0], None), ("two", files[0])]
    found, rejects = run("sample", items, trained.bundle, sample=7)
    got = np.stack([found["x.parquet", i] for i in range(len(files))])
    np.testing.assert_array_equal(got, column(tmp_path / "out"))
    again, _ = run("again", items[-6:-4][::-1], trained.bundle, sample=7, batch=1)
    assert all((again[key] == found[key]).all() for key in ("a", 5)) and (found["a"] != found[5]).any()
    means, _ = run("means", items[:-4], trained.bundle)
    noise = (np.stack([found[key] for key in means]) - np.stack(list(means.values()))).reshape(-1)
    assert noise.size == LATENT * (len(files) + 2) and np.abs(noise).max() > 0.1
    assert sorted((str(reject.key), reject.reason, reject.detail.partition(";")[0]) for reject in rejects) == [
        ("None", Reason.INVALID_RECORD, "a key of type NoneType"),
        ("None", Reason.INVALID_RECORD, "a value of type tuple is no key, image and condition, in this order"),
        ("bad", Reason.INVALID_CONDITION, f"the condition is {CLASSES}, no class from 0 to {CLASSES - 1}"),
        ("none", Reason.INVALID_CONDITION, "the condition is no value"),
    ]


def test_a_key_that_tells_no_noise_is_named() -> None:
    keys: list[Any] = ["\ud800", ("s\ud800", 1), 10**5000, ("s", -1), None]
    for key in keys:
        with pytest.raises(ImageError, match="of a sample it is text in UTF-8"):
            _identity(key)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"latent_type": "int4"}, "latent_type"),
        ({"latent_scale": 0}, "latent_scale"),
        ({"flip": True}, "unknown option 'flip'"),
    ],
)
def test_a_wrong_option_is_named_at_once(options: dict[str, Any], text: str) -> None:
    with pytest.raises(UsageError, match=text):
        EncodeImages("bundle", **options)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"latent_type": "int8"}, "a collection has no first sample"),
        ({"latent_quantization": "x.json"}, "of int8, uint8 and binary"),
        ({"sample": 1}, "gives no distributions"),
        ({"pool": "mean"}, "one vector already"),
    ],
)
def test_what_does_not_go_with_the_model(options: dict[str, Any], text: str, model: Model) -> None:
    with pytest.raises(UsageError, match=text):
        _ = beam.Pipeline() | beam.Create([]) | EncodeImages(model.bundle, **options)
