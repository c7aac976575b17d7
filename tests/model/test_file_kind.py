import gzip
import io
import pickle
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from lake.core.errors import BundleError, UsageError
from lake.core.tensorflow import keras, tensorflow
from model.bundle import Bundle
from model.export import export
from model.file_kind import FILE_KINDS, tell_kind


def _zip(*names: str) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name in names:
            archive.writestr(name, b"{}")
    return stream.getvalue()


def _hdf5() -> bytes:
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        file["x"] = [1.0]
    return stream.getvalue()


def _npz() -> bytes:
    stream = io.BytesIO()
    np.savez(stream, x=np.ones(3))
    return stream.getvalue()


def _tar() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("model.keras"), io.BytesIO())
    return stream.getvalue()


def _onnx() -> bytes:
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    other = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [value], [other])
    made: bytes = helper.make_model(graph, producer_name="pytorch").SerializeToString()
    return made


def _safetensors() -> bytes:
    header = b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    return len(header).to_bytes(8, "little") + header + bytes(4)


# Files as they begin in the wild, under names that say something else.
FILES = [
    ("keras", "a.zip", _zip("metadata.json", "config.json", "model.weights.h5")),
    ("hdf5", "a.keras", _hdf5()),
    ("tflite", "a.keras", b"\x1c\0\0\0TFL3" + bytes(40)),
    ("html", "a.keras", b"\n<!DOCTYPE html>\n<html lang='en'>"),
    ("lfs-pointer", "a.h5", b"version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 3\n"),
    ("torch", "a.keras", _zip("archive/data.pkl", "archive/version", "archive/data/0")),
    ("torch", "a.bin", pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2)),
    ("torch-script", "a.h5", _zip("m/data.pkl", "m/code/__torch__.py")),
    ("safetensors", "a.keras", _safetensors()),
    ("pickle", "a.h5", pickle.dumps({"w": [1]})),
    ("pickle", "a.joblib", zlib.compress(pickle.dumps({"w": [1]}))),
    ("numpy", "a.keras", _npz()),
    ("matlab", "a.mat", b"MATLAB 7.3 MAT-file, Platform: PCWIN64".ljust(512) + _hdf5()),
    ("matlab", "a.h5", b"MATLAB 5.0 MAT-file, Platform: GLNXA64".ljust(124) + b"\0\1IM"),
    ("json", "a.h5", b'{"class_name": "Functional"}'),
    ("gzip", "a.h5", gzip.compress(b"x")),
    ("tar", "a.keras", _tar()),
    ("zip", "a.keras", _zip("readme.txt")),
    ("onnx", "a.keras", _onnx()),
    ("onnx", "net.onnx", b""),
    ("frozen-graph", "frozen.pb", b"\n\x10\n\x01x\x12\x0bPlaceholder"),
    ("checkpoint", "cp.ckpt.data-00000-of-00001", bytes(16)),
    ("checkpoint", "cp.ckpt.index", bytes(16)),
    ("empty", "a.keras", b""),
    ("unknown", "a.keras", b"\x01\x02\x03" * 9),
    ("unknown", "a.h5", b"\x08"),  # as an ONNX file begins, and nothing else
]


@pytest.fixture
def place(tmp_path) -> Iterator[Path]:
    (tmp_path / "it").mkdir()
    return tmp_path / "it"


@pytest.mark.parametrize(("kind", "name", "data"), FILES, ids=[f"{kind}-{name}" for kind, name, _ in FILES])
def test_files(place, kind, name, data):
    (place / name).write_bytes(data)
    assert tell_kind(str(place / name)) is FILE_KINDS[kind]
    # Not one of them is a bundle; each says what it is and the way on.
    with pytest.raises(BundleError) as raised:
        Bundle.open(str(place / name))
    assert str(raised.value).startswith(f"{place / name}: this is {FILE_KINDS[kind].what}; ")
    if not FILE_KINDS[kind].exported:
        with pytest.raises(BundleError, match="this is "):
            export(place / name, "code", str(place / "bundle"))


def test_a_job_that_is_given_the_model_itself(place, saved):
    """The command that it names is one that works, but for the layer's name."""
    path = place / "my.keras"
    path.write_bytes(saved.read_bytes())
    with pytest.raises(BundleError, match=rf"latentlake export {path} --latent LAYER --output BUNDLE$"):
        Bundle.open(str(path))
    for uri in (str(place), str(place / "none")):
        with pytest.raises(BundleError, match=r"model\.json: not there; name a directory made by"):
            Bundle.open(uri)


def test_directories(place, network):
    tensorflow().saved_model.save(keras().Sequential([keras().layers.Input((2,))]), str(place / "saved"))
    tensorflow().train.Checkpoint(v=tensorflow().Variable(1.0)).save(str(place / "checkpoints" / "cp"))
    (place / "bundle").mkdir()
    for name in ("model.json", "model.keras"):
        (place / "bundle" / name).touch()
    assert tell_kind(str(place / "saved")).name == "saved-model"
    assert tell_kind(str(place / "checkpoints")).name == "checkpoint"
    assert tell_kind(str(place / "bundle")).name == "bundle"
    assert tell_kind(str(place)).name == "directory"
    with pytest.raises(BundleError, match="saved: this is a TensorFlow SavedModel"):
        export(place / "saved", "code", str(place / "b"))
    with pytest.raises(BundleError, match=r"bundle: this is a bundle already; name it as it is: --model .*/bundle"):
        export(place / "bundle", "code", str(place / "b"))


def test_a_real_checkpoint_and_real_onnx(place):
    tensorflow().train.Checkpoint(v=tensorflow().Variable(1.0)).save(str(place / "cp"))
    (index,) = place.glob("*.index")
    assert tell_kind(str(index)).name == "checkpoint"
    onnx.save(onnx.load_model_from_string(_onnx()), place / "net.bin")
    assert tell_kind(str(place / "net.bin")).name == "onnx"


def test_what_is_not_there(place):
    with pytest.raises(UsageError, match=r"none\.keras: cannot be read: No such file or directory"):
        export(place / "none.keras", "code", str(place / "b"))


def test_a_name_that_would_forge_a_line(place):
    path = place / "a\nERROR \x1b[31m.keras"
    path.write_bytes(b"<html>")
    with pytest.raises(BundleError) as raised:
        Bundle.open(str(path))
    assert str(raised.value).isprintable()
