"""Several latents of one pass through whole jobs, against a job with a bundle for each."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import latentlake as ll
from lake.core.errors import InputError, OutputError, UsageError
from pipeline.cli.command import main
from pipeline.explore.output import Output
from pipeline.job.latents import item_form
from pipeline.job.prepare import prepare
from pipeline.job.repair import retry_options
from pipeline.main import _words
from pipeline.options.job_options import JobOptions
from pipeline.options.latent_form import LatentOptions
from pipeline.output.verify import verify
from pipeline.worker.in_memory import encode_items
from pipeline.worker.process import close_worker, worker_for
from pipeline.worker.worker_key import WorkerKey
from tests.conftest import Model, Pixels, write_parquet
from tests.lake.formats.arrayrecord import samples as arrayrecord
from tests.lake.formats.mds.specification import samples
from tests.pipeline.conftest import run_job

LAYERS = {"code": "code", "fine": "high", "low": "low"}  # name -> layer
SHAPES = {"code": (5,), "fine": (4, 4, 4), "low": (2, 2, 6)}
NAMES = [*LAYERS]
COLUMNS = {"code": "latent", "fine": "latent_fine", "low": "latent_low"}
COUNT = 60


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An autoencoder with two feature maps, with all three latents and with each alone."""
    from model.export import export
    from tests.model import nets

    root = tmp_path_factory.mktemp("bundles")
    nets.pyramid().save(root / "m.keras")
    export(root / "m.keras", [f"{name}={layer}" for name, layer in LAYERS.items()], str(root / "all"))
    for name, layer in LAYERS.items():
        export(root / "m.keras", layer, str(root / name))
    return root


@pytest.fixture(scope="module")
def shard(tmp_path_factory: pytest.TempPathFactory, digit_files: list[bytes]) -> Path:
    file = tmp_path_factory.mktemp("in") / "x.parquet"
    files = [*digit_files[:COUNT]]
    files[7] = b"no image"
    write_parquet(file, files, range(COUNT))
    return file


@pytest.fixture(scope="module")
def encoded(tmp_path_factory: pytest.TempPathFactory, shard: Path, bundles: Path) -> Path:
    output = tmp_path_factory.mktemp("encoded") / "out"
    run(shard, bundles / "all", output, latent=NAMES)
    return output


def run(shard: Path, bundle: Path, output: Path, **options: Any) -> dict[str, Any]:
    return run_job("encode", shard, str(bundle), output, gate={"max_reject_fraction": 0.1}, **options)


def table(output: Path) -> pa.Table:
    return pq.read_table(next((output / "latents").rglob("*.parquet")))


def said(output: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(table(output).schema.metadata[b"latentlake.latent"])
    return found


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"latent_type": "int8"},
        {"latent_type": "bfloat16", "latent_scale": 0.5, "latent_shift": 0.25, "flip": True, "normalize": "l2"},
        {"latent_type": "uint8", "latent_quantization": "table"},
    ],
    ids=str,
)
def test_columns_are_those_of_a_job_for_each(shard: Path, bundles: Path, tmp_path: Path, options: Any) -> None:
    run(shard, bundles / "all", tmp_path / "all", latent=NAMES, **options)
    found = table(tmp_path / "all")
    flips = [f"{column}_flip" for column in COLUMNS.values()] if options.get("flip") else []
    assert {*COLUMNS.values(), *flips} == {name for name in found.column_names if name.startswith("latent")}
    assert not verify(str(tmp_path / "all"), deep=True).problems
    for name, column in COLUMNS.items():
        run(shard, bundles / name, tmp_path / name, **options)
        alone = table(tmp_path / name)
        assert found[column].equals(alone["latent"])
        assert not flips or found[f"{column}_flip"].equals(alone["latent_flip"])
        if options:
            own = said(tmp_path / "all") if column == "latent" else said(tmp_path / "all")["further"][column]
            kept = {field: value for field, value in own.items() if field not in ("name", "own", "further")}
            assert kept == said(tmp_path / name)


def test_pooling_is_of_grids(shard: Path, bundles: Path, tmp_path: Path, encoded: Path) -> None:
    run(shard, bundles / "all", tmp_path / "pooled", latent=NAMES, pool="mean")
    found, whole = table(tmp_path / "pooled"), table(encoded)
    assert found["latent"].equals(whole["latent"])
    for name in ("fine", "low"):
        grids = np.stack(whole[COLUMNS[name]].to_numpy()).reshape(-1, *SHAPES[name])
        np.testing.assert_allclose(np.stack(found[COLUMNS[name]].to_numpy()), grids.mean((1, 2)), atol=1e-6)


