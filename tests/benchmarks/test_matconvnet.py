"""Conversion of MatConvNet's files, against the MATLAB code of the authors, written out in NumPy."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from benchmarks.quality.matconvnet import LEVEL, read_published, to_onnx
from lake.core.onnxruntime import onnxruntime
from model.denoiser import Denoiser
from model.export import export
from model.preprocessing import Preprocessing
from model.runtime.runtime import Runtime


def _layers(rng, *, channels, halves, told=1):
    """Kinds and MATLAB's arrays of a small network: weights [3, 3, in, out] and biases [1, out]."""
    takes = 4 * channels + told if halves else channels
    gives = 4 * channels if halves else channels
    convolutions = []
    for taken, given in ((takes, 6), (6, 5), (5, gives)):
        weights = rng.normal(0, 0.3, (3, 3, taken, given)).astype(np.float32)
        convolutions += [("conv", [weights, rng.normal(0, 0.1, (1, given)).astype(np.float32)]), ("relu", [])]
    return [("SubP", []), ("concat", [])] * halves + convolutions[:-1] + [("SubP", [])] * halves


def _save(path: Path, layers) -> None:
    """As MATLAB's ``save`` does in version 7.3: sides reversed, last sides of 1 dropped, cells as references."""
    with h5py.File(path, "w") as file:

        def kept(array):
            array = np.squeeze(
                array, tuple(i for i in range(2, array.ndim) if i == array.ndim - 1 and array.shape[i] == 1)
            )
            return file.create_dataset(f"#refs#/{len(file['#refs#'])}", data=np.asarray(array).T).ref

        file.create_group("#refs#")
        made = []
        for kind, arrays in layers:
            group = file.create_group(f"#refs#/{len(file['#refs#'])}")
            group["type"] = np.frombuffer(kind.encode("utf-16-le"), np.uint16)[:, None]
            if arrays:
                group["weights"] = np.array([[kept(array)] for array in arrays], h5py.ref_dtype)
            made.append([group.ref])
        file["net/layers"] = np.array(made, h5py.ref_dtype)


def _matlab(layers, x, level):
    """vl_ffdnet_matlab.m, of one image [H, W, C]."""
    for number, (kind, arrays) in enumerate(layers):
        if kind == "SubP":
            x = _split(x) if number == 0 else _join(x)
        elif kind == "concat":
            x = np.concatenate([x, np.full((*x.shape[:2], 1), level)], axis=2)
        elif kind == "relu":
            x = np.maximum(x, 0)
        else:
            x = _convolved(x, arrays[0].astype(np.float64)) + arrays[1]
    return x


def _split(x):
    """vl_nnSubP.m with scale 0.5."""
    parts = []
    for channel in range(x.shape[2]):
        for i in range(1, 5):
            a, b = (i - 1) % 2 + 1, (i - 1) // 2 + 1
            parts.append(x[a - 1 :: 2, b - 1 :: 2, channel])
    return np.stack(parts, axis=2)


def _join(x):
    """vl_nnSubP.m with scale 2."""
    height, width, count = x.shape
    y = np.zeros((2 * height, 2 * width, count // 4))
    for channel in range(count // 4):
        for i in range(1, 5):
            a, b = (i - 1) % 2 + 1, (i - 1) // 2 + 1
            y[a - 1 :: 2, b - 1 :: 2, channel] = x[:, :, 4 * channel + i - 1]
    return y


def _convolved(x, weights):
    padded = np.pad(x, ((1, 1), (1, 1), (0, 0)))
    height, width = x.shape[:2]
    places = [(i, j) for i in range(3) for j in range(3)]
    return sum(padded[i : i + height, j : j + width] @ weights[i, j] for i, j in places)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("halves", [True, False], ids=["FFDNet", "DnCNN"])
def test_a_network_gives_what_the_authors_code_gives(tmp_path, channels, halves):
    rng = np.random.default_rng(channels)
    layers, image = _layers(rng, channels=channels, halves=halves), rng.random((10, 14, channels))
    _save(tmp_path / "net.mat", layers)
    read = read_published(tmp_path / "net.mat")
    assert (read.channels, read.halves) == (channels, halves)
    weights = sum(arrays[0].size for _, arrays in layers if arrays)
    assert read.mflop_per_pixel == pytest.approx(2 * weights / (4 if halves else 1) / 1e6)
    session = onnxruntime().InferenceSession(to_onnx(read))
    given = {"image": image.transpose(2, 0, 1)[None].astype(np.float32)}
    if halves:
        given[LEVEL] = np.full((1, 1, 10, 14), 0.1, np.float32)
    (made,) = session.run(None, given)
    wanted = _matlab(layers, image, 0.1)
    np.testing.assert_allclose(made[0].transpose(1, 2, 0), wanted if halves else image - wanted, rtol=0, atol=1e-5)


def test_a_file_of_another_network_is_refused(tmp_path):
    rng = np.random.default_rng(0)
    _save(tmp_path / "net.mat", [*_layers(rng, channels=1, halves=False), ("pool", [])])
    with pytest.raises(ValueError, match=r"net\.mat: layers conv, relu, conv, relu, conv, pool; those of FFDNet"):
        read_published(tmp_path / "net.mat")
    _save(tmp_path / "many.mat", _layers(rng, channels=3, halves=True, told=6))
    with pytest.raises(ValueError, match="takes 6 values beside the image; one noise level is expected"):
        to_onnx(read_published(tmp_path / "many.mat"))


@pytest.mark.slow
def test_the_bundle_of_a_network_takes_odd_sides_and_a_level(tmp_path):
    rng = np.random.default_rng(5)
    layers = [(kind, [array / 8 for array in arrays]) for kind, arrays in _layers(rng, channels=3, halves=True)]
    _save(tmp_path / "net.mat", layers)
    source = tmp_path / "net.onnx"
    source.write_bytes(to_onnx(read_published(tmp_path / "net.mat")))
    given = Preprocessing(noise_input=LEVEL)
    bundle = export(
        source, None, str(tmp_path / "bundle"), given, judge=lambda _: None
    )  # random weights denoise nothing
    assert (bundle.spec.input.any_size, bundle.spec.input.multiple) == (True, 2)
    image = rng.random((9, 13, 3)).astype(np.float32)
    made = Denoiser(Runtime.load(bundle)).denoise(image[None], np.array([0.1], np.float32)).pixels[0]
    wanted = _matlab(layers, np.pad(image, ((0, 1), (0, 1), (0, 0)), "reflect"), 0.1)[:9, :13]
    np.testing.assert_allclose(made, wanted, rtol=0, atol=1e-5)
