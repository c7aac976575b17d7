import hashlib
import json
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from model.backend import keras
from model.bundle import DESCRIPTION, GOLDEN, MODEL, Bundle
from model.export import export
from model.golden import golden_inputs, pack
from model.loading import load_model
from model.runtime import Runtime
from model.spec import Input, digest
from pipeline.errors import BundleError

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
    with pytest.raises(BundleError, match=r"there/golden\.npz: not there"):
        bundle.copy(copied.uri)


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
