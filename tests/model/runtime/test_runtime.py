import hashlib
import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from lake.core.errors import BundleError
from lake.core.tensorflow import has_avx512, keras
from model.export import export
from model.keras.functions import Compute
from model.preprocessing import Preprocessing
from model.runtime.runtime import Runtime, runtime_for
from model.runtime.tensorflow import TensorFlowExecutor
from model.training.networks import build_autoencoder, build_dense_autoencoder


@pytest.fixture(scope="module")
def expected(network, images):
    """What Keras itself makes of the images: latents and outputs."""
    model = keras().Model(network.input, [network.get_layer("encoded").output, network.output])
    return model.predict(images / np.float32(255), verbose=0)


def test_encode_is_what_keras_predicts(runtime, images, expected):
    np.testing.assert_allclose(runtime.encode(images), expected[0], rtol=1e-5, atol=1e-5)


def test_reconstruct_is_what_keras_predicts(runtime, images, expected):
    result = runtime.reconstruct(images)
    error = (expected[1].astype(np.float64) - images / 255) ** 2
    np.testing.assert_allclose(result.output, expected[1], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(result.mse, error.mean(axis=(1, 2, 3)), rtol=1e-5)
    assert np.array_equal(result.latents, runtime.encode(images))
    assert result.mse.dtype == result.output.dtype == result.latents.dtype == np.float32


@pytest.mark.parametrize("n", [1, 2, 7, 100])
def test_bits_do_not_depend_on_the_rest_of_the_batch(runtime, images, n):
    latents, result = runtime.encode(images), runtime.reconstruct(images)
    assert np.array_equal(runtime.encode(images[n : 2 * n]), latents[n : 2 * n])
    few = runtime.reconstruct(images[-n:])
    assert np.array_equal(few.output, result.output[-n:])
    assert np.array_equal(few.mse, result.mse[-n:])


@pytest.mark.parametrize("rows", [512, 64, 16])
def test_bits_do_not_depend_on_the_rows_of_a_call(bundle, network, images, rows):
    """What is computed where memory is short is what would have been computed; without AVX-512 nearly so."""
    same = np.array_equal if has_avx512() else partial(np.allclose, rtol=1e-5, atol=1e-6)
    runtime = Runtime.load(bundle, "tensorflow")
    result, few = runtime.reconstruct(images), Compute(network, runtime.spec).trace("reconstruct", "uint8", rows)
    for start in (0, 512):
        latents, output, mse = few(images[start : start + rows])
        assert same(latents, result.latents[start : start + rows])
        assert same(output, result.output[start : start + rows])
        assert same(mse, result.mse[start : start + rows])


@pytest.mark.parametrize("n", [1, 16, 17, 128])
def test_small_calls_have_functions_of_their_own(bundle, images, n):
    """Once there are some, where the bits of a row do not depend on the others; and they give the same bits."""
    runtime, whole = Runtime.load(bundle, "tensorflow"), Runtime.load(bundle, "tensorflow").reconstruct(images)
    for _ in range(10):
        part = runtime.reconstruct(images[:n])
        for name in ("latents", "output", "mse"):
            assert np.array_equal(getattr(part, name), getattr(whole, name)[:n])
    rows = {key[2] for key in runtime._calls._functions}
    assert rows == ({16 if n <= 16 else 128, runtime.batch_size} if runtime.any_rows else {runtime.batch_size})


def test_where_a_small_call_gives_other_bits_none_is_made(bundle, images, monkeypatch):
    compiled = TensorFlowExecutor.compile

    def compile_wrongly(self, function, dtype, rows, sides=()):
        call = compiled(self, function, dtype, rows, sides)
        return lambda *arrays: [output * np.float32(1 + 1e-7 * rows) for output in call(*arrays)]

    monkeypatch.setattr(TensorFlowExecutor, "compile", compile_wrongly)
    runtime = Runtime.load(bundle, "tensorflow")
    whole = runtime.encode(images)
    for _ in range(12):
        assert np.array_equal(runtime.encode(images[:3]), whole[:3])


def test_no_records(runtime):
    assert runtime.encode(np.zeros((0, 12, 10, 3), np.uint8)).shape == (0, 8)


@pytest.mark.parametrize("value_range", [(0.0, 1.0), (-1.0, 1.0), (0.0, 255.0), (-2.1, 2.6)])
def test_dtypes_of_the_same_image_give_the_same_bits(layers, saved, tmp_path, value_range):
    bundle = export(saved, "encoded", str(tmp_path / "b"), Preprocessing(value_range=value_range))
    runtime = Runtime.load(bundle)
    every = np.resize(np.arange(256, dtype=np.uint8), (64, 12, 10, 3))
    result = runtime.reconstruct(every)
    for same in [every.astype(np.uint16) * 257, every / np.float32(255)]:
        assert np.array_equal(runtime.encode(same), result.latents)
        assert np.array_equal(runtime.reconstruct(same).mse, result.mse)


def test_value_range(layers, network, saved, tmp_path, images):
    runtime = Runtime.load(export(saved, "encoded", str(tmp_path / "b"), Preprocessing(value_range=(-1.0, 1.0))))
    output = network.predict(images / np.float32(127.5) - 1, verbose=0)
    result = runtime.reconstruct(images)
    np.testing.assert_allclose(result.output, output, rtol=1e-5, atol=1e-5)
    error = ((output.astype(np.float64) + 1) / 2 - images / 255) ** 2
    np.testing.assert_allclose(result.mse, error.mean(axis=(1, 2, 3)), rtol=1e-5)


def test_many_callers_at_once_get_the_same_bits(bundle, images):
    runtime = Runtime.load(bundle)  # nothing but the golden check is compiled yet: they compile at once, too
    parts = [images[i : i + 1 + 5 * i] for i in range(24)]
    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(runtime.encode, parts))
    for part, latents in zip(parts, got, strict=True):
        assert np.array_equal(latents, runtime.encode(part))


