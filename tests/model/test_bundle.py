import hashlib
import json
import pickle
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from model.backend import keras
from model.bundle import DESCRIPTION, GOLDEN, MODEL, Bundle
from model.document import digest, from_json, to_json
from model.export import Preprocessing, export
from model.golden import golden_inputs, pack
from model.loading import load_model
from model.runtime import Runtime
from model.spec import Input
from pipeline.errors import BundleError
from tests.model import nets

_ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def copy(bundle, tmp_path) -> Path:
    return Path(shutil.copytree(bundle.uri, tmp_path / "copy"))


def _description(path: Path) -> dict:
    return json.loads((path / DESCRIPTION).read_text())


def _describe(path: Path, document: dict) -> None:
    (path / DESCRIPTION).write_text(json.dumps(document))


def _replace(path: Path, name: str, data: bytes) -> None:
    """Put another file in, with its digest, as somebody would who means it."""
    (path / name).write_bytes(data)
    document = _description(path)
    document["files"][name] = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    _describe(path, document)


def test_what_was_written_is_read_back(bundle, saved):
    assert Bundle.open(bundle.uri) == bundle
    assert bundle.read(MODEL) == saved.read_bytes()
    assert bundle.spec.input == Input(shape=(12, 10, 3), dtype="uint8", value_range=(0.0, 1.0), color="rgb")
    assert (bundle.spec.latent.layer, bundle.spec.latent.dimension) == ("encoded", 8)
    assert bundle.spec.training["versions"]["numpy"] == np.__version__
    assert list(bundle.files()) == [GOLDEN, MODEL, DESCRIPTION]
    assert pickle.loads(pickle.dumps(bundle)) == bundle


def test_the_digest_is_of_the_content(bundle, copy):
    text = json.dumps(_description(copy), sort_keys=True, separators=(",", ":"))
    assert bundle.digest == hashlib.sha256(text.encode()).hexdigest()
    (copy / DESCRIPTION).write_text(json.dumps(_description(copy), indent=7))
    assert Bundle.open(str(copy)).digest == bundle.digest
    assert digest({**_description(copy), "kind": "other"}) != bundle.digest


def test_opening_needs_no_tensorflow(bundle):
    code = "import sys; from model.bundle import Bundle; Bundle.open(sys.argv[1]); print('tensorflow' in sys.modules)"
    command = [sys.executable, "-c", code, bundle.uri]
    assert subprocess.run(command, capture_output=True, text=True, check=True, cwd=_ROOT).stdout == "False\n"


def test_copy(bundle, tmp_path):
    copied = bundle.copy(str(tmp_path / "there"))
    assert copied.digest == bundle.digest
    assert bundle.copy(copied.uri) == copied  # again: what is there stays
    (tmp_path / "there" / GOLDEN).unlink()
    assert bundle.copy(copied.uri).read(GOLDEN) == bundle.read(GOLDEN)  # what is damaged does not


@pytest.mark.parametrize("name", [MODEL, GOLDEN, DESCRIPTION])
def test_a_missing_file(copy, name):
    (copy / name).unlink()
    with pytest.raises(BundleError, match=f"{name}: not there; name a directory made by"):
        Bundle.open(str(copy))


@pytest.mark.parametrize("name", [MODEL, GOLDEN])
@pytest.mark.parametrize("position", [0, 1000, -1])
def test_a_flipped_byte(copy, name, position):
    data = bytearray((copy / name).read_bytes())
    data[position] ^= 1
    (copy / name).write_bytes(data)
    with pytest.raises(BundleError, match=f"{name}: damaged or replaced: {len(data)} bytes with SHA-256"):
        Bundle.open(str(copy))


def test_a_file_that_changes_after_opening(copy):
    bundle = Bundle.open(str(copy))
    (copy / MODEL).write_bytes((copy / MODEL).read_bytes() + b"x")
    with pytest.raises(BundleError, match=r"more than the [0-9]+ it may have"):
        bundle.read(MODEL)
    (copy / MODEL).write_bytes(b"x")
    with pytest.raises(BundleError, match="damaged or replaced: 1 bytes"):
        bundle.copy(str(copy.parent / "elsewhere"))