def test_one_that_is_not_the_model_s_own(shard: Path, bundles: Path, tmp_path: Path, encoded: Path) -> None:
    run(shard, bundles / "all", tmp_path / "low", latent=["low"])
    assert table(tmp_path / "low")["latent"].equals(table(encoded)["latent_low"])
    assert json.loads((tmp_path / "low/_SUCCESS").read_text())["latent_layer"] == "low"
    with pytest.raises(InputError, match="those of a layer that the model does not decode"):
        run_job("decode", tmp_path / "low/latents", str(bundles / "all"), tmp_path / "back")
    # Its own by name is what a job without a name writes, also for the fingerprint.
    run(shard, bundles / "all", tmp_path / "own")
    again = JobOptions(
        verb="encode", input=str(shard), model=str(bundles / "all"), output=str(tmp_path / "own"), latent="code",
        gate={"max_reject_fraction": 0.1},
    )  # fmt: skip
    assert prepare(again).nothing_to_do


def test_decode_takes_the_model_s_own(shard: Path, bundles: Path, tmp_path: Path, encoded: Path) -> None:
    run_job("reconstruct", shard, str(bundles / "all"), tmp_path / "made", gate={"max_reject_fraction": 0.1})
    run_job("decode", encoded / "latents", str(bundles / "all"), tmp_path / "back")
    want, found = (images(tmp_path / name) for name in ("made", "back"))
    assert found == want
    # Behind others, by its column.
    run(shard, bundles / "all", tmp_path / "turned", latent=["low", "code"], latent_type="float16", latent_scale=0.5)
    with pytest.raises(InputError, match="does not decode"):
        run_job("decode", tmp_path / "turned/latents", str(bundles / "all"), tmp_path / "no")
    run_job("decode", tmp_path / "turned/latents", str(bundles / "all"), tmp_path / "half", image="latent_code")
    run(shard, bundles / "code", tmp_path / "code", latent_type="float16", latent_scale=0.5)
    run_job("decode", tmp_path / "code/latents", str(bundles / "code"), tmp_path / "half-alone")
    assert images(tmp_path / "half") == images(tmp_path / "half-alone")


def images(output: Path) -> list[bytes]:
    (file,) = (output / "images").rglob("*.parquet")
    column = pq.read_table(file)["image"].to_pylist()
    return [value["bytes"] if isinstance(value, dict) else value for value in column]


@pytest.mark.parametrize("format", ["webdataset", "webdataset-safetensors", "mds", "arrayrecord"])
def test_formats_of_trainers(format: str, shard: Path, bundles: Path, tmp_path: Path, encoded: Path) -> None:
    output = tmp_path / "cache"
    run(shard, bundles / "all", output, latent=NAMES, latent_format=format)
    rows = table(encoded).to_pylist()
    found = list(samples_of(output, format))
    assert len(found) == len(rows) == COUNT - 1
    for sample, row in zip(found, rows, strict=True):
        for name, column in COLUMNS.items():
            np.testing.assert_array_equal(sample[column], np.array(row[column], np.float32).reshape(SHAPES[name]))
    assert not verify(str(output), deep=True).problems
    run_job("decode", output / "latents", str(bundles / "all"), tmp_path / "back", output_format="parquet")
    assert json.loads((tmp_path / "back/_SUCCESS").read_text())["total"]["results"] == COUNT - 1


def samples_of(output: Path, format: str) -> Any:
    if format == "mds":
        yield from samples(output / "latents/x")
        return
    if format == "arrayrecord":
        yield from arrayrecord.samples(output / "latents/x.arrayrecord")
        return
    (file,) = output.rglob("*.tar")
    with tarfile.open(file) as tar:
        members = {info.name: tar.extractfile(info).read() for info in tar}  # type: ignore[union-attr]
    for name in sorted({name.partition(".")[0] for name in members}):
        if format == "webdataset":
            ends = {"latent": "npy", "latent_fine": "fine.npy", "latent_low": "low.npy"}
            yield {column: np.load(io.BytesIO(members[f"{name}.{end}"])) for column, end in ends.items()}
        else:
            yield tensors(members[f"{name}.safetensors"])


def tensors(data: bytes) -> dict[str, Pixels]:
    end = 8 + int.from_bytes(data[:8], "little")
    return {
        name: np.frombuffer(data[end:], np.float32, np.prod(field["shape"]), field["data_offsets"][0]).reshape(
            field["shape"]
        )
        for name, field in json.loads(data[8:end]).items()
        if name != "__metadata__"
    }