_ROOT = Path(__file__).resolve().parents[3]
_ONE_CORE = """
import hashlib, os, sys
import numpy as np
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
from model.bundle import Bundle
from model.runtime.runtime import Runtime
result = Runtime.load(Bundle.open(sys.argv[1]), sys.argv[3]).reconstruct(np.load(sys.argv[2]))
print(hashlib.sha256(result.latents.tobytes() + result.output.tobytes() + result.mse.tobytes()).hexdigest())
"""


@pytest.mark.parametrize("executor", ["onnx", "tensorflow"])
@pytest.mark.slow
def test_bits_do_not_depend_on_cores_and_threads(bundle, images, tmp_path, executor):
    runtime = Runtime.load(bundle, executor)
    np.save(tmp_path / "images.npy", images)
    command = [sys.executable, "-c", _ONE_CORE, bundle.uri, str(tmp_path / "images.npy"), executor]
    one = subprocess.run(command, capture_output=True, text=True, check=True, cwd=_ROOT)
    assert one.stderr == ""  # TensorFlow is imported quietly
    result = runtime.reconstruct(images)
    together = result.latents.tobytes() + result.output.tobytes() + result.mse.tobytes()
    assert one.stdout.strip() == hashlib.sha256(together).hexdigest()


def test_a_batch_is_padded_with_its_own(layers, save, tmp_path):
    """A model that fails for a black image fails for no other, however few come with it."""
    image = layers.Input((8, 8, 1))
    number = layers.Rescaling(255.0, -257.0)(layers.GlobalAveragePooling2D()(image))  # counts from the table's end
    output = layers.Add(name="encoded")([layers.Flatten()(image), layers.Flatten()(layers.Embedding(255, 64)(number))])
    model = keras().Model(image, output)
    runtime = Runtime.load(export(save(model), "encoded", str(tmp_path / "b")))
    pixels = np.random.default_rng(0).integers(9, 256, (70, 8, 8, 1), np.uint8)
    whole = runtime.encode(pixels)
    np.testing.assert_allclose(whole, model(pixels / np.float32(255)), rtol=1e-6)
    assert np.array_equal(runtime.encode(pixels[:3]), whole[:3])
    pixels[[1, 69]] = 0
    failed = {}
    made = runtime.encode(pixels, failed)
    assert list(failed) == [1, 69] and np.isnan(made[[1, 69]]).all()
    assert np.array_equal(np.delete(made, [1, 69], 0), np.delete(whole, [1, 69], 0))


