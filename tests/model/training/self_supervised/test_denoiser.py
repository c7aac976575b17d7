"""Trainings without clean images, of seconds: what they learn, that they go on, and what they say of themselves."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from lake.core.errors import OutputError, UsageError
from lake.formats.reader import ColumnSelection
from lake.images.anscombe import PoissonGaussian
from model.bundle import Bundle
from model.denoiser import Denoiser
from model.keras.load import load_model
from model.photon_denoiser import denoise_photons
from model.runtime.runtime import Runtime
from model.training.checkpoint import FILE
from model.training.recycle import recycle
from model.training.self_supervised.course import NoisyReport
from model.training.self_supervised.denoiser import train_on_noise
from model.training.self_supervised.options import SelfSupervisedOptions

_NOISE = 1200  # of 65535
_LEVEL = _NOISE / 65535 * 255


def cells(count: int, seed: int) -> np.ndarray:
    """Round cells on a dark field in 12 of 16 bits, ``[count, 48, 48]``."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:48, :48]
    images = np.full((count, 48, 48), 6000.0)
    for image in images:
        for y, x, radius in rng.uniform((0, 0, 5), (48, 48, 12), (8, 3)):
            image += 9000 * np.exp(-((((rows - y) ** 2 + (columns - x) ** 2) / radius**2) ** 2))
    return images


@pytest.fixture(scope="module")
def shots(tmp_path_factory) -> Path:
    """Two noisy shots of twelve fields, as arrays of uint16."""
    folder, clean = tmp_path_factory.mktemp("shots"), cells(12, 0)
    for name, seed in (("one", 1), ("two", 2)):
        noisy = clean + np.random.default_rng(seed).normal(0, _NOISE, clean.shape)
        np.save(folder / f"{name}.npy", noisy.round().astype(np.uint16))
    return folder


def options(shots, output, **more) -> SelfSupervisedOptions:
    given = {"steps": 3, "precision": "float32", "checkpoint_steps": 1, "validation_fraction": 0.2}
    selection = ColumnSelection(carry=())
    return SelfSupervisedOptions(
        inputs=(str(shots / "one.npy"),), output=str(output), selection=selection, **given | more
    )


def ways(shots):
    return {"pairs": {"pairs": (str(shots / "two.npy"),)}, "noise level": {"noise_level": _LEVEL}, "blind spot": {}}


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    """The networks with fewer channels, so that a step takes milliseconds."""
    monkeypatch.setattr("model.training.networks._GRAY_WIDTHS", (16, 24, 32))
    monkeypatch.setattr("model.training.self_supervised.blind_spot._WIDTHS", (16, 16, 24, 32))


@pytest.fixture
def shallow(narrow, monkeypatch):
    """The networks with fewer layers, too, so that they are compiled and exported in half the time."""
    monkeypatch.setattr("model.training.networks._DOWN_BLOCKS", (1, 1, 1))
    monkeypatch.setattr("model.training.networks._UP_BLOCKS", (1, 1))
    monkeypatch.setattr("model.training.self_supervised.blind_spot._WIDTHS", (16, 24))


def ignore(report: NoisyReport, steps: int) -> None:
    pass


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("name", "gain"), [("pairs", 5.0), ("noise level", 5.0), ("blind spot", 3.0)])
def test_it_removes_noise_from_images_that_it_never_saw(name, gain, shots, tmp_path):
    trained = train_on_noise(
        options(shots, tmp_path / "b", steps=150, checkpoint_steps=75, **ways(shots)[name]), ignore
    )
    clean = cells(4, 7)
    noisy = (clean + np.random.default_rng(8).normal(0, _NOISE, clean.shape)).round().astype(np.uint16)[..., None]
    levels = np.full(4, _LEVEL / 255, np.float32) if trained.way.told else None
    made = Denoiser(Runtime.load(trained.bundle)).denoise(noisy, levels).pixels
    assert made.dtype == np.uint16
    before, after = (np.mean((images[..., 0] - clean) ** 2) for images in (noisy.astype(float), made.astype(float)))
    assert 10 * np.log10(before / after) > gain
    # What it says of itself, without a clean image, is true.
    error = np.sqrt(after) / 65535 * 255
    if trained.way.absolute:
        assert trained.best.error == pytest.approx(error, rel=0.35)
    else:
        assert trained.best.error == pytest.approx(np.hypot(error, _LEVEL), rel=0.1)
    assert max(map(abs, trained.correlation)) < 0.2


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_noise_of_few_photons_is_not_passed_on(shallow, tmp_path):
    camera = PoissonGaussian(gain=2.0, read_noise=3.0, black_level=100.0)
    light, rng = np.full((12, 48, 48), 0.8), np.random.default_rng(3)  # electrons
    light[:, :24, :24] = 15
    noisy = np.rint(100 + 2.0 * rng.poisson(light) + rng.normal(0, 3.0, light.shape)).astype(np.uint16)
    np.save(tmp_path / "one.npy", noisy)
    more = {"steps": 240, "checkpoint_steps": 240, "noise": "poisson-gaussian", "gain": 2, "read_noise": 3}
    trained = train_on_noise(options(tmp_path, tmp_path / "b", black_level=100, **more), ignore)
    denoiser = Denoiser(Runtime.load(trained.bundle))
    made = denoise_photons(denoiser, noisy[..., None], [(camera,)] * len(noisy))[0].pixels[..., 0]
    noise, passed = ((found[:, 28:, 28:] - 101.6) / 2 for found in (noisy, made))  # electrons, where it is dark
    # Of noise that is taken for normal it learns to pass on a part. Where pixels are cut off by the transform before
    # they are recorrupted, these come out 0.42 electrons too bright.
    assert passed[noise < -3].mean() == pytest.approx(0, abs=0.3)