_BROKEN = [
    ({"schema": 2}, "schema 2 is not 1"),
    ({"schema": True}, "schema is True"),
    ({"kind": "magic"}, "kind is 'magic'"),
    ({"input": None}, "input is None"),
    ({"input.shape": [12, 10]}, r"input.shape is \[12, 10\]"),
    ({"input.shape": [12, 10, -3]}, r"input.shape is \[12, 10, -3\]"),
    ({"input.shape": [1 << 20, 1 << 20, 3]}, "input.shape is"),
    ({"input.shape": [12.0, 10, 3]}, "input.shape is"),
    ({"input.dtype": "float32"}, "input.dtype is 'float32'"),
    ({"input.color": "gray"}, "input.color is 'gray'"),
    ({"input.value_range": [1, 0]}, r"input.value_range is \[1, 0\]"),
    ({"input.value_range": [0, "1"]}, "input.value_range is"),
    ({"latent.dimension": 9}, "latent.dimension is 9"),
    ({"latent.layer": None}, "latent.layer is None"),
    ({"golden.tolerance": 5.0}, "golden.tolerance is 5.0"),
    ({"golden.count": 0}, "golden.count is 0"),
    ({"files.model.keras": "x" * 1000}, "files.model.keras is 'xxx.*…"),
    ({"files": {"../../etc/passwd": {}}}, "files is"),
    ({"training": []}, r"training is \[\]"),
]


@pytest.mark.parametrize(("change", "reason"), _BROKEN)
def test_a_wrong_description(copy, change, reason):
    document = _description(copy)
    for place, value in change.items():
        *outer, name = place.split(".", 1)
        (document[outer[0]] if outer else document)[name] = value
    _describe(copy, document)
    with pytest.raises(BundleError, match=rf"model\.json: {reason}"):
        Bundle.open(str(copy))


@pytest.fixture(scope="module")
def denoiser(layers, tmp_path_factory) -> Bundle:
    directory = tmp_path_factory.mktemp("denoiser")
    keras().utils.set_random_seed(5)
    nets.unet().save(directory / "unet.keras")
    given = Preprocessing(noise_input="noise_level", noise_scale=255.0)
    return export(directory / "unet.keras", None, str(directory / "bundle"), given)


def test_what_is_as_usual_is_not_written(bundle, denoiser):
    """So bundles of earlier versions, which do not say it, keep their digest when they are copied."""
    spec = replace(bundle.spec, functions=("encode", "reconstruct"))
    document = to_json(spec)
    assert {*document} == {"schema", "kind", "input", "latent", "golden", "files", "training"}
    assert {*document["input"]} == {"shape", "dtype", "value_range", "color"}
    assert from_json(document, "here") == spec
    assert to_json(bundle.spec)["functions"] == ["encode", "reconstruct", "decode", "denoise"]
    assert "functions" not in to_json(denoiser.spec)


def test_a_bundle_of_an_earlier_version(copy, tmp_path):
    document = _description(copy)
    del document["functions"]
    _describe(copy, document)
    earlier = Bundle.open(str(copy))
    assert earlier.spec.functions == ("encode", "reconstruct")
    assert earlier.digest == digest(document)
    assert earlier.copy(str(tmp_path / "there")).digest == earlier.digest
    with pytest.raises(BundleError, match=r"the model cannot denoise: .* exported by this version"):
        earlier.spec.require("denoise")


def test_a_denoiser_is_read_back(denoiser, tmp_path):
    written = _description(Path(denoiser.uri))["input"]
    assert written["noise"] == {"form": "map", "input": "noise_level", "scale": 255.0}
    assert (written["any_size"], written["multiple"], written["reach"]) == (True, 8, denoiser.spec.input.reach)
    assert denoiser.copy(str(tmp_path / "there")).spec == denoiser.spec
    assert (denoiser.spec.latent, denoiser.spec.dimension) == (None, 0)


