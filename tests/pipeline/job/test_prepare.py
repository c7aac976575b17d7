"""A job is checked and planned before anything is written: values of the job, and what it refuses."""

import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lake.core.errors import BundleError, InputError, OutputError, UsageError
from lake.formats.reader import ColumnSelection, RecordSchema
from lake.images.types import Color, Orientation, Resize, Target
from lake.inputs.sampled import LatentSampling
from lake.storage import StoreOptions, configure, configured
from model.bundle import Bundle
from model.input_spec import Noise
from model.spec import Latent
from pipeline.config import ImagesOut, NoiseLevel, RejectRetry, fingerprint, options_digest
from pipeline.job import make_config
from pipeline.job import prepare as module
from pipeline.job.prepare import Job, output_state, prepare
from pipeline.options.job_options import JobOptions, Scope
from pipeline.output.layout import Layout
from pipeline.output.manifest.manifest import write_manifest
from pipeline.output.state.job_file import write_job_file
from pipeline.output.units.receipts import Receipt, write_receipt
from tests.pipeline.job.conftest import IMAGES, VECTORS, Place, write_shard
from tests.pipeline.values import make_receipt


@pytest.fixture(autouse=True)
def _stores() -> Any:
    before = configured()
    yield
    configure(before)


def finish(place: Place, options: JobOptions, *, job_file: bool = True, success: bool = True) -> Job:
    """Leave what a run of these options leaves; gives the job as it was planned."""
    job = prepare(options)
    layout = Layout(job.config.output)
    write_manifest(layout, receipts_of(job).values())
    job.bundle.copy(job.config.model)
    if job_file:
        write_job_file(job.config, job.selection, {})
    if success:
        Path(layout.success).write_bytes(b"{}")
    return job


def receipts_of(job: Job) -> dict[str, Receipt]:
    digest, config = options_digest(job.config), job.config
    return {
        unit.id: make_receipt(unit.id, fingerprint=fingerprint(unit, config), options=digest) for unit in job.plan.units
    }


def test_a_new_job(place: Place) -> None:
    (place.source / "readme.txt").write_text("no shard")
    options = place.options(stores=StoreOptions(requester_pays="p"), threads=3, reject_bytes=7)
    started = time.time()
    job = prepare(options)
    digest = Bundle.open(place.bundle()).digest
    config = job.config
    assert configured() == options.stores
    assert (config.verb, config.output, config.threads, config.reject_bytes) == ("encode", str(place.output), 3, 7)
    assert (config.model, config.model_digest) == (f"{place.output}/_model/{digest}", digest)
    assert (config.latent_layer, config.stores, config.variance) == ("encoded", options.stores, False)
    assert config.target == Target(shape=(8, 8, 1))
    assert config.columns == RecordSchema(
        image="image",
        key="image.path",
        carry=pa.schema([("label", pa.int64())]),
        numeric=False,
        max_record_bytes=256 << 20,
    )
    assert (config.images, config.noise, config.sampling, config.reference, config.retry) == (None,) * 5
    assert re.fullmatch(r"\d{8}T\d{6}Z-[0-9a-f]{6}", config.run)
    assert config.run[:8] == time.strftime("%Y%m%d", time.gmtime())
    assert [unit.id for unit in job.plan.todo] == ["a", "b"]
    assert job.options is options
    assert job.bundle.digest == digest
    assert (job.found.root, job.found.format, len(job.found.shards)) == (str(place.source), "parquet", 2)
    assert job.selection == ColumnSelection(shape=(8, 8, 1))
    assert (job.run.units, job.run.todo, job.run.obsolete) == (2, 2, "")
    assert job.run.passed_over == {"unknown_format": {"count": 1, "examples": ["readme.txt"]}}
    assert job.run.expected is None
    assert not job.run.tidy
    assert started <= job.run.started <= time.time()
    assert job.state.files == (None, None, None)
    assert not job.nothing_to_do
    assert not place.output.exists(), "nothing is written"