@pytest.mark.slow
@pytest.mark.parametrize("colors", [1, 3])
@pytest.mark.usefixtures("shallow")
def test_the_residual_of_pairs_is_that_of_the_first_shots(colors, tmp_path, monkeypatch):
    monkeypatch.setattr("model.training.networks._COLOR_WIDTHS", (16, 24, 32))
    clean = cells(12, 0)[..., None].repeat(colors, axis=3) / 65535
    first, second = (clean + np.random.default_rng(n).normal(0, _LEVEL / 255, clean.shape) for n in (1, 2))
    for name, shot in (("one", first), ("two", second)):
        np.save(tmp_path / f"{name}.npy", shot.astype(np.float32))
    trained = train_on_noise(options(tmp_path, tmp_path / "b", **ways(tmp_path)["pairs"]), ignore)
    held_out = slice(None, None, 5)  # a fifth
    levels = np.sqrt(np.mean((first - second)[held_out] ** 2, axis=(1, 2, 3)) / 2).astype(np.float32)
    noisy = first[held_out].astype(np.float32)
    residual = noisy - Denoiser(Runtime.load(trained.bundle)).denoise(noisy, levels).pixels
    found = [
        [np.mean(one[:, 1:] * one[:, :-1]) / np.mean(one**2), np.mean(one[1:] * one[:-1]) / np.mean(one**2)]
        for one in residual - residual.mean(axis=(1, 2), keepdims=True)
    ]
    assert trained.correlation == pytest.approx(tuple(np.mean(found, axis=0)), abs=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "times"), [("pairs", 2), ("noise level", 2), ("blind spot", 0)])
@pytest.mark.usefixtures("shallow")
def test_idle_channels_begin_anew_by_what_the_network_sees(name, times, shots, tmp_path, monkeypatch):
    seen = []

    def watched(model, average, noisy, levels, rng):
        seen.append((noisy, levels))
        return recycle(model, average, noisy, levels, rng)

    monkeypatch.setattr("model.training.steps.recycle", watched)
    train_on_noise(options(shots, tmp_path / "b", **ways(shots)[name]), ignore)
    assert len(seen) == times, "none in the last of three steps, where the learning rate falls"
    for noisy, levels in seen:
        assert noisy.shape == (len(noisy), 48, 48, 1)
        assert levels.shape == noisy.shape
        # Between neighbours there is hardly anything but noise: its deviation is as large as the network is told.
        told = np.diff(noisy, axis=2).std(axis=(1, 2, 3)) / 2**0.5 / levels[:, 0, 0, 0]
        assert np.median(told) == pytest.approx(1.0, abs=0.15)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pairs", "noise level", "blind spot"])