def test_another_weight_of_a_denoiser(denoiser, tmp_path):
    copy = Path(shutil.copytree(denoiser.uri, tmp_path / "copy"))
    model = load_model((copy / MODEL).read_bytes(), "copy")
    kernel, *rest = model.layers[-2].get_weights()
    kernel[1, 1] *= 1.5
    model.layers[-2].set_weights([kernel, *rest])
    model.save(tmp_path / "other.keras")
    _replace(copy, MODEL, (tmp_path / "other.keras").read_bytes())
    with pytest.raises(BundleError, match="is not the one that was bundled: its output for the golden inputs differs"):
        Runtime.load(Bundle.open(str(copy)))


_BROKEN_DENOISER = [
    ({"kind": "autoencoder"}, "latent is None|input.noise is|input.any_size is"),
    ({"latent": {"layer": "x", "shape": [3], "dimension": 3}}, "latent is "),
    ({"functions": ["encode"]}, r"functions is \['encode'\]"),
    ({"functions": ["denoise", "denoise"]}, "functions is"),
    ({"functions": ["denoise", "decode"]}, "functions is"),
    ({"functions": ["denoise", []]}, "functions is"),
    ({"functions": {"denoise": 1}}, "functions is"),
    ({"variance": "x"}, "variance is 'x'"),
    ({"input.shape": [64]}, r"input.shape is \[64\]"),
    ({"input.shape": [60, 64, 1]}, "input.multiple is 8"),
    ({"input.any_size": 1}, "input.any_size is 1"),
    ({"input.multiple": 3}, "input.multiple is 3"),
    ({"input.multiple": 128}, "input.multiple is 128"),
    ({"input.multiple": 0}, "input.multiple is 0"),
    ({"input.reach": 0}, "input.reach is 0"),
    ({"input.reach": 1 << 40}, "input.reach is 1099511627776"),
    ({"input.noise": "map"}, "input.noise is 'map'"),
    ({"input.noise": {"form": "sphere", "input": "x", "scale": 1.0}}, "input.noise.form is 'sphere'"),
    ({"input.noise": {"form": "map", "input": None, "scale": 1.0}}, "input.noise.input is None"),
    ({"input.noise": {"form": "map", "input": "x", "scale": 0.0}}, "input.noise.scale is 0.0"),
]


@pytest.mark.parametrize(("change", "reason"), _BROKEN_DENOISER)
def test_a_wrong_description_of_a_denoiser(denoiser, tmp_path, change, reason):
    copy = Path(shutil.copytree(denoiser.uri, tmp_path / "copy"))
    document = _description(copy)
    for place, value in change.items():
        *outer, name = place.split(".", 1)
        (document[outer[0]] if outer else document)[name] = value
    _describe(copy, document)
    with pytest.raises(BundleError, match=rf"model\.json: ({reason})"):
        Bundle.open(str(copy))


def test_an_input_that_is_not_there(denoiser, tmp_path):
    copy = Path(shutil.copytree(denoiser.uri, tmp_path / "copy"))
    document = _description(copy)
    document["input"]["noise"]["input"] = "elsewhere"
    _describe(copy, document)
    with pytest.raises(BundleError, match="the model has no input 'elsewhere', only image, noise_level"):
        Runtime.load(Bundle.open(str(copy)))


@pytest.mark.parametrize("text", [b"", b"{", b"\xff", b"[" * 100_000, b'{"schema": NaN}'])
def test_a_description_that_is_no_json(copy, text):
    (copy / DESCRIPTION).write_bytes(text)
    with pytest.raises(BundleError, match=r"model\.json: not valid JSON"):
        Bundle.open(str(copy))