def test_damage_in_a_further_latent_is_found(shard: Path, bundles: Path, tmp_path: Path) -> None:
    from pipeline.output.layout import Layout
    from pipeline.output.manifest.manifest import read_manifest
    from pipeline.output.verify.rows import table_problem

    run(shard, bundles / "all", tmp_path / "out", latent=NAMES)
    found = table(tmp_path / "out")
    (receipt,) = read_manifest(Layout(str(tmp_path / "out"))).values()
    assert table_problem(found.to_batches(), "latents", receipt) is None
    values = found["latent_low"].combine_chunks().flatten().to_numpy().copy()
    values[100] = np.nan
    column = pa.FixedSizeListArray.from_arrays(pa.array(values), type=found.schema.field("latent_low").type)
    place = found.column_names.index("latent_low")
    damaged = found.set_column(place, found.schema.field("latent_low"), column)
    assert table_problem(damaged.to_batches(), "latents", receipt) == "its column latent_low has NaN or infinite values"


def test_questions_are_about_the_latent_that_is_named(
    shard: Path, bundles: Path, tmp_path: Path, encoded: Path, digit_files: list[bytes]
) -> None:
    run(shard, bundles / "low", tmp_path / "low")
    alone, chosen = Output(tmp_path / "low"), ll.open(encoded, latent="low")
    np.testing.assert_array_equal(chosen.latents().values, alone.latents().values)
    key = chosen.latents().keys[3].as_py()
    assert chosen.similar(key).table.equals(alone.similar(key).table)
    assert chosen.similar(image=digit_files[3]).table.equals(alone.similar(image=digit_files[3]).table)
    assert chosen.outliers(top=5).table.equals(alone.outliers(top=5).table)
    assert chosen.duplicates(threshold=0.5).table.equals(alone.duplicates(threshold=0.5).table)
    # The caches of both latents stand side by side.
    assert Output(encoded).latents().values.shape == (COUNT - 1, 5)
    assert len([*(encoded / "_cache").glob("latents-*")]) == 2
    with pytest.raises(UsageError, match=r"'lwo': .* has the latents code, fine, low"):
        ll.open(encoded, latent="lwo")
    with pytest.raises(UsageError, match="has the model's own latent alone"):
        ll.open(tmp_path / "low", latent="low")


def test_latents_of_different_layers_are_not_compared(
    shard: Path, bundles: Path, tmp_path: Path, encoded: Path
) -> None:
    run(shard, bundles / "all", tmp_path / "low", latent=["low"])
    run(shard, bundles / "all", tmp_path / "own")
    with pytest.raises(UsageError, match=r"different latents .the model's own and low."):
        Output(encoded).duplicates(tmp_path / "low")
    with pytest.raises(UsageError, match="different latents"):
        Output(encoded).compare(Output(tmp_path / "low"))
    low = ll.open(encoded, latent="low")
    assert len(low.duplicates(tmp_path / "low", threshold=1e-6).dropped) == COUNT - 1
    assert len(Output(encoded).duplicates(tmp_path / "own", threshold=1e-6).dropped) == COUNT - 1


def test_an_image_in_memory_has_one(bundles: Path, encoded: Path, digit_files: list[bytes]) -> None:
    from lake.images.types import Target
    from model.bundle import Bundle

    bundle = Bundle.open(str(bundles / "all"))
    form = item_form(LatentOptions(latent=["low"]), bundle.spec)
    key = WorkerKey(model=bundle.uri, digest=bundle.digest, target=Target(shape=(8, 8, 1)))
    worker = worker_for(key)
    try:
        found = dict(encode_items([(row, digit_files[row]) for row in range(7)], worker, form))  # type: ignore[arg-type]
    finally:
        close_worker(key)
    want = np.stack(table(encoded)["latent_low"].to_numpy())[:7]
    np.testing.assert_array_equal(np.stack([found[row] for row in range(7)]), want)
    with pytest.raises(UsageError, match="an image has one latent here"):
        item_form(LatentOptions(latent=["low", "code"]), bundle.spec)


