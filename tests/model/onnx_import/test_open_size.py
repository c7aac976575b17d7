"""Latents of images of any size from ONNX files, against ONNX Runtime on the bare file and images padded by NumPy."""

import numpy as np
import pytest

from lake.core.errors import BundleError, UsageError
from model import spatial
from model.export import export
from model.parts import Parts
from model.preprocessing import Preprocessing
from model.runtime.runtime import Runtime
from model.spatial import SpatialAutoencoder
from tests.model.onnx_import import networks
from tests.model.onnx_import.networks import open_autoencoder, run

ANY_OUTPUT = {"judge": lambda looks: None}
NAMES = ["z", "log_variance", "y"]


@pytest.fixture(scope="module", params=[False, True], ids=["first", "last"])
def vae(request, tmp_path_factory):
    """A bundle, and what the bare file gives for images whose sides are multiples of 4, as a bundle gives it."""
    graph, place = open_autoencoder(last=request.param), tmp_path_factory.mktemp("open")
    given = Preprocessing(value_range=(-1.0, 1.0), output_range=(0.0, 1.0))
    bundle = export(graph.save(place / "net.onnx"), "z", str(place / "b"), given, variance="log_variance", **ANY_OUTPUT)

    def bare(images: np.ndarray) -> list[np.ndarray]:
        shown = images / np.float32(127.5) - 1
        if request.param:
            return run(graph.data(), NAMES, x=shown)
        made = run(graph.data(), NAMES, x=np.ascontiguousarray(shown.transpose(0, 3, 1, 2)))
        return [values.transpose(0, 2, 3, 1) for values in made]

    return bundle, bare


def pixels(n: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height * width).integers(0, 256, (n, height, width, 3), np.uint8)


def padded(images: np.ndarray) -> np.ndarray:
    for axis in (1, 2):
        missing, side = -images.shape[axis] % 4, images.shape[axis]
        width = [(0, missing if i == axis else 0) for i in range(4)]
        images = np.pad(images, width, "reflect" if missing < side else "edge")
    return images


def close(got: np.ndarray, want: np.ndarray) -> None:
    assert got.shape == want.shape
    np.testing.assert_allclose(got, want, rtol=0, atol=2e-6 * np.abs(want).max())


def test_what_the_bundle_says(vae):
    spec = vae[0].spec
    assert spec.kind == "vae" and spec.functions == ("encode", "reconstruct", "decode", "denoise")
    assert (spec.latent.shape, spec.input.shape, spec.stride) == ((16, 16, 2), (64, 64, 3), 4)
    assert (spec.input.any_size, spec.input.multiple, spec.local) == (True, 4, True)


@pytest.mark.parametrize(("height", "width"), [(64, 64), (45, 70), (1, 3)])
def test_the_latents_and_images_of_the_file(vae, height, width):
    bundle, bare = vae
    model, images = SpatialAutoencoder(Runtime.load(bundle)), pixels(3, height, width)
    z, logarithm, y = bare(padded(images))
    mean, variance = model.encode_variance(images)
    close(mean, z)
    close(variance, np.exp(logarithm))
    made = model.reconstruct(images)
    close(made.output, y[:, :height, :width])
    close(model.decode(mean), y)
    assert np.array_equal(made.latents, mean) and np.array_equal(model.encode(images), mean)
    assert np.array_equal(model.decode(mean)[:, :height, :width], made.output)
    assert all(np.array_equal(model.encode(images[i : i + 1])[0], mean[i]) for i in range(3))


def test_tiles_are_what_the_whole_image_gives(vae, monkeypatch):
    model, images = SpatialAutoencoder(Runtime.load(vae[0])), pixels(1, 130, 210)
    whole = model.reconstruct(images)
    monkeypatch.setattr(spatial, "LARGEST_WHOLE", 1 << 12)
    monkeypatch.setattr(spatial, "TILE", 64)
    made = model.reconstruct(images)
    assert np.abs(made.latents - whole.latents).max() < 1e-3 * np.abs(whole.latents).max()
    assert np.abs(made.output - whole.output).max() < 0.25 / 255


def test_an_encoder_and_a_decoder_of_any_size(tmp_path):
    one, other = networks.Graph(), networks.Graph()
    x = one.node("Conv", one.take("x", ("n", 3, "h", "w")), one.weight(4, 3, 8, 8), strides=[8, 8])
    one.node("Identity", x, name="z")
    y = other.node("ConvTranspose", other.take("z", ("n", 4, "h", "w")), other.weight(4, 3, 8, 8), strides=[8, 8])
    other.node("Identity", y, name="y")
    files = Parts(encoder=one.give("z").save(tmp_path / "e.onnx"), decoder=other.give("y").save(tmp_path / "d.onnx"))
    bundle = export(files, None, str(tmp_path / "b"), **ANY_OUTPUT)
    assert (bundle.spec.functions[-2:], bundle.spec.input.multiple) == (("decode", "denoise"), 8)
    images = pixels(2, 24, 40)
    (z,) = run(one.data(), ["z"], x=networks.first(images))
    (y,) = run(other.data(), ["y"], z=z)
    model = SpatialAutoencoder(Runtime.load(bundle))
    close(model.encode(images), networks.last(z))
    close(model.decode(networks.last(z)), networks.last(y))