@pytest.mark.parametrize("activation", ["elu", "gelu", "softplus", "leaky_relu", "relu6", "linear"])
def test_another_activation_with_the_same_weights(copy, activation, tmp_path):
    model = load_model((copy / MODEL).read_bytes(), "copy")
    model.get_layer("encoded").activation = keras().activations.get(activation)
    kernel, bias = model.get_layer("encoded").get_weights()
    original = load_model((copy / MODEL).read_bytes(), "copy")
    if activation == "relu6":  # needs values above 6 to differ: scale, and export the scaled one first
        for each in (model, original):
            each.get_layer("encoded").set_weights([kernel * 40, bias])
        original.save(tmp_path / "scaled.keras")
        shutil.rmtree(copy)
        export(tmp_path / "scaled.keras", "encoded", str(copy))
    model.save(tmp_path / "other.keras")
    _replace(copy, MODEL, (tmp_path / "other.keras").read_bytes())
    with pytest.raises(
        BundleError, match="is not the one that was bundled: its latent for the golden inputs differs by"
    ):
        Runtime.load(Bundle.open(str(copy)))


def test_a_layer_that_is_not_there(copy):
    document = _description(copy)
    document["latent"]["layer"] = "nowhere"
    _describe(copy, document)
    with pytest.raises(BundleError, match="no layer 'nowhere', only encoder_input, down_1"):
        Runtime.load(Bundle.open(str(copy)))


def test_shapes_that_are_not_the_models(copy):
    document = _description(copy)
    document["input"]["shape"] = [16, 12, 3]
    golden = {
        "input": golden_inputs(Input(shape=(16, 12, 3), dtype="uint8", value_range=(0, 1), color=None), 0),
        "latent": np.zeros((4, 8), np.float32),
        "output": np.zeros((4, 16, 12, 3), np.float32),
    }
    _describe(copy, document)
    _replace(copy, GOLDEN, pack(golden))
    with pytest.raises(BundleError, match=r"the model does not have the shapes that model\.json says"):
        Runtime.load(Bundle.open(str(copy)))


@pytest.mark.parametrize(
    ("golden", "reason"),
    [
        (b"PK", "not the golden outputs of this model"),
        (pack({"input": np.zeros((4, 12, 10, 3), np.uint8)}), "no item named 'latent.npy'"),
        (
            pack({"input": np.zeros((4, 120, 10, 9), np.uint8)}),
            r"input has [0-9]+ bytes for the shape \(4, 12, 10, 3\)",
        ),
        (pack({"input": np.zeros((4, 10, 12, 3), np.uint8)}), r"not uint8 \(4, 12, 10, 3\)"),
        (pack({"input": np.zeros((4, 12, 10, 3), np.int8)}), r"not uint8 \(4, 12, 10, 3\)"),
    ],
)
def test_wrong_golden_outputs(copy, golden, reason):
    _replace(copy, GOLDEN, golden)
    with pytest.raises(BundleError, match=reason):
        Runtime.load(Bundle.open(str(copy)))


def test_golden_inputs_are_seeded_and_of_full_contrast():
    takes = Input(shape=(30, 20, 3), dtype="uint8", value_range=(0.0, 1.0), color="rgb")
    assert np.array_equal(golden_inputs(takes, 1), golden_inputs(takes, 1))
    assert not np.array_equal(golden_inputs(takes, 1), golden_inputs(takes, 2))
    assert np.ptp(golden_inputs(takes, 1), axis=(1, 2, 3)).min() > 128
    vectors = golden_inputs(Input(shape=(1000,), dtype="float32", value_range=(-3.0, 7.0), color=None), 1)
    assert -3 <= vectors.min() < -2.9
    assert 6.9 < vectors.max() <= 7


def test_pack_is_deterministic_and_numpy_reads_it(tmp_path):
    arrays = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.zeros(3, np.uint8)}
    assert pack(arrays) == pack(arrays)
    (tmp_path / "x.npz").write_bytes(pack(arrays))
    with np.load(tmp_path / "x.npz", allow_pickle=False) as found:
        assert {name: found[name].tolist() for name in found} == {name: a.tolist() for name, a in arrays.items()}