def test_a_batch_that_fails_only_as_a_whole_is_halved(layers, save, tmp_path):
    """Brightness, added up over the batch, must stay below 600: no image fails alone, and 512 do not together."""
    image = layers.Input((8, 8, 1))
    total = keras().ops.sum(layers.GlobalAveragePooling2D()(image), axis=0, keepdims=True)
    output = layers.Add(name="encoded")([layers.Flatten()(image), layers.Flatten()(layers.Embedding(600, 64)(total))])
    model = keras().Model(image, output)
    runtime = Runtime.load(export(save(model), "encoded", str(tmp_path / "b")))
    pixels = np.random.default_rng(0).integers(220, 256, (1024, 8, 8, 1), np.uint8)
    failed = {}
    made = runtime.encode(pixels, failed)
    assert failed == {}
    halves = [model(half / np.float32(255)) for half in (pixels[:512], pixels[512:])]
    np.testing.assert_allclose(made, np.concatenate(halves), rtol=1e-5)


_SHORT_OF_MEMORY = """
import json, logging, resource, sys
from concurrent.futures import ThreadPoolExecutor
import numpy as np
from functools import partial
from lake.core.tensorflow import has_avx512
from model.bundle import Bundle
from model.denoiser import Denoiser
from model.runtime.runtime import Runtime

def leave(mebibytes):
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (mebibytes << 20), resource.RLIM_INFINITY))

small, large, free = (Runtime.load(Bundle.open(uri), "tensorflow") for uri in sys.argv[1:])
rng, denoiser = np.random.default_rng(0), Denoiser(free)
images, photos, pages = (rng.integers(0, 256, s, np.uint8) for s in [(1024, 16, 16), (64, 64, 64), (4, 512, 512)])
images, photos, pages = images[..., None], photos[..., None], pages[..., None]
with ThreadPoolExecutor(2) as pool:
    latents, pixels = list(pool.map(small.encode, [images] * 2))[0], denoiser.denoise(photos).pixels
    assert np.isfinite(large.encode(pages)).all()
    logging.basicConfig(stream=sys.stderr, format="%(message)s")
    leave(220)
    made = [small.encode(images), *pool.map(small.encode, [images] * 3), small.encode(images[:1000])]
    alike = np.array_equal if has_avx512() else partial(np.allclose, rtol=1e-5, atol=1e-6)
    same = [alike(some, latents[:len(some)]) for some in made]
    leave(110)
    same.append(np.array_equal(denoiser.denoise(photos).pixels, pixels))
    leave(40)
    failed = {}
    assert np.isnan(large.encode(pages, failed)).all()
print(json.dumps([same, failed]))
"""


@pytest.mark.slow
def test_out_of_memory(layers, save, tmp_path):
    """Allocations that really fail: fewer records at once give the same bits, and one that needs too much fails.

    Without AVX-512 the last bits may be others, and the log says so.
    """
    uris = []
    for name, side, factor in [("small", 16, 23), ("large", 512, 8)]:  # 529 KiB and 64 MiB for a record
        image = layers.Input((side, side, 1))
        most = layers.GlobalMaxPooling2D()(layers.UpSampling2D(factor)(image))
        encoded = layers.Dense(24, name="encoded")(layers.Concatenate()([most, layers.Flatten()(image)[:, :200]]))
        uris.append(export(save(keras().Model(image, encoded), name + ".keras"), "encoded", str(tmp_path / name)).uri)
    image = layers.Input((None, None, 1))
    mean = layers.AveragePooling2D(16)(layers.UpSampling2D(16)(image))  # 4 MiB for 64 x 64 pixels
    uris.append(export(save(keras().Model(image, mean), "free.keras"), None, str(tmp_path / "free")).uri)
    # Without oneDNN, whose allocator keeps what it once had, and whose convolutions crash where an allocation fails.
    environment = {**os.environ, "TF_ENABLE_ONEDNN_OPTS": "0", "MALLOC_ARENA_MAX": "1"}
    command = [sys.executable, "-c", _SHORT_OF_MEMORY, *uris]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=_ROOT, env=environment)
    same, failed = json.loads(done.stdout)
    assert same == [True] * 6
    assert list(failed) == ["0", "1", "2", "3"]
    why = re.compile(r"out of memory at \S+: OOM when allocating tensor with shape\[1,")
    assert all(map(why.match, failed.values()))
    assert ("the last bits of what it gives may differ: out" in done.stderr.splitlines()[0]) != has_avx512()
    steps = re.findall(r"fails for (\d+ \w+) at once, and is given (\d+) from now on.*: out of memory at", done.stderr)
    assert steps[:2] == [("1024 records", "512"), ("512 records", "256")]
    assert (("262144 pixels", "131072") in steps) == has_avx512()  # else each of those images has a call of its own
    assert steps[-2:] == [("4 records", "2"), ("2 records", "1")]
    assert len(set(steps)) == len(steps) == done.stderr.count("\n")