def test_a_sample_of_the_own_latent_beside_another(tmp_path: Path) -> None:
    """It is that of a job for it alone, in whatever place, and the other latent stays what it is."""
    from model.export import export
    from tests.model.onnx_import import networks

    np.save(tmp_path / "x.npy", np.random.default_rng(0).integers(0, 256, (40, 12, 8, 3), np.uint8))
    files = networks.vae("y", "mean", "log_variance").save(tmp_path / "v.onnx")
    export(files, ["mean", "spread=log_variance"], str(tmp_path / "all"), variance="log_variance")
    export(files, "mean", str(tmp_path / "mean"), variance="log_variance")
    both = ["mean", "spread"]
    asked = {"plain": both, "one": both, "other": both[::-1], "alone": None}
    found = {}
    for name, latent in asked.items():
        sample, bundle = None if name == "plain" else 5, tmp_path / ("all" if latent else "mean")
        run(tmp_path / "x.npy", bundle, tmp_path / name, latent=latent, sample=sample, flip=True)
        found[name] = table(tmp_path / name)
    for flip in ("", "_flip"):
        alone, spread = found["alone"][f"latent{flip}"], found["plain"][f"latent_spread{flip}"]
        assert alone == found["one"][f"latent{flip}"] == found["other"][f"latent_mean{flip}"]
        assert alone != found["plain"][f"latent{flip}"]
        assert spread == found["one"][f"latent_spread{flip}"] == found["other"][f"latent{flip}"]
    with pytest.raises(UsageError, match="--latent-variance is of the model's own latent alone"):
        run(tmp_path / "x.npy", tmp_path / "all", tmp_path / "refused", latent=both, variance=True)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"latent": ["lwo"]}, "the bundle has code, fine, low; did you mean low"),
        ({"latent": ["low", "low"]}, "'low' is given twice"),
        ({"latent": ["low"], "sample": 1}, "--sample is of the model's own latent; leave it out, or add --latent code"),
        ({"latent": ["code", "low"], "pool": "cls"}, "has no tokens"),
        ({"latent": ["code", "low"], "latent_type": "int8", "latent_quantization": "x.json"}, "and no file"),
        ({"latent": ["code", "low"], "latent_type": "int8", "latent_format": "mds"}, "are for tables"),
    ],
)
def test_what_is_refused(options: dict[str, Any], text: str, shard: Path, bundles: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=text):
        run(shard, bundles / "all", tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_a_bundle_of_one_latent_names_it(shard: Path, bundles: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the bundle has high; to have another layer too, export the model"):
        run(shard, bundles / "fine", tmp_path / "out", latent=["low"])


def test_the_command_and_later_runs(shard: Path, bundles: Path, tmp_path: Path, capsys: Any) -> None:
    """What was asked is kept: another question is another output, and a retry asks the same."""
    words = ["encode", "--input", str(shard), "--model", str(bundles / "all"), "--max-reject-fraction", "10%"]
    words += ["--output", str(tmp_path / "out"), "--latent", "code", "--latent", "low"]
    assert main(words) == 0
    assert [name for name in table(tmp_path / "out").column_names if "latent" in name] == ["latent", "latent_low"]
    assert retry_options(str(tmp_path / "out"), {}).latent == ("code", "low")
    with pytest.raises(OutputError, match="made with other options"):
        run(shard, bundles / "all", tmp_path / "out", latent=NAMES)
    assert main(["similar", str(tmp_path / "out"), "--latent", "low", "--key", "00003.png", "--k", "2"]) == 0
    assert main(["similar", str(tmp_path / "out"), "--latent", "fine", "--key", "00003.png"]) == 2
    assert "has the latents code, low" in capsys.readouterr().err


def test_the_template_separates_names_by_commas() -> None:
    assert _words("--latent=code,low") == ["--latent=code", "--latent=low"]


def test_reconstruct_has_one(bundles: Path, tmp_path: Path) -> None:
    from pipeline.options.job_options import make_options

    with pytest.raises(UsageError, match="latent is no option of reconstruct"):
        make_options("reconstruct", {"input": "x", "model": "m", "output": "o", "latent": "low"})


def test_scales_last_as_long_as_the_output(shard: Path, bundles: Path, tmp_path: Path, model: Model) -> None:
    assert model
    given = {"latent": ["low", "code"], "latent_type": "int8"}
    run(shard, bundles / "all", tmp_path / "out", **given)
    before = said(tmp_path / "out")
    options = JobOptions(
        verb="encode", input=str(shard), model=str(bundles / "all"), output=str(tmp_path / "out"),
        gate={"max_reject_fraction": 0.1}, **given,
    )  # fmt: skip
    again = prepare(options)
    assert again.nothing_to_do and again.config.latents is not None
    assert [*again.config.latents.storage.scale] == before["scale"]
    assert [*again.config.latents.further[0].storage.scale] == before["further"]["latent_code"]["scale"]