def test_an_output_that_takes_more_than_the_latent(tmp_path):
    path = open_autoencoder(skip=True).save(tmp_path / "net.onnx")
    bundle = export(path, "z", str(tmp_path / "b"), **ANY_OUTPUT)
    assert bundle.spec.functions == ("encode", "reconstruct", "denoise")


def _pooled() -> networks.Graph:
    graph = networks.Graph()
    x = graph.node("Conv", graph.take("x", ("n", 3, "h", "w")), graph.weight(4, 3, 3, 3))
    graph.node("Flatten", graph.node("GlobalAveragePool", x), name="z")
    return graph.give("z")


def _thirds() -> networks.Graph:
    graph = networks.Graph()
    x = graph.take("x", ("n", 3, "h", "w"))
    graph.node("Conv", x, graph.weight(4, 3, 3, 3), strides=[3, 3], auto_pad="SAME_UPPER", name="z")
    return graph.give("z")


def _larger() -> networks.Graph:
    graph = networks.Graph()
    scales = graph.constant(np.array([1, 1, 1.5, 1.5], np.float32))
    graph.node("Resize", graph.take("x", ("n", 3, "h", "w")), "", scales, name="z")
    return graph.give("z")


def _dense() -> networks.Graph:
    """Whose sides are free by name alone: what follows is for one size."""
    graph = networks.Graph()
    h = graph.node("Flatten", graph.take("x", ("n", 3, "h", "w")))
    graph.node("Gemm", h, graph.weight(108, 4), name="z")
    return graph.give("z")


def _reshaped() -> networks.Graph:
    graph = networks.Graph()
    h = graph.node("Reshape", graph.take("x", ("n", 3, "h", "w")), graph.constant(np.array([-1, 735, 5])))
    graph.node("ReduceMean", h, axes=[2], keepdims=0, name="z")
    return graph.give("z")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_pooled, r"'z' is 4 and 4 for images of 64 x 64 and 64 x 128, no grid .*--input-shape H W C"),
        (_thirds, r"'z' is 4 x 22 x 22 and 4 x 22 x 43 for images of .*, no grid .* give --input-shape H W C"),
        (_larger, r"--latent z: its output is 96 96 3 .* no grid .* give --input-shape H W C"),
        (_dense, "ONNX Runtime does not run it: .*; give --input-shape H W C to take images of one size"),
        (_reshaped, "not opened: it has the operation Reshape, whose size .*; give --input-shape H W C to take"),
    ],
)
def test_a_latent_that_is_no_grid_needs_a_shape(tmp_path, make, message):
    path, side = make().save(tmp_path / "net.onnx"), 35 if make is _reshaped else 6
    with pytest.raises(UsageError, match=message):
        export(path, "z", str(tmp_path / "b"))
    given = Preprocessing(input_shape=(side, side, 3))
    assert export(path, "z", str(tmp_path / "b"), given).spec.kind == "encoder"


def _attention(scale: int) -> networks.Graph:
    """Each position of a grid looks at each other one."""
    graph = networks.Graph()
    x = graph.node("Conv", graph.take("x", ("n", 3, "h", "w")), graph.weight(4, 3, scale, scale), strides=[scale] * 2)
    rows = graph.node("Reshape", x, graph.constant(np.array([0, 4, -1])))
    seen = graph.node("Softmax", graph.node("MatMul", graph.node("Transpose", rows, perm=[0, 2, 1]), rows), axis=2)
    made = graph.node("MatMul", rows, seen)
    graph.node("Reshape", made, graph.node("Shape", x), name="z")
    return graph.give("z")


def test_what_would_fill_memory_for_larger_images_is_refused_before_it_runs(tmp_path):
    """At 64 x 64 the products of all pairs of pixels are 2^24, at 640 x 640 they are 2^37."""
    with pytest.raises(BundleError, match=r"MatMul, which puts out 1 x 409600 x 409600 numbers .*--input-shape H W C"):
        export(_attention(1).save(tmp_path / "net.onnx"), "z", str(tmp_path / "b"))


def test_attention_over_patches(tmp_path):
    bundle = export(_attention(16).save(tmp_path / "net.onnx"), "z", str(tmp_path / "b"))
    assert (bundle.spec.kind, bundle.spec.latent.shape, bundle.spec.input.multiple) == ("encoder", (4, 4, 4), 16)


def test_eight_bits_need_one_size(tmp_path):
    path = open_autoencoder().save(tmp_path / "net.onnx")
    with pytest.raises(UsageError, match="--precision int8 with --latent needs images of one size"):
        export(path, "z", str(tmp_path / "b"), precision="int8", calibrate=str(tmp_path), **ANY_OUTPUT)