@pytest.mark.slow
def test_errors_of_large_images_are_summed_carefully(layers, save, tmp_path):
    inputs = layers.Input((700, 500, 3))
    spatial = layers.AveragePooling2D(100, name="spatial")(inputs)
    output = layers.UpSampling2D(100)(spatial)
    runtime = Runtime.load(export(save(keras().Model(inputs, output)), "spatial", str(tmp_path / "b")))
    image = np.random.default_rng(0).integers(0, 256, (1, 700, 500, 3), np.uint8)
    blocks = (image / 255).reshape(7, 100, 5, 100, 3)
    error = (blocks - blocks.mean(axis=(1, 3), keepdims=True)) ** 2
    np.testing.assert_allclose(runtime.reconstruct(image).mse, error.mean(), rtol=1e-6)
    np.testing.assert_allclose(runtime.encode(image)[0], blocks.mean(axis=(1, 3)).ravel(), rtol=1e-5)


def test_vectors_are_taken_as_they_are(layers, save, tmp_path):
    x = np.random.default_rng(0).normal(50, 20, (40, 6)).astype(np.float32)
    model = build_dense_autoencoder(6, 3, x.mean(0), x.var(0))
    given = Preprocessing(value_range=(0.0, 100.0))
    runtime = Runtime.load(export(save(model), "encoded", str(tmp_path / "b"), given))
    result, output = runtime.reconstruct(x), model.predict(x, verbose=0)
    np.testing.assert_allclose(result.output, output, rtol=1e-5)
    np.testing.assert_allclose(result.mse, (((output - x) / 100.0) ** 2).mean(axis=1), rtol=1e-4)
    with pytest.raises(ValueError, match="uint8"):
        runtime.encode(x.astype(np.uint8))


@pytest.mark.parametrize("shape", [(1025, 12, 10, 3), (1, 10, 12, 3), (1, 12, 10, 1)])
def test_wrong_shapes(runtime, shape):
    with pytest.raises(ValueError, match=r"takes up to 1024 of \(12, 10, 3\)"):
        runtime.encode(np.zeros(shape, np.uint8))


def test_an_encoder_does_not_reconstruct(layers, network, save, tmp_path, images, runtime):
    encoder = keras().Model(network.input, network.get_layer("encoded").output)
    bundle = export(save(encoder), "encoded", str(tmp_path / "b"))
    assert bundle.spec.functions == ("encode",)
    alone = Runtime.load(bundle, runtime.executor)
    assert np.array_equal(alone.encode(images), runtime.encode(images))
    with pytest.raises(BundleError, match="cannot reconstruct: a bundle of kind 'encoder' offers encode"):
        alone.reconstruct(images)


@pytest.mark.parametrize(
    ("shape", "size"),
    [((28, 28, 1), 1024), ((64, 64, 3), 256), ((481, 321, 3), 4), ((4000, 4000, 3), 1), ((16,), 4096)],
)
def test_batch_size_bounds_memory(bundle, shape, size):
    spec = replace(bundle.spec, input=replace(bundle.spec.input, shape=shape))
    assert spec.batch_size == size


def test_one_runtime_for_a_process(bundle):
    with ThreadPoolExecutor(4) as pool:
        runtimes = list(pool.map(lambda _: runtime_for(bundle.uri, bundle.digest), range(8)))
    assert len(set(map(id, runtimes))) == 1
    with pytest.raises(BundleError, match=f"holds the bundle {bundle.digest}, not 00"):
        runtime_for(bundle.uri, "00" * 32)


def test_models_of_one_seed_are_equal_and_of_two_are_not(layers, images):
    def outputs(seed):
        keras().utils.set_random_seed(seed)
        return build_autoencoder((12, 10, 3), 8)(images[:2] / np.float32(255)).numpy()

    assert np.array_equal(outputs(3), outputs(3))
    assert not np.allclose(outputs(3), outputs(4))