@pytest.mark.parametrize("name", ["X", "out "])
def test_a_name_that_ends_like_any_other(place: Place, name: str) -> None:
    output = str(place.output.parent / name)
    job = prepare(place.options(output=f"{output}/"))
    assert (job.config.output, job.config.model) == (output, f"{output}/_model/{job.bundle.digest}")


def test_a_run_is_called_after_the_time_that_all_machines_have(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "XXX-11")
    time.tzset()
    try:
        run = prepare(place.options()).config.run
    finally:
        monkeypatch.undo()
        time.tzset()
    assert run[:11] in {time.strftime("%Y%m%dT%H", time.gmtime(time.time() - late)) for late in (0, 60)}


def test_runs_have_names_of_their_own(place: Place) -> None:
    assert prepare(place.options()).config.run != prepare(place.options()).config.run
    assert prepare(place.options(), "again").config.run == "again"


def test_what_is_asked_for_comes_through(place: Place) -> None:
    write_shard(place.source / "a.parquet", name=["1", "2", "3"])
    options = place.options(
        "reconstruct",
        image="image",
        key="name",
        carry=("name", "label", "name"),
        resize=Resize.FIT,
        orientation=Orientation.IGNORE,
        color=Color.CONVERT,
        max_pixels=99,
        max_record_bytes=1000,
        output=f"{place.output}///",
        on_damage="reject",
        variance=False,
    )
    job = prepare(options)
    assert job.config.output == str(place.output)
    assert job.config.model.startswith(f"{place.output}/_model/")
    assert job.config.target == Target(
        shape=(8, 8, 1), resize=Resize.FIT, orientation=Orientation.IGNORE, color=Color.CONVERT, max_pixels=99
    )
    assert job.selection == ColumnSelection(
        image="image",
        key="name",
        carry=("name", "label"),
        max_record_bytes=1000,
        shape=(8, 8, 1),
        whole=True,
        salvage=True,
    )
    assert job.config.columns.key == "name"
    assert job.config.columns.carry.names == ["name", "label"]
    assert job.config.columns.whole
    assert job.config.columns.salvage
    assert job.config.columns.max_record_bytes == 1000
    assert job.config.images == ImagesOut(
        format="parquet", rewrite=True, image_format="lossless", quality=90, error_map=False
    )


def test_images_in_another_format_need_not_all_of_a_record(place: Place) -> None:
    job = prepare(place.options("reconstruct", output_format="folder", on_damage="fail"))
    assert (job.selection.whole, job.config.columns.whole, job.selection.salvage) == (False, False, False)
    assert job.config.images is not None
    assert job.config.images.format == "folder"


def test_shapes_of_what_is_decoded(place: Place, tmp_path: Path) -> None:
    sized = place.bundle(
        "any",
        kind="denoiser",
        latent=None,
        input=replace(IMAGES, any_size=True, shape=(8, 8, 3), color="rgb", reach=8),
        functions=("denoise",),
    )
    assert prepare(place.options("denoise", model=sized)).config.target.shape == (None, None, 3)
    assert prepare(place.options("reconstruct")).config.target.shape == (8, 8, 1)


def write_vectors(path: Path, length: int, name: str = "latent") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = pa.list_(pa.field("element", pa.float32(), nullable=False), length)
    pq.write_table(pa.table({"key": ["a"], name: pa.array([[0.5] * length], kind)}), path)


def test_latents_are_numbers_of_the_models_length(place: Place, tmp_path: Path) -> None:
    write_vectors(tmp_path / "latents/a.parquet", 3)
    options = place.options("decode", input=(str(tmp_path / "latents"),), image="latent")
    job = prepare(options)
    assert job.selection == ColumnSelection(image="latent", numeric=True, length=3, latents=True, whole=True)
    assert job.config.target.shape == (3,)
    assert job.config.columns.numeric
    assert job.config.columns.length == 3
    write_vectors(tmp_path / "latents/a.parquet", 4)
    with pytest.raises(InputError):
        prepare(options)


