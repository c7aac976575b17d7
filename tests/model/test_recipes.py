"""The recipes of docs/recipes_models.md, run as they are printed."""

import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lake.core.tensorflow import keras
from model.bundle import Bundle
from model.cli.main import main
from model.runtime.runtime import Runtime

PAGE = Path(__file__).parents[2] / "docs/recipes_models.md"
BLOCK = re.compile(r'^```(?:python title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)


def sections() -> dict[str, str]:
    """The text of each section by its title."""
    return {part.partition("\n")[0]: part for part in PAGE.read_text().split("\n## ")[1:]}


def run_python(title: str, folder: Path) -> dict[str, Any]:
    """Write the files of a section, and run all but those that it only shows."""
    names: dict[str, Any] = {"__name__": "recipe"}
    for name, text in BLOCK.findall(sections()[title]):
        if name:
            (folder / name).write_text(text)
            exec(compile(text, str(folder / name), "exec"), names)
    return names


def commands(title: str) -> list[list[str]]:
    lines = (line for name, text in BLOCK.findall(sections()[title]) if not name for line in text.splitlines())
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("latentlake export")]


def export(title: str, position: int, folder: Path) -> Runtime:
    """Run an export of a section; nobody has trained these networks, so what their images look like is not judged."""
    words = commands(title)[position]
    uri = folder / f"bundle-{position}"
    words[words.index("--output") + 1] = str(uri)
    assert main([*words, *([] if "--any-output" in words else ["--any-output"])]) == 0
    return Runtime.load(Bundle.open(str(uri)))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory of a recipe, whose classes Keras forgets afterwards."""
    from keras.src.saving import object_registration

    import model.layers  # noqa: F401 - which stays registered

    registries = object_registration.GLOBAL_CUSTOM_OBJECTS, object_registration.GLOBAL_CUSTOM_NAMES
    for registry in registries:
        for name, value in {**registry}.items():
            monkeypatch.setitem(registry, name, value)
    monkeypatch.chdir(tmp_path)
    keras().utils.set_random_seed(7)
    return tmp_path


def images(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (4, *shape), np.uint8)


def same(found: Any, want: Any) -> None:
    want = np.asarray(want).reshape(np.asarray(found).shape)
    np.testing.assert_allclose(found, want, rtol=0, atol=1e-5 * max(float(np.abs(want).max()), 1e-6))


def test_every_section_is_tried() -> None:
    by_hand = {"KerasHub backbones"}
    text = Path(__file__).read_text()
    assert all(f'title = "{title}"' in text for title in sections().keys() - by_hand)


def test_vae(folder: Path) -> None:
    title = "The variational autoencoder of keras.io"
    names = run_python(title, folder)
    text = (folder / "vae.py").read_text()
    (folder / "sampling.py").write_text(text[: text.index("encoder_inputs =")])
    names["encoder"].save("encoder.keras")
    given = images(28, 28, 1)
    mean, logarithm, _ = names["encoder"].predict(given / np.float32(255), verbose=0)
    for position in range(2):
        runtime = export(title, position, folder)
        found = runtime.encode_variance(given)
        same(found[0], mean)
        same(found[1], np.exp(logarithm))
        same(runtime.decode(mean), names["decoder"].predict(mean, verbose=0))
        assert runtime.spec.code is None and "generate" in runtime.spec.functions


@pytest.mark.slow
def test_cvae(folder: Path) -> None:
    title = "Conditional variational autoencoders"
    names = run_python(title, folder)
    given, classes = images(28, 28, 1), np.array([7, 0, 3, 9])
    row = np.eye(10, dtype=np.float32)[classes]
    mean, logarithm = names["encoder"].predict([given / np.float32(255), row], verbose=0)
    want = names["decoder"].predict([mean, row], verbose=0)
    runtime = export(title, 0, folder)
    found = runtime.encode_variance(given, condition=classes)
    same(found[0], mean)
    same(found[1], np.exp(logarithm))
    for one in (runtime, export(title, 1, folder)):
        same(one.decode(mean, condition=classes), want)
        assert "generate" in one.spec.functions


def test_tutorial(folder: Path) -> None:
    title = "The autoencoders of TensorFlow's tutorial"
    names = run_python(title, folder)
    runtime, given = export(title, 0, folder), images(28, 28, 1)
    model, values = names["autoencoder"], given[..., 0] / np.float32(255)
    found = runtime.reconstruct(given)
    same(found.latents, model.encoder.predict(values, verbose=0))
    same(found.output, model.predict(values, verbose=0))


@pytest.mark.slow
def test_convautoencoder(folder: Path) -> None:
    title = "The ConvAutoencoder of PyImageSearch"
    names = run_python(title, folder)
    runtime, given = export(title, 0, folder), images(28, 28, 1)
    found, values = runtime.reconstruct(given), given / np.float32(255)
    same(found.latents, names["encoder"].predict(values, verbose=0))
    same(found.output, names["autoencoder"].predict(values, verbose=0))


def test_vqvae(folder: Path) -> None:
    title = "The VQ-VAE of keras.io"
    names = run_python(title, folder)
    given = images(28, 28, 1)
    values = given / np.float32(255)
    runtime = export(title, 0, folder)
    found = runtime.reconstruct(given)
    assert runtime.spec.code is not None and runtime.executor == "onnx"
    quantized = keras().Model(names["vqvae"].input, names["quantized"]).predict(values, verbose=0)
    same(found.latents, quantized)
    same(found.output, names["vqvae"].predict(values, verbose=0))
    same(runtime.decode(found.latents), found.output)
    plain = export(title, 1, folder)
    assert plain.spec.code is None
    same(plain.encode(given), names["encoder"].predict(values, verbose=0))


@pytest.mark.slow
def test_mae(folder: Path) -> None:
    title = "Masked autoencoders"
    names = run_python(title, folder)
    runtime, given = export(title, 0, folder), images(48, 48, 3)
    assert runtime.spec.code is not None and runtime.executor == "onnx"
    same(runtime.encode(given), names["downstream"].predict(given / np.float32(255), verbose=0))


@pytest.mark.slow
def test_convnext(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the same layers as the smallest one, but fewer and narrower: that one has 28 million weights."""
    from keras.src.applications import convnext

    small = {"depths": [1, 1, 2, 1], "projection_dims": [24, 48, 96, 192]}
    monkeypatch.setitem(convnext.MODEL_CONFIGS, "tiny", {**convnext.MODEL_CONFIGS["tiny"], **small})
    title = "ConvNeXt"
    names = run_python(title, folder)
    runtime, given = export(title, 0, folder), images(64, 64, 3)
    same(runtime.encode(given), names["network"].predict(given.astype(np.float32), verbose=0))


def test_heads(folder: Path) -> None:
    title = "Several outputs"
    names = run_python(title, folder)
    runtime, given = export(title, 0, folder), images(32, 32, 3)
    want = names["heads"].predict(given / np.float32(255), verbose=0)
    same(runtime.encode(given), want["code"])
    same(runtime.reconstruct(given).output, want["image"])
