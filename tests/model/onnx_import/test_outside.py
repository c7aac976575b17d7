"""ONNX files whose weights are in other files beside them."""

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from lake.core.errors import BundleError
from model.export import export
from model.parts import Parts
from tests.model.onnx_import.networks import autoencoder, decoder, encoder

Change = Callable[[Path, Path], object]


def taken_apart(whole: Path, to: Path, *, together: bool = True) -> Path:
    """A network saved with its weights in one other file, as PyTorch does, or in one for each."""
    to.parent.mkdir()
    model, location = onnx.load(whole), f"{to.name}.data" if together else None
    onnx.external_data_helper.convert_model_to_external_data(model, together, location, size_threshold=0)
    onnx.save(model, to)
    return to


@pytest.mark.parametrize("together", [True, False], ids=["one file", "many files"])
def test_the_bundle_is_that_of_a_whole_file(tmp_path: Path, together: bool) -> None:
    whole = autoencoder().save(tmp_path / "net.onnx")
    apart = taken_apart(whole, tmp_path / "apart/net.onnx", together=together)
    assert len(list(apart.parent.iterdir())) == (2 if together else 1 + len(onnx.load(whole).graph.initializer))
    bundle = export(apart, "z", str(tmp_path / "b"))
    assert bundle.digest == export(whole, "z", str(tmp_path / "same")).digest


def test_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Named relative to the working directory."""
    whole = encoder().save(tmp_path / "e.onnx"), decoder().save(tmp_path / "d.onnx")
    for file in whole:
        taken_apart(file, tmp_path / file.stem / file.name)
    monkeypatch.chdir(tmp_path)
    bundle = export(Parts(encoder=Path("e/e.onnx"), decoder=Path("d/d.onnx")), "mean", "b")
    assert bundle.digest == export(Parts(encoder=whole[0], decoder=whole[1]), "mean", "same").digest


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda net, data: data.unlink(), r"its weights are in 'net.onnx.data', which is not beside it; copy it there"),
        (
            lambda net, data: data.write_bytes(data.read_bytes()[:-1]),
            r"'net.onnx.data', which is cut off at [\d,]+ bytes",
        ),
        (lambda net, data: name(net, "location", "../net.onnx"), "weights in another file, one file is needed"),
        (lambda net, data: name(net, "location", "/etc/passwd"), "weights in another file, one file is needed"),
        (lambda net, data: name(net, "offset", "-1"), "which is cut off"),
        (lambda net, data: name(net, "offset", "x"), "does not say where in 'net.onnx.data' its weights are"),
    ],
)
def test_what_is_refused(tmp_path: Path, change: Change, message: str) -> None:
    net = taken_apart(autoencoder().save(tmp_path / "net.onnx"), tmp_path / "apart/net.onnx")
    change(net, net.with_name("net.onnx.data"))
    with pytest.raises(BundleError, match=message):
        export(net, "z", str(tmp_path / "b"))
    assert not (tmp_path / "b").exists()


def name(net: Path, key: str, value: str) -> None:
    """Let a file say something else of where its first weight is."""
    model = onnx.load(net, load_external_data=False)
    (entry,) = (entry for entry in model.graph.initializer[0].external_data if entry.key == key)
    entry.value = value
    net.write_bytes(model.SerializeToString())


def test_a_small_file_does_not_fill_the_memory(tmp_path: Path) -> None:
    """Every weight is all of it."""
    net = taken_apart(autoencoder().save(tmp_path / "net.onnx"), tmp_path / "apart/net.onnx")
    net.with_name("net.onnx.data").write_bytes(bytes(1 << 20))
    model = onnx.load(net, load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            entry.value = {"offset": "0", "length": str(1 << 20)}.get(entry.key, entry.value)
    net.write_bytes(model.SerializeToString())
    with pytest.raises(BundleError, match=r"its weights have [\d,]+ bytes, more than are taken in one file"):
        export(net, "z", str(tmp_path / "b"))