def test_vectors_have_the_models_length(place: Place, tmp_path: Path) -> None:
    write_vectors(tmp_path / "vectors/a.parquet", 5, "vector")
    bundle = place.bundle("dense", input=VECTORS, kind="dense", functions=("encode", "reconstruct"))
    job = prepare(place.options("encode", model=bundle, input=(str(tmp_path / "vectors"),), image="vector"))
    assert (job.selection.numeric, job.selection.length, job.config.target.shape) == (True, 5, (5,))


def test_a_model_without_a_latent(place: Place) -> None:
    bundle = place.bundle("denoiser", kind="denoiser", latent=None, functions=("denoise",))
    assert prepare(place.options("denoise", model=bundle)).config.latent_layer == ""
    with pytest.raises(BundleError, match="cannot encode"):
        prepare(place.options("encode", model=bundle))


def test_variances(place: Place) -> None:
    vae = place.bundle("vae", kind="vae", variance="log", functions=("encode", "reconstruct", "decode", "generate"))
    assert prepare(place.options(model=vae, variance=True)).config.variance
    with pytest.raises(UsageError, match="gives no variances"):
        prepare(place.options(variance=True))


def test_noise_levels(place: Place) -> None:
    noise = Noise(form="map", input="sigma", scale=1.0)
    bundle = place.bundle(
        "told", kind="denoiser", latent=None, input=replace(IMAGES, noise=noise), functions=("denoise",)
    )
    assert prepare(place.options("denoise", model=bundle, noise_level="5")).config.noise == NoiseLevel(level=5.0)
    write_shard(place.source / "a.parquet", sigma=[1.0, 2.0, 3.0], text=["a", "b", "c"])
    job = prepare(place.options("denoise", model=bundle, noise_level="sigma"))
    assert job.config.columns.carry.names == ["label", "sigma"]
    assert job.selection.carry is None, "what was asked for is as it was"
    with pytest.raises(InputError, match="column 'text' is string, not numbers"):
        prepare(place.options("denoise", model=bundle, noise_level="text"))


def test_generated_images_need_no_input(place: Place) -> None:
    vae = place.bundle("vae", kind="vae", variance="log", functions=("encode", "reconstruct", "decode", "generate"))
    job = prepare(place.options("generate", model=vae, input=(), count=5, seed=3, max_record_bytes=9))
    assert job.config.sampling == LatentSampling(count=5, seed=3)
    assert job.config.columns == RecordSchema(image="", key=None, carry=pa.schema([]), numeric=True, max_record_bytes=9)
    assert (job.found.root, job.found.format, job.found.shards) == ("", "drawn", ())
    assert job.config.images == ImagesOut(
        format="parquet", rewrite=False, image_format="lossless", quality=90, error_map=False
    )
    assert [unit.id for unit in job.plan.todo] == ["part-00000"]
    assert job.run.passed_over == {}


