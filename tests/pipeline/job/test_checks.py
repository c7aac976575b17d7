"""What a user's options come to, and which of them are refused."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lake.core.errors import BundleError, InputError, UsageError
from lake.formats.reader import ColumnSelection
from lake.images.anscombe import PoissonGaussian
from lake.inputs.sampled import LatentSampling
from model.input_spec import Noise
from model.spec import Spec
from pipeline.config import CameraNoise, ImagesOut, NoiseLevel
from pipeline.job.checks import (
    check_directories,
    check_ensemble,
    check_noise_column,
    check_variance,
    images_out,
    latent_sampling,
    noise_level,
    with_noise_column,
)
from pipeline.options.job_options import JobOptions
from tests.pipeline.job.conftest import IMAGES, VECTORS, make_spec
from tests.pipeline.values import COLUMNS, make_config, make_found, make_unit

FOUND = make_found("a.parquet", format="parquet")
VECTOR_SPEC = make_spec(input=VECTORS, kind="dense")


def asked(verb: str = "reconstruct", **changes: Any) -> JobOptions:
    return JobOptions(verb=verb, model="/m", output="/out", **changes)


OUT = ImagesOut(format="parquet", rewrite=True, image_format="lossless", quality=90, error_map=False)


@pytest.mark.parametrize("verb", ["reconstruct", "denoise", "decode"])
def test_shards_are_written_again(verb: str) -> None:
    assert images_out(asked(verb), make_spec(), FOUND) == OUT


@pytest.mark.parametrize(
    ("changes", "found", "wanted"),
    [
        ({"quality": 5, "image_format": "jpeg"}, FOUND, replace(OUT, quality=5, image_format="jpeg")),
        ({"error_map": True}, FOUND, replace(OUT, error_map=True)),
        ({"output_format": "parquet"}, FOUND, OUT),
        ({"output_format": "webdataset"}, FOUND, replace(OUT, format="webdataset", rewrite=False)),
        ({}, make_found("a.tar", format="webdataset"), replace(OUT, format="webdataset")),
        ({}, None, replace(OUT, rewrite=False)),
        ({"output_format": "folder"}, None, replace(OUT, format="folder", rewrite=False)),
        ({"output_format": "array"}, FOUND, replace(OUT, format="array", rewrite=False)),
    ],
)
def test_how_images_are_written(changes: dict[str, Any], found: Any, wanted: ImagesOut) -> None:
    assert images_out(asked(**changes), make_spec(), found) == wanted


def test_no_images() -> None:
    assert images_out(asked("encode"), make_spec(), FOUND) is None
    assert images_out(asked(images=False), make_spec(), FOUND) is None
    assert images_out(asked(), VECTOR_SPEC, FOUND) is None, "reconstruct of vectors gives latents and errors"


@pytest.mark.parametrize("verb", ["denoise", "decode", "generate"])
def test_vectors_are_no_images(verb: str) -> None:
    with pytest.raises(UsageError, match=f"^{verb} makes images, and the model gives vectors"):
        images_out(asked(verb), VECTOR_SPEC, FOUND)
    assert images_out(asked(verb, images=False), VECTOR_SPEC, FOUND) is None


def test_errors_of_images_that_are_not_written_are_refused() -> None:
    for verb in ("reconstruct", "encode"):
        with pytest.raises(UsageError, match="--error-map needs the images; leave out --no-images"):
            images_out(asked(verb, error_map=True, images=False), make_spec(), FOUND)


def test_numbers_have_no_image_format() -> None:
    for found, output in ((FOUND, "array"), (make_found("a.npy", format="array"), None)):
        with pytest.raises(UsageError, match="array shards keep numbers, not --image-format jpeg"):
            images_out(asked(output_format=output, image_format="jpeg"), make_spec(), found)
        assert images_out(asked(output_format=output), make_spec(), found) is not None


def test_two_images_of_one_name_are_refused() -> None:
    found = make_found("a/1.jpg", "a/1.png", format="folder")
    with pytest.raises(InputError, match=r"^a/1\.jpg and a/1\.png could both be written under one name; keep"):
        images_out(asked(), make_spec(), found)
    assert images_out(asked(image_format="same"), make_spec(), found) is not None
    assert images_out(asked(output_format="webdataset"), make_spec(), found) is not None
    other = make_found("a/1.jpg", "a/1.png", format="webdataset")
    assert images_out(asked(output_format="folder"), make_spec(), other) is not None, "nothing is called after these"


def test_variances() -> None:
    check_variance(asked(), make_spec())
    check_variance(asked(variance=True), make_spec(kind="vae", variance="log_variance"))
    with pytest.raises(UsageError, match="a model of kind 'autoencoder' gives no variances; leave out"):
        check_variance(asked(variance=True), make_spec())


TOLD = make_spec(kind="denoiser", latent=None, input=replace(IMAGES, noise=Noise(form="map", input="sigma", scale=1.0)))


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("25", NoiseLevel(level=25.0)),
        ("0", NoiseLevel(level=0.0)),
        ("255", NoiseLevel(level=255.0)),
        ("2.5e1", NoiseLevel(level=25.0)),
        ("estimate", NoiseLevel(estimate=True)),
        ("sigma", NoiseLevel(column="sigma")),
    ],
)
def test_noise_levels(given: str, wanted: NoiseLevel) -> None:
    assert noise_level(asked("denoise", noise_level=given), TOLD) == wanted


@pytest.mark.parametrize("given", ["-1", "255.1", "256", "nan", "inf", "-0.1"])
def test_noise_levels_outside_the_scale_are_refused(given: str) -> None:
    with pytest.raises(UsageError, match=f"--noise-level {given} is not from 0 to 255"):
        noise_level(asked("denoise", noise_level=given), TOLD)


def test_a_model_is_told_the_noise_or_it_is_not() -> None:
    plain = make_spec()
    assert noise_level(asked("denoise"), plain) is None
    with pytest.raises(UsageError, match="takes no noise level; leave out --noise-level"):
        noise_level(asked("denoise", noise_level="25"), plain)
    with pytest.raises(UsageError, match="the model takes a noise level: give --noise-level 25"):
        noise_level(asked("denoise"), TOLD)
    assert noise_level(asked("encode", noise_level="25"), TOLD) is None, "of no other verb"
    assert noise_level(asked("encode"), TOLD) is None


def test_an_ensemble_turns_images() -> None:
    square, wide = make_spec(), make_spec(input=replace(IMAGES, shape=(28, 30, 1)))
    for verb in ("denoise", "encode"):
        check_ensemble(asked(verb, ensemble=4), square)
    check_ensemble(asked("denoise"), wide)
    check_ensemble(asked("denoise", ensemble=8), make_spec(input=replace(IMAGES, shape=(28, 30, 1), any_size=True)))
    with pytest.raises(UsageError, match=r"--ensemble 4: an ensemble of 4 turns images, and .* 28 x 30 pixels; leave"):
        check_ensemble(asked("denoise", ensemble=4), wide)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({}, CameraNoise()),
        ({"gain": "estimate", "black_level": 100}, CameraNoise(black_level=100.0)),
        ({"gain": "2.2", "read_noise": 3}, CameraNoise(gain=2.2, read_noise=3.0)),
        (
            {"gain": 0.5, "read_noise": "0", "black_level": "-4"},
            CameraNoise(gain=0.5, read_noise=0.0, black_level=-4.0),
        ),
    ],
)
def test_cameras(given: dict[str, object], wanted: CameraNoise) -> None:
    options = asked("denoise", noise="poisson-gaussian", **given)
    assert noise_level(options, TOLD) == NoiseLevel(camera=wanted)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"noise": "gaussian", "gain": "2"}, "--gain is for photons: add --noise poisson-gaussian, or leave it out"),
        ({"noise": "gaussian", "black_level": 3}, "--black-level is for photons"),
        ({"noise_level": "25"}, "has no one level: give --gain and --read-noise instead of --noise-level"),
        ({"gain": "2"}, "given or estimated together: add the other"),
        ({"gain": "estimate", "read_noise": "2"}, "given or estimated together"),
        ({"gain": "0", "read_noise": "2"}, "--gain 0 is not above 0"),
        ({"gain": "-1", "read_noise": "2"}, "--gain '-1' is neither a number of at least 0 nor 'estimate'"),
        ({"gain": "2", "read_noise": "nan"}, "--read-noise 'nan' is neither"),
        ({"gain": "2", "read_noise": "inf"}, "--read-noise 'inf' is neither"),
        ({"gain": "sigma", "read_noise": "2"}, "--gain 'sigma' is neither"),
    ],
)
def test_cameras_that_are_none(given: dict[str, object], text: str) -> None:
    with pytest.raises(UsageError, match=text):
        noise_level(asked("denoise", **{"noise": "poisson-gaussian", **given}), TOLD)


LEARNED = PoissonGaussian(gain=2.2, read_noise=3.3, black_level=100)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({}, NoiseLevel(camera=CameraNoise(gain=2.2, read_noise=3.3, black_level=100))),
        ({"noise": "poisson-gaussian"}, NoiseLevel(camera=CameraNoise(gain=2.2, read_noise=3.3, black_level=100))),
        ({"black_level": 90}, NoiseLevel(camera=CameraNoise(gain=2.2, read_noise=3.3, black_level=90))),
        ({"gain": "2", "read_noise": "3"}, NoiseLevel(camera=CameraNoise(gain=2, read_noise=3))),
        ({"gain": "estimate"}, NoiseLevel(camera=CameraNoise())),
        ({"noise_level": "25"}, NoiseLevel(level=25)),
    ],
)
def test_a_model_that_learned_photon_noise_knows_its_camera(given: dict[str, object], wanted: NoiseLevel) -> None:
    assert TOLD.input.noise is not None
    model = replace(TOLD, input=replace(TOLD.input, noise=replace(TOLD.input.noise, camera=LEARNED)))
    assert noise_level(asked("denoise", **given), model) == wanted


def test_a_model_that_is_not_told_takes_no_photon_noise() -> None:
    with pytest.raises(UsageError, match=r"takes no noise level; leave out --noise$"):
        noise_level(asked("denoise", noise="poisson-gaussian"), make_spec())
    pairs = replace(TOLD, input=replace(TOLD.input, shape=(None, None, 2)))
    with pytest.raises(UsageError, match="not for models of two channels"):
        noise_level(asked("denoise", noise="poisson-gaussian"), pairs)


def test_a_column_of_noise_levels_is_carried() -> None:
    selection = ColumnSelection(carry=("label",))
    column = NoiseLevel(column="sigma")
    assert with_noise_column(selection, COLUMNS, None) is selection
    assert with_noise_column(selection, COLUMNS, NoiseLevel(level=5.0)) is selection
    assert with_noise_column(selection, COLUMNS, NoiseLevel(column="label")) is selection
    assert with_noise_column(selection, COLUMNS, column) == replace(selection, carry=("label", "sigma"))


@pytest.mark.parametrize(("kind", "good"), [(pa.int8(), True), (pa.float64(), True), (pa.string(), False)])
def test_a_column_of_noise_levels_holds_numbers(kind: pa.DataType, good: bool) -> None:
    columns = replace(COLUMNS, carry=pa.schema([("label", pa.string()), ("sigma", kind)]))
    check_noise_column(columns, None)
    check_noise_column(columns, NoiseLevel(level=5.0))
    if good:
        check_noise_column(columns, NoiseLevel(column="sigma"))
    else:
        with pytest.raises(InputError, match="column 'sigma' is string, not numbers; set --noise-level"):
            check_noise_column(columns, NoiseLevel(column="sigma"))


VAE: Spec = make_spec(kind="vae", functions=("encode", "reconstruct", "decode", "generate"))


def test_samples_of_the_prior() -> None:
    assert latent_sampling(asked("encode", count=5), VAE) is None
    assert latent_sampling(asked("generate", count=5), VAE) == LatentSampling(count=5)
    assert latent_sampling(asked("generate", count=5, seed=7), VAE) == LatentSampling(count=5, seed=7)
    with pytest.raises(UsageError, match="how many images"):
        latent_sampling(asked("generate"), VAE)
    with pytest.raises(BundleError, match="cannot generate"):
        latent_sampling(asked("generate", count=5), make_spec())
    with pytest.raises(UsageError, match="--input goes with --interpolate"):
        latent_sampling(asked("generate", count=5, input=("/in",)), VAE)


def write_latents(path: Path, latents: dict[str, tuple[float, ...]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = pa.list_(pa.field("element", pa.float32(), nullable=False), 3)
    columns = {"key": [*latents], "latent": pa.array([*latents.values()], kind), "index": range(len(latents))}
    pq.write_table(pa.table(columns), path)


def between(root: Path, *keys: str, **changes: Any) -> JobOptions:
    plain = {"count": 5, "interpolate": keys, "input": (str(root),), "image": "latent", "key": "key"}
    return asked("generate", **(plain | changes))


def test_ends_are_looked_up(tmp_path: Path) -> None:
    write_latents(tmp_path / "a.parquet", {"x": (1, 2, 3), "y": (4, 5, 6)})
    write_latents(tmp_path / "b.parquet", {"z": (7, 8, 9), "x": (1, 2, 3)})
    spec = make_spec()
    wanted = LatentSampling(count=5, ends=((1.0, 2.0, 3.0), (7.0, 8.0, 9.0)))
    assert latent_sampling(between(tmp_path, "x", "z"), spec) == wanted
    assert latent_sampling(between(tmp_path, "z", "x"), spec) == replace(wanted, ends=wanted.ends[::-1])  # type: ignore[index]
    assert latent_sampling(between(tmp_path, "x", "x"), spec) == replace(wanted, ends=((1.0, 2.0, 3.0),) * 2)
    assert latent_sampling(between(tmp_path, "x", "z", format="parquet", image=None, key=None), spec) == wanted


def test_ends_are_looked_up_by_the_names_that_are_asked_for(tmp_path: Path) -> None:
    kind = pa.list_(pa.field("element", pa.float32(), nullable=False), 3)
    vectors = {"code": pa.array([[1, 2, 3], [4, 5, 6]], kind), "latent": pa.array([[0, 0, 0]] * 2, kind)}
    pq.write_table(pa.table({"name": ["x", "y"], "key": ["y", "x"], **vectors}), tmp_path / "a.parquet")
    (tmp_path / "b.tar").write_bytes(b"another format")
    options = between(tmp_path, "x", "y", image="code", key="name", format="parquet")
    assert latent_sampling(options, make_spec()) == LatentSampling(count=5, ends=((1.0, 2.0, 3.0), (4.0, 5.0, 6.0)))


def test_ends_that_are_not_there_once_are_refused(tmp_path: Path) -> None:
    write_latents(tmp_path / "a.parquet", {"x": (1, 2, 3), "y": (4, 5, 6)})
    with pytest.raises(InputError, match=f"no record with the key 'other' in {tmp_path}"):
        latent_sampling(between(tmp_path, "x", "other"), make_spec())
    write_latents(tmp_path / "b.parquet", {"x": (1, 2, 4)})
    with pytest.raises(InputError, match="several records have the key 'x'"):
        latent_sampling(between(tmp_path, "x", "y"), make_spec())
    with pytest.raises(UsageError, match="name them with --input"):
        latent_sampling(between(tmp_path, "x", "y", input=()), make_spec())
    with pytest.raises(BundleError, match="cannot decode"):
        latent_sampling(between(tmp_path, "x", "y"), make_spec(functions=("encode",)))
    with pytest.raises(UsageError, match="how many images"):
        latent_sampling(between(tmp_path, "x", "y", count=None), make_spec())
    with pytest.raises(InputError):
        latent_sampling(between(tmp_path, "x", "y", format="webdataset"), make_spec())
    with pytest.raises(InputError):
        latent_sampling(between(tmp_path, "x", "y", key="none"), make_spec())


def test_ends_have_the_length_of_the_models_latents(tmp_path: Path) -> None:
    write_latents(tmp_path / "a.parquet", {"x": (1, 2, 3), "y": (4, 5, 6)})
    spec = make_spec()
    assert spec.latent is not None
    with pytest.raises(InputError):
        latent_sampling(between(tmp_path, "x", "y"), replace(spec, latent=replace(spec.latent, shape=(4,))))


DIRECTORIES = {  # below the input -> whether readers would take it for a column of the table
    "shard=0": True,
    "a/index=5/b": True,
    "label=0": True,
    "LABEL=0": True,
    "key=": True,
    "latent=x": True,
    "dt=2026-11-22": False,
    "labels=0": False,
    "label": False,
    "label%3D0": False,
    "psnr=3": False,  # encode has no such column
}


def agrees(root: Path, table: pa.Table) -> bool:
    """Whether four readers of a directory give what its one table holds, in the columns of the table."""
    import duckdb
    import pandas as pd
    import polars as pl
    import pyarrow.dataset as ds

    read = {
        "duckdb": lambda: duckdb.sql(f"SELECT * FROM '{root}/**/*.parquet'").to_arrow_table().to_pylist(),
        "pandas": lambda: pd.read_parquet(root).to_dict("records"),
        "polars": lambda: pl.read_parquet(root).to_dicts(),
        "arrow": lambda: ds.dataset(root, partitioning="hive").to_table().to_pylist(),
    }
    (wanted,) = table.to_pylist()
    for reader in read.values():
        try:
            (row,) = reader()
        except (pa.ArrowException, TypeError):
            return False
        if any(str(row[name]) != str(value) for name, value in wanted.items() if name != "latent"):
            return False
        if len(row["latent"]) != 2:
            return False
    return True


@pytest.mark.parametrize(("directory", "taken"), DIRECTORIES.items())
def test_directories_that_readers_take_for_columns_are_refused(tmp_path: Path, directory: str, taken: bool) -> None:
    table = pa.table({"key": ["k"], "shard": ["s"], "index": [1], "latent": [[1.0, 2.0]], "label": [9]})
    (tmp_path / directory).mkdir(parents=True)
    pq.write_table(table, tmp_path / directory / "x.parquet")
    assert agrees(tmp_path, table) is not taken
    units = [make_unit("a/b"), make_unit(f"{directory}/x", f"{directory}/x.tar"), make_unit("label=3")]
    if taken:
        with pytest.raises(InputError, match=r"directory '\w+=.*named like a column.*--input of a job of its own"):
            check_directories(make_config(), units)
    else:
        check_directories(make_config(), units)


@pytest.mark.parametrize(
    ("directory", "changes"),
    [
        ("reason=x", {}),
        ("psnr=3", {"verb": "reconstruct"}),
        ("height=3", {"verb": "denoise"}),
        ("latent_variance=3", {"variance": True}),
        ("image=3", {"verb": "decode", "images": replace(OUT, rewrite=False)}),
        ("source_key=3", {"columns": replace(COLUMNS, carry=pa.schema([("key", pa.int64())]))}),
    ],
)
def test_columns_of_every_table_count(directory: str, changes: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="named like a column"):
        check_directories(make_config(**changes), [make_unit(f"{directory}/x")])
    if changes:
        check_directories(make_config(), [make_unit(f"{directory}/x")])


def test_the_output_itself_has_no_such_name() -> None:
    with pytest.raises(UsageError, match="--output /lake/label=0/out: 'label=0' is named like a column"):
        check_directories(make_config("/lake/label=0/out"), [])
    check_directories(make_config("/lake/dt=0/out"), [])


def test_a_format_that_is_only_read_needs_another_one_for_images() -> None:
    found = make_found("a.arrow", format="arrow")
    with pytest.raises(UsageError, match="arrow shards are not written; name the format of new ones, --output-format"):
        images_out(asked("denoise"), make_spec(), found)
    assert images_out(asked("denoise", output_format="parquet"), make_spec(), found) == replace(OUT, rewrite=False)
    assert images_out(asked("encode"), make_spec(), found) is None
    with pytest.raises(UsageError, match="output_format"):
        asked("denoise", output_format="arrow")