@pytest.mark.usefixtures("shallow")
def test_an_interrupted_training_goes_on_to_the_same_weights(name, shots, tmp_path):
    more = ways(shots)[name]
    whole = train_on_noise(options(shots, tmp_path / "a", **more), ignore)
    stopped = train_on_noise(options(shots, tmp_path / "b", **more), ignore, lambda: lambda done: done == 2)
    assert (stopped.interrupted, stopped.reports[-1].step) == (True, 2)
    with pytest.raises(OutputError, match="give --resume to go on with it"):
        train_on_noise(options(shots, tmp_path / "b", **more), ignore)
    with pytest.raises(OutputError, match="of a training with seed 0, not 1"):
        train_on_noise(options(shots, tmp_path / "b", seed=1, **more), ignore, resume=True)
    went_on = train_on_noise(options(shots, tmp_path / "b", **more), ignore, resume=True)
    weights = [load_model(one.bundle.read("model.keras"), "bundle").get_weights() for one in (went_on, whole)]
    assert all(np.array_equal(*pair) for pair in zip(*weights, strict=True))
    assert went_on.bundle.digest == whole.bundle.digest  # though Keras has built more in between
    assert [(r.step, r.loss, r.error) for r in went_on.reports] == [(r.step, r.loss, r.error) for r in whole.reports]
    assert not (tmp_path / "b" / FILE).exists()


@pytest.mark.slow
def test_it_stops_when_it_gets_no_better_and_keeps_the_best(shots, tmp_path):
    # So high a rate makes it worse than it was after one step.
    chosen = options(shots, tmp_path / "b", steps=40, patience=3, learning_rate=0.5, noise_level=_LEVEL)
    trained = train_on_noise(chosen, ignore)
    errors = [report.error for report in trained.reports]
    assert trained.best.error == min(errors)
    assert len(errors) == errors.index(min(errors)) + 1 + 3 < 40
    assert Bundle.open(trained.bundle.uri).spec.training["best_step"] == trained.best.step


@pytest.mark.slow
@pytest.mark.usefixtures("shallow")
def test_it_keeps_the_best_where_the_noise_is_said_to_be_too_strong(tmp_path):
    """Estimates of the squared error are below 0 then: soon, of noise and nothing else."""
    noise = np.random.default_rng(1).normal(30_000, _NOISE, (12, 48, 48))
    np.save(tmp_path / "one.npy", noise.round().astype(np.uint16))
    more = {"steps": 60, "checkpoint_steps": 15, "learning_rate": 0.01, "noise_level": 2 * _LEVEL}
    trained = train_on_noise(options(tmp_path, tmp_path / "b", **more), ignore)
    errors = [report.error for report in trained.reports]
    assert max(errors) < 0 and len(set(errors)) == 4, "each is measured"
    assert trained.best.error == min(errors) and trained.best.step > 15
    assert "the noise was said or estimated to be stronger than it is" in (tmp_path / "b" / "README.md").read_text()


@pytest.mark.slow
@pytest.mark.usefixtures("shallow")
def test_what_the_bundle_says_of_its_training(shots, tmp_path):
    trained = train_on_noise(options(shots, tmp_path / "b", pairs=(str(shots / "two.npy"),)), ignore)
    spec = Bundle.open(trained.bundle.uri).spec
    assert (spec.kind, spec.functions, spec.input.any_size) == ("denoiser", ("denoise",), True)
    assert spec.training["self_supervised"] == "pairs"
    assert spec.training["noise_levels"] == pytest.approx([_LEVEL] * 3, rel=0.05)
    assert spec.input.noise.range == pytest.approx((_LEVEL / 1.25, _LEVEL * 1.25), rel=0.05)
    images = np.load(shots / "one.npy") / 65535, np.load(shots / "two.npy") / 65535
    training = np.stack(images)[:, [n for n in range(12) if n % 5]]
    assert spec.input.normalization.mean == pytest.approx((training.mean(),), rel=1e-5)
    assert spec.input.noise.scale == pytest.approx(1 / training.std(), rel=1e-5)
    card = (tmp_path / "b" / "README.md").read_text()
    assert "learnt by pairs from 9 noisy images" in card
    assert "holds if the noise of two shots is independent, and nothing moves between them" in card
    reports = json.loads((tmp_path / "b" / "training.json").read_text())["reports"]
    assert [report["error"] for report in reports] == [report.error for report in trained.reports]
    assert (tmp_path / "b" / "curve.svg").read_bytes().startswith(b"<svg")


@pytest.mark.usefixtures("shallow")
def test_a_loss_that_is_not_finite_is_an_error(shots, tmp_path):
    with pytest.raises(UsageError, match=r"the loss is not finite in step [0-9]+; give a smaller --learning-rate"):
        train_on_noise(options(shots, tmp_path / "b", learning_rate=1e30, steps=9), ignore)
    shutil.rmtree(tmp_path / "b", ignore_errors=True)