def test_a_reference_is_looked_for(place: Place, tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_shard(tmp_path / f"clean/{name}.parquet")
    bundle = place.bundle("denoiser", kind="denoiser", latent=None, functions=("denoise",))
    job = prepare(place.options("denoise", model=bundle, reference=(str(tmp_path / "clean"),)))
    assert job.config.reference is not None
    assert job.config.reference.format == "parquet"
    clean = [unit.clean[0].uri for unit in job.plan.todo]
    assert clean == [str(tmp_path / "clean/a.parquet"), str(tmp_path / "clean/b.parquet")]
    (tmp_path / "clean/b.parquet").unlink()
    with pytest.raises(InputError, match=r"b\.parquet: no shard of this name below"):
        prepare(place.options("denoise", model=bundle, reference=(str(tmp_path / "clean"),)))


@pytest.mark.parametrize("asked", ["6", "counts"])
def test_expected_records(place: Place, tmp_path: Path, asked: str) -> None:
    if asked == "counts":
        (tmp_path / "counts.json").write_text('{"a": 4, "b": 3}')
        asked = str(tmp_path / "counts.json")
    job = prepare(place.options(expect_records=asked))
    total = asked == "6"
    assert job.run.expected == (6 if total else None)
    assert [unit.expected for unit in job.plan.todo] == ([None, None] if total else [4, 3])


def test_what_is_refused_writes_nothing(place: Place, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="not there"):
        prepare(place.options(model=str(tmp_path / "none")))
    with pytest.raises(InputError, match="no such file or directory"):
        prepare(place.options(input=(str(tmp_path / "none"),)))
    with pytest.raises(UsageError):
        prepare(place.options(output=str(place.source / "out")))
    with pytest.raises(InputError):
        prepare(place.options(format="webdataset"))
    assert not place.output.exists()
    place.output.mkdir()
    (place.output / "precious").write_bytes(b"1")
    with pytest.raises(OutputError, match="is not empty"):
        prepare(place.options())


def test_columns_that_a_format_cannot_write_are_refused(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(config: object) -> None:
        raise UsageError("of no use")

    monkeypatch.setattr(make_config, "image_outputs_for", refuse)
    with pytest.raises(UsageError, match="of no use"):
        prepare(place.options("reconstruct"))


def test_what_is_complete_has_nothing_to_do(place: Place) -> None:
    finish(place, place.options())
    job = prepare(place.options())
    assert job.plan.todo == []
    assert (job.run.units, job.run.todo, job.run.tidy) == (2, 0, False)
    assert job.nothing_to_do
    assert [stat.uri.rpartition("/")[2] for stat in job.state.files if stat] == [
        *("_job.json", "_manifest.parquet", "_SUCCESS")
    ]
    assert not prepare(place.options(expect_records="6")).nothing_to_do, "the number is for the commit to judge"
    assert not prepare(place.options(scope=Scope(tidy=True))).nothing_to_do
    assert not prepare(place.options(scope=Scope(redo=frozenset({"a"})))).nothing_to_do
    (place.output / "_SUCCESS").unlink()
    assert not prepare(place.options()).nothing_to_do


def test_shards_that_are_gone_are_given_up_only_when_asked(place: Place) -> None:
    finish(place, place.options())
    (place.source / "b.parquet").unlink()
    assert prepare(place.options()).nothing_to_do
    job = prepare(place.options(scope=Scope(prune=True)))
    assert job.plan.obsolete == ["b"]
    assert job.run.obsolete == f"{place.output}/_plan/{job.config.run}/obsolete.json"
    assert not job.nothing_to_do


def test_receipts_that_a_dead_run_left_count_and_are_tidied(place: Place) -> None:
    job = prepare(place.options())
    write_job_file(job.config, job.selection, {})
    write_receipt(Layout(job.config.output), receipts_of(job)["a"])
    job = prepare(place.options())
    assert [unit.id for unit in job.plan.todo] == ["b"]
    assert job.run.tidy
    assert job.run.units == 2


def test_what_an_output_lost_is_made_anew(place: Place) -> None:
    first = finish(place, place.options())
    Path(first.config.model, "model.json").unlink()
    job = prepare(place.options())
    assert job.run.tidy
    assert not job.nothing_to_do
    finish(place, place.options())
    (place.output / "_job.json").unlink()
    assert prepare(place.options()).run.tidy


def test_an_empty_output_lost_nothing(place: Place) -> None:
    write_manifest(Layout(str(place.output)), [])
    assert not prepare(place.options()).run.tidy


def test_other_options_are_not_mixed(place: Place) -> None:
    finish(place, place.options())
    changed = place.options(reject_bytes=5)
    with pytest.raises(OutputError, match="was made with other options"):
        prepare(changed)
    job = prepare(replace(changed, overwrite=True))
    assert [unit.id for unit in job.plan.todo] == ["a", "b"]
    other = place.bundle("other", content=b"another model")
    with pytest.raises(OutputError, match="model_digest"):
        prepare(place.options(model=other))


def test_an_output_that_lost_its_options_is_not_mixed(place: Place) -> None:
    finish(place, place.options(), job_file=False)
    prepare(place.options())
    with pytest.raises(OutputError, match=r"has lost its _job\.json, and unit"):
        prepare(place.options(reject_bytes=5))
    prepare(place.options(reject_bytes=5, overwrite=True))


def test_the_columns_of_an_output_last(place: Place) -> None:
    """Whatever later shards have: else their units would have other columns."""
    finish(place, place.options())
    write_shard(place.source / "a.parquet", label=pa.array([1.5, 2.5, 3.5]))
    assert prepare(place.options()).config.columns.carry == pa.schema([("label", pa.int64())])


@pytest.mark.parametrize(
    ("second", "target", "most"),
    [
        ({}, {}, 256 << 20),
        ({"max_pixels": 5, "resize": Resize.FIT}, {"max_pixels": 5, "resize": Resize.FIT}, 256 << 20),
        ({"max_record_bytes": 9}, {}, 9),
    ],
)
def test_a_retry_has_policies_of_its_own(
    place: Place, second: dict[str, Any], target: dict[str, Any], most: int
) -> None:
    given = dict(second)
    config = prepare(place.options(retry_policies=second)).config
    assert config.retry == RejectRetry(target=Target(shape=(8, 8, 1), **target), max_record_bytes=most)
    assert second == given
    assert config.target == Target(shape=(8, 8, 1))


@pytest.mark.parametrize(("units", "parts"), [(0, 0), (1, 1), (3, 1), (4, 2), (6, 2), (7, 3)])
def test_parts_of_the_plan(place: Place, monkeypatch: pytest.MonkeyPatch, units: int, parts: int) -> None:
    monkeypatch.setattr(module, "UNITS_PER_PART", 3)
    job = prepare(place.options(), "run-7")
    job = replace(job, plan=replace(job.plan, todo=[job.plan.todo[0]] * units))
    assert job.parts == [f"{place.output}/_plan/run-7/part-{number:05d}.jsonl" for number in range(parts)]


def test_the_state_of_an_output(place: Place) -> None:
    layout = Layout(str(place.output))
    assert output_state(layout).files == (None, None, None)
    finish(place, place.options())
    before = output_state(layout)
    Path(layout.success).write_bytes(b"other")
    after = output_state(layout)
    assert before.files[:2] == after.files[:2]
    assert before.files[2] != after.files[2]
    assert before.left == after.left
    Path(layout.receipt("a")).parent.mkdir(exist_ok=True)
    Path(layout.receipt("a")).write_bytes(b"a run went on")
    assert before.left != output_state(layout).left


def test_latents_may_have_several_dimensions(place: Place, tmp_path: Path) -> None:
    bundle = place.bundle("deep", latent=Latent(layer="deep", shape=(2, 2, 3)))
    write_vectors(tmp_path / "latents/a.parquet", 12)
    options = place.options("decode", model=bundle, input=(str(tmp_path / "latents"),), image="latent")
    assert prepare(options).config.target.shape == (12,)


@pytest.mark.parametrize("output", ["./in/clean", "link/clean", "elsewhere/../in", "."])
def test_an_output_that_would_be_read_is_refused(place: Place, monkeypatch: pytest.MonkeyPatch, output: str) -> None:
    monkeypatch.chdir(place.source.parent)
    (place.source.parent / "link").symlink_to("in")
    with pytest.raises(UsageError, match="lies inside"):
        prepare(place.options(output=output))
    spec = {"kind": "denoiser", "latent": None, "functions": ("denoise",)}
    denoiser = place.bundle("denoiser", **spec)
    options = place.options("denoise", model=denoiser, output=output, input=(str(place.models),), reference=("in",))
    with pytest.raises(UsageError, match=r"(inside the reference in|reference in lies inside)"):
        prepare(options)


def test_a_directory_named_like_a_column_is_refused_unless_it_is_the_input(place: Place) -> None:
    write_shard(place.source / "label=1/c.parquet")
    with pytest.raises(InputError, match=r"in/label=1/c\.parquet: the directory 'label=1' is named like a column"):
        prepare(place.options())
    assert [unit.id for unit in prepare(place.options(input=(f"{place.source}/label=1",))).plan.units] == ["c"]
    assert len(prepare(place.options(carry=())).plan.units) == 3
