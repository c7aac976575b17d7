"""A model that fails for some records: each costs itself, and its neighbours are what they are without it."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lake.core.errors import BundleError
from lake.core.records import Reason, Stage, Unit
from lake.core.tensorflow import tensorflow
from lake.images.types import Target
from lake.inputs.sampled import LatentSampling, read_sampled
from model.bundle import GOLDEN_FILE, MODEL_FILE, Bundle, write_bundle
from model.denoiser import Denoiser
from model.golden import pack, unpack
from model.runtime.executor import ModelError
from model.runtime.runtime import Runtime
from model.runtime.tensorflow import reason
from pipeline.config import Gate
from pipeline.worker.in_memory import RejectedItem, encode_items
from pipeline.worker.process import worker_for
from pipeline.worker.worker_key import WorkerKey
from tests.conftest import Pixels, long_forms, png, write_parquet
from tests.faults import fussy
from tests.faults.outputs import add_up, rows
from tests.pipeline.conftest import run_job

pytestmark = pytest.mark.slow  # jobs, or models, from end to end

SIZE = 1100  # records: a whole batch and a part of one
OPEN = Gate(max_reject_fraction=1.0)
CULPRITS = {
    "first": [0],
    "last of a batch": [1023],
    "last": [SIZE - 1],
    "several": [0, 1, 31, 32, 500, 1023, 1024, 1050],
    "all of a batch": list(range(1024, SIZE)),
}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> str:
    return fussy.autoencoder(tmp_path_factory.mktemp("fussy"))


@pytest.fixture(scope="module")
def denoiser(tmp_path_factory: pytest.TempPathFactory) -> str:
    return fussy.denoiser(tmp_path_factory.mktemp("fussy"))


@pytest.fixture(scope="module")
def runtime(bundle: str) -> Runtime:
    return Runtime.load(Bundle.open(bundle))


def without(values: Sequence[Any], some: Sequence[int]) -> list[Any]:
    return [value for i, value in enumerate(values) if i not in set(some)]


def run_both(verb: str, bundle: str, files: list[bytes], culprits: list[int], place: Path, **settings: Any) -> Path:
    """The job over images of which some are white, and over the same without those."""
    mixed = [png(np.full((8, 8), 255, np.uint8)) if i in culprits else data for i, data in enumerate(files)]
    for name, chosen in (("mixed", mixed), ("clean", without(files, culprits))):
        labels = without(range(len(files)), culprits if name == "clean" else ())
        write_parquet(place / f"in/{name}/x.parquet", chosen, labels)
        run_job(verb, place / f"in/{name}", bundle, place / name, gate=OPEN, **settings)
    assert add_up(place / "mixed") == (len(files), len(files) - len(culprits), len(culprits))
    return place / "mixed"


def assert_rejected(output: Path, culprits: list[int], why: str = fussy.WHITE) -> None:
    rejects = rows(output, "rejects")
    assert [row["index"] for row in rejects] == culprits
    assert {(row["stage"], row["reason"]) for row in rejects} == {("model", "model_failed")}
    assert all(re.fullmatch(why, row["detail"]) for row in rejects)


def assert_same_neighbours(place: Path, table: str) -> None:
    """The same rows, but for where they stand in their shard."""
    got, wanted = (rows(place / name, table) for name in ("mixed", "clean"))
    assert [row["label"] for row in got] == [row["label"] for row in wanted]
    for one, other in zip(got, wanted, strict=True):
        assert [one[name] for name in one if name not in ("key", "index")] == [
            other[name] for name in other if name not in ("key", "index")
        ]


def images(output: Path) -> list[bytes]:
    """The image files of the Parquet table that a job wrote."""
    found = [row for path in sorted((output / "images").rglob("*.parquet")) for row in pq.read_table(path).to_pylist()]
    return [row["image"]["bytes"] for row in found]


@pytest.mark.parametrize("case", ["several", *long_forms(*(case for case in CULPRITS if case != "several"))])
def test_encode(bundle: str, digit_files: list[bytes], case: str, tmp_path: Path) -> None:
    culprits = CULPRITS[case]
    output = run_both("encode", bundle, digit_files[:SIZE], culprits, tmp_path)
    assert_rejected(output, culprits)
    assert_same_neighbours(tmp_path, "latents")
    assert {row["data"] for row in rows(output, "rejects")} == {png(np.full((8, 8), 255, np.uint8))}


def test_encode_with_variances(bundle: str, digit_files: list[bytes], tmp_path: Path) -> None:
    output = run_both("encode", bundle, digit_files[:SIZE], [3, 700], tmp_path, variance=True)
    assert_rejected(output, [3, 700])
    assert_same_neighbours(tmp_path, "latents")
    assert "latent_variance" in rows(output)[0]


@pytest.mark.parametrize(("verb", "table"), [("reconstruct", "latents"), ("denoise", "metrics")])
def test_images_out(bundle: str, digit_files: list[bytes], verb: str, table: str, tmp_path: Path) -> None:
    output = run_both(verb, bundle, digit_files[:SIZE], [0, 5, 1023, 1099], tmp_path)
    assert_rejected(output, [0, 5, 1023, 1099])
    assert_same_neighbours(tmp_path, table)
    assert images(output) == images(tmp_path / "clean")
    assert len(images(output)) == SIZE - 4


def test_denoise_any_size(denoiser: str, tmp_path: Path) -> None:
    """White images among others of their size, of another, in one channel only, and as a part of a large one."""
    rng = np.random.default_rng(0)
    given = {f"{i:02d}": rng.integers(0, 200, (20 + i % 2, 16, 3)[: 2 + i % 2], np.uint8) for i in range(40)}
    given["large"] = rng.integers(0, 200, (520, 1030), np.uint8)
    white = {name: given[name].copy() for name in ("00", "06", "13", "39", "large")}
    white["00"][:] = white["06"][:] = white["39"][..., 0] = white["large"][:, :700] = 255
    white["13"][..., 2] = 255
    for name, chosen in (("mixed", {**given, **white}), ("clean", {n: x for n, x in given.items() if n not in white})):
        (tmp_path / "in" / name).mkdir(parents=True)
        for key, pixels in chosen.items():
            (tmp_path / "in" / name / f"{key}.png").write_bytes(png(pixels))
        run_job("denoise", tmp_path / "in" / name, denoiser, tmp_path / name, gate=OPEN)
    assert add_up(tmp_path / "mixed") == (41, 36, 5)
    rejects = rows(tmp_path / "mixed", "rejects")
    assert [row["key"].removesuffix(".png") for row in rejects] == sorted(white)
    assert all(row["reason"] == "model_failed" and re.fullmatch(fussy.WHITE, row["detail"]) for row in rejects)
    made, wanted = (
        {path.name: path.read_bytes() for path in (tmp_path / name / "images").iterdir()} for name in ("mixed", "clean")
    )
    assert made == wanted and len(made) == 36


def test_images_of_several_calls(denoiser: str) -> None:
    """More than one call takes, and large ones, of which only the second fails."""
    model = Denoiser(Runtime.load(Bundle.open(denoiser)))
    for shape, culprits in (((150, 64, 64, 1), [0, 63, 64, 149]), ((2, 520, 1030, 1), [1])):
        images = np.random.default_rng(1).integers(0, 200, shape, np.uint8)
        wanted = model.denoise(images)
        images[culprits] = 255
        failed: dict[int, str] = {}
        made = model.denoise(images, failed=failed)
        assert list(failed) == culprits and np.flatnonzero(np.isnan(made.mse)).tolist() == culprits
        others = np.delete(np.arange(len(images)), culprits)
        assert np.array_equal(made.pixels[others], wanted.pixels[others])
        assert np.array_equal(made.mse[others], wanted.mse[others])


def test_images_with_noise_below_what_the_model_learned(tmp_path: Path) -> None:
    """One that stays as it is costs no call, so the model cannot fail for it."""
    model = Denoiser(Runtime.load(Bundle.open(fussy.denoiser(tmp_path, (5.0, 55.0)))))
    images = np.random.default_rng(1).integers(0, 200, (6, 16, 16, 1), np.uint8)
    images[[0, 2, 5]] = 255
    levels = np.array([0, 2, 2, 10, 0, 10], np.float32) / np.float32(255)
    failed: dict[int, str] = {}
    made = model.denoise(images, levels, failed)
    assert sorted(failed) == [2, 5] and all(re.fullmatch(fussy.WHITE, why) for why in failed.values())
    assert np.flatnonzero(np.isnan(made.mse)).tolist() == [2, 5]
    assert np.array_equal(made.pixels[[0, 4]], images[[0, 4]]) and not made.mse[[0, 4]].any()
    alone = [model.denoise(images[[at]], levels[[at]]) for at in (1, 3)]
    assert np.array_equal(made.pixels[[1, 3]], np.concatenate([one.pixels for one in alone]))


def test_decode(bundle: str, tmp_path: Path) -> None:
    latents = np.random.default_rng(0).standard_normal((SIZE, 3)).astype(np.float32) / 4
    culprits = [0, 64, 1023, 1024]
    latents[culprits] = 2
    for name, chosen in (("mixed", latents), ("clean", np.delete(latents, culprits, 0))):
        table = {"key": [f"{i}.png" for i in range(len(chosen))], "latent": list(chosen)}
        (tmp_path / "in").mkdir(exist_ok=True)
        pq.write_table(pa.table(table), tmp_path / f"in/{name}.parquet")
        run_job("decode", tmp_path / f"in/{name}.parquet", bundle, tmp_path / name, gate=OPEN)
    assert_rejected(tmp_path / "mixed", culprits, fussy.WHITE.replace("255", "328").replace(", 328", ", 256"))
    assert images(tmp_path / "mixed") == images(tmp_path / "clean")


def test_generate(bundle: str, tmp_path: Path) -> None:
    run_job_without_input(bundle, tmp_path / "out")
    unit = Unit(id="x", format="drawn", shards=(), start=0, stop=SIZE)
    drawn = np.concatenate([b.payload for b in read_sampled(unit, LatentSampling(count=SIZE, seed=5), 3, SIZE)])
    culprits = np.flatnonzero(np.floor(drawn.mean(1) * 100 + 128) >= 256).tolist()
    assert 5 < len(culprits) < 50
    assert [row["index"] for row in rows(tmp_path / "out", "rejects")] == culprits
    assert {row["reason"] for row in rows(tmp_path / "out", "rejects")} == {"model_failed"}
    assert len(images(tmp_path / "out")) == SIZE - len(culprits)


def run_job_without_input(bundle: str, output: Path) -> None:
    from pipeline.beam.launch import launch
    from pipeline.options.job_options import JobOptions

    launch(JobOptions(verb="generate", model=bundle, output=str(output), count=SIZE, seed=5, gate=OPEN), [])


def test_encode_images(bundle: str, digits: Pixels) -> None:
    worker = worker_for(WorkerKey(model=bundle, digest=Bundle.open(bundle).digest, target=Target(shape=(8, 8, 1))))
    files = [png(np.full((8, 8), 255, np.uint8)) if i in (0, 7, 29) else png(digits[i]) for i in range(30)]
    outcomes = list(encode_items(list(enumerate(files)), worker))
    rejects = [outcome for outcome in outcomes if isinstance(outcome, RejectedItem)]
    assert [(r.key, r.stage, r.reason) for r in rejects] == [(i, Stage.MODEL, Reason.MODEL_FAILED) for i in (0, 7, 29)]
    assert [r.image for r in rejects] == [files[0]] * 3
    made = dict(outcome for outcome in outcomes if not isinstance(outcome, RejectedItem))
    wanted = dict(encode_items([(i, png(digits[i])) for i in made], worker))
    assert len(made) == 27 and all(np.array_equal(made[i], wanted[i]) for i in made)


@pytest.mark.parametrize(
    ("where", "verb", "settings"),
    [
        ("mean", "encode", {}),
        ("variance", "encode", {"variance": True}),
        ("output", "reconstruct", {}),
        ("output", "reconstruct", {"images": False}),
        ("output", "denoise", {}),
        ("any", "denoise", {}),
    ],
)
def test_infinite_numbers(where: str, verb: str, settings: dict[str, Any], digits: Pixels, tmp_path: Path) -> None:
    pixels = digits[:20].copy()
    pixels[[2, 19]] = 255
    np.save(tmp_path / "x.npy", pixels)
    bundle = fussy.overflowing(tmp_path, where)
    run_job(verb, tmp_path / "x.npy", bundle, tmp_path / "out", gate=OPEN, **settings)
    assert add_up(tmp_path / "out") == (20, 18, 2)
    rejects = rows(tmp_path / "out", "rejects")
    assert [(row["index"], row["stage"], row["reason"]) for row in rejects] == [
        (i, "model", "non_finite_latent") for i in (2, 19)
    ]


def test_an_infinite_variance_matters_where_it_is_asked_for(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.full((3, 8, 8), 255, np.uint8))
    run_job("encode", tmp_path / "x.npy", fussy.overflowing(tmp_path, "variance"), tmp_path / "out")
    assert add_up(tmp_path / "out") == (3, 3, 0)


def test_infinite_images_of_latents(tmp_path: Path) -> None:
    bundle = fussy.overflowing(tmp_path, "decoder")
    latents = np.zeros((5, 3), np.float32)
    latents[3] = 1e6
    pq.write_table(pa.table({"key": list("abcde"), "latent": list(latents)}), tmp_path / "x.parquet")
    run_job("decode", tmp_path / "x.parquet", bundle, tmp_path / "out", gate=OPEN)
    assert [(row["key"], row["reason"]) for row in rows(tmp_path / "out", "rejects")] == [("d", "non_finite_latent")]
    assert len(images(tmp_path / "out")) == 4


def test_when_all_fail_the_gate_names_the_reason(bundle: str, tmp_path: Path) -> None:
    np.save(tmp_path / "white.npy", np.full((40, 8, 8), 255, np.uint8))
    summary = run_job("reconstruct", tmp_path / "white.npy", bundle, tmp_path / "out")
    assert (summary["total"]["results"], summary["total"]["reasons"]) == (0, {"model_failed": 40})
    assert not summary["complete"] and not (tmp_path / "out/_SUCCESS").exists()


@pytest.mark.slow
def test_few_sizes_are_compiled(runtime: Runtime) -> None:
    """A batch in which all fail costs three passes, whatever its size."""
    pixels = np.full((1024, 8, 8, 1), 255, np.uint8)
    failed: dict[int, str] = {}
    assert np.isnan(runtime.encode(pixels, failed)).all()
    assert list(failed) == list(range(1024)) and len(set(failed.values())) == 1
    assert {size for _, _, size, _ in runtime._calls._functions} == {1024, 32, 1}


def test_an_error_is_raised_where_nobody_asks_for_rows(runtime: Runtime) -> None:
    with pytest.raises(ModelError, match=r"InvalidArgumentError at .*255 is not in"):
        runtime.encode(np.full((3, 8, 8, 1), 255, np.uint8))


def test_a_golden_input_that_fails_is_the_bundles_fault(bundle: str, tmp_path: Path) -> None:
    whole = Bundle.open(bundle)
    golden = unpack(whole.read(GOLDEN_FILE), whole.spec, "golden")
    golden["input"] = np.full_like(golden["input"], 255)
    other = write_bundle(
        str(tmp_path / "b"), whole.spec, {MODEL_FILE: whole.read(MODEL_FILE), GOLDEN_FILE: pack(golden)}
    )
    with pytest.raises(BundleError, match=r"the model fails for its golden inputs \(InvalidArgumentError at"):
        Runtime.load(other)


NODE = "{{node net/embed/GatherV2}}]] [Op:__inference__encode_123]"


@pytest.mark.parametrize(
    "message",
    [
        f"{{{{function_node __inference_f_1}}}} index 9\n\t [[{NODE}",
        f"Graph execution error:\n\nDetected at node x defined at:\n  File a.py, line 1\nindex 9\n\t [[{NODE}",
        f"2 root error(s) found.\n  (0) INVALID_ARGUMENT:  index 9\n\t [[{NODE}\n\t [[y]]\n  (1) index 8\n\t [[z]]",
    ],
)
def test_the_reason_is_one_line_of_the_error(message: str) -> None:
    error = tensorflow().errors.InvalidArgumentError(None, None, message)
    assert reason(error) == "InvalidArgumentError at net/embed/GatherV2: index 9"


def test_the_reason_is_short() -> None:
    errors = tensorflow().errors
    assert reason(errors.UnknownError(None, None, "no such op [Op:Cast]")) == "UnknownError: no such op"
    keras_says = "Exception in E.call().\n\n\x1b[1mindex 9 [Op:Cast]\x1b[0m\n\nArguments received by E.call():\n  • x=3"
    assert reason(errors.UnknownError(None, None, keras_says)) == "UnknownError: index 9"
    assert len(reason(errors.UnknownError(None, None, "x" * 9999))) == 500
    assert reason(errors.ResourceExhaustedError(None, None, "OOM")) == "out of memory: OOM"
