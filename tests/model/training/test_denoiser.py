import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pytest

from lake.core.errors import OutputError, UsageError
from lake.formats.reader import ColumnSelection
from model.bundle import Bundle
from model.keras.load import load_model
from model.training import networks
from model.training.checkpoint import FILE
from model.training.crops import LEVELS, make_batch
from model.training.denoiser import _Run, train_denoiser
from model.training.options import DenoiserOptions
from model.training.schedule import STEPS, averaged_at, rate_at, share_done, side_at

_STEPS, _MANY = 3, 9


@pytest.fixture(scope="module")
def inputs(digits, tmp_path_factory) -> str:
    """Pictures of 17 x 17 digits each."""
    path = tmp_path_factory.mktemp("inputs") / "pictures.npy"
    chosen = digits[np.random.default_rng(0).integers(len(digits), size=(6, 17, 17))]
    np.save(path, chosen.swapaxes(2, 3).reshape(6, 136, 136, 1))
    return str(path)


def _settings(inputs, output, **more) -> DenoiserOptions:
    given = {"steps": _STEPS, "validation_fraction": 0.2, "precision": "float32", "checkpoint_steps": 1}
    return DenoiserOptions(inputs=(inputs,), output=str(output), selection=ColumnSelection(carry=()), **given | more)


class _InterruptedError(Exception):
    pass


def _interrupting(step):
    def watch(report, steps):
        if report.step > step:
            raise _InterruptedError

    return watch


def _ignore(report, steps):
    pass


def _train_small(*arguments, **more):
    """A training of a network that is compiled and exported in a third of the time, where any network will do."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("_GRAY_WIDTHS", (32, 40, 64)), ("_DOWN_BLOCKS", (1, 1, 1)), ("_UP_BLOCKS", (1, 1))):
            patch.setattr(networks, name, value)
        return train_denoiser(*arguments, **more)


@pytest.fixture(scope="module")
def trained(inputs, tmp_path_factory):
    return train_denoiser(_settings(inputs, tmp_path_factory.mktemp("trained") / "bundle"), _ignore)


@pytest.fixture(scope="module")
def trained_small(inputs, tmp_path_factory):
    return _train_small(_settings(inputs, tmp_path_factory.mktemp("small") / "bundle"), _ignore)


@pytest.fixture(scope="module")
def trained_longer(inputs, tmp_path_factory):
    output = tmp_path_factory.mktemp("longer") / "bundle"
    return _train_small(_settings(inputs, output, steps=_MANY, checkpoint_steps=4), _ignore)


@pytest.fixture(scope="module")
def interrupted(inputs, tmp_path_factory) -> Path:
    """What a training leaves that has saved its first step, and is stopped before it saves the second."""
    output = tmp_path_factory.mktemp("interrupted") / "bundle"
    with pytest.raises(_InterruptedError):
        _train_small(_settings(inputs, output), _interrupting(1))
    assert [path.name for path in output.iterdir()] == [FILE]
    return output


def _model(bundle):
    return load_model(bundle.read("model.keras"), "bundle")


def _of_the_noise(first, last):
    """The loss of doing nothing in these steps: noise of a level has just its mean square."""
    images = [np.zeros((136, 136, 1), np.uint8)] * 4
    levels = [make_batch(images, side_at(step, _MANY), 0, step).level for step in range(first, last)]
    return np.mean([20 * np.log10(level) for level in levels])


@pytest.mark.slow
def test_every_image_is_learnt_from_or_held_out(trained):
    assert (trained.images, trained.held_out) == (4, 2)
    assert [report.step for report in trained.reports] == [1, 2, 3]


@pytest.mark.slow
def test_it_learns(trained_longer):
    assert [report.step for report in trained_longer.reports] == [4, 8, 9]
    first, _, last = (
        report.loss - _of_the_noise(start, report.step)
        for start, report in zip((0, 4, 8), trained_longer.reports, strict=True)
    )
    assert abs(first) < 0.1  # dB worse than doing nothing, which is how it begins
    assert last < -0.1


@pytest.mark.slow
def test_what_is_reported_is_what_the_bundled_model_does(trained, inputs):
    model = _model(trained.bundle)
    for level in (15, 25, 50):
        ratios = []
        for number, image in enumerate(np.load(inputs)[[0, 5], :136, :136] / 255):
            noise = np.random.default_rng([1, number]).standard_normal((1, 136, 136, 1), np.float32) * level / 255
            levels = np.full_like(noise, level / 255)
            made = np.clip(model([image[None].astype(np.float32) + noise, levels]).numpy()[0], 0, 1)
            ratios.append(-10 * np.log10(((made - image) ** 2).mean()))
        assert trained.reports[-1].psnr[str(level)] == pytest.approx(np.mean(ratios), abs=1e-3)


@pytest.mark.slow
def test_an_interrupted_training_goes_on_to_the_same_weights(trained_small, interrupted, inputs, tmp_path):
    shutil.copytree(interrupted, tmp_path / "b")
    went_on = _train_small(_settings(inputs, tmp_path / "b"), _ignore)
    _check_the_same(went_on, trained_small)


@pytest.mark.slow
def test_a_training_that_is_interrupted_twice_goes_on_to_the_same_weights(trained_longer, inputs, tmp_path):
    settings = _settings(inputs, tmp_path / "b", steps=_MANY, checkpoint_steps=4)
    for step in (0, 4):  # before step 4 is saved, and before step 8 is
        with pytest.raises(_InterruptedError):
            _train_small(settings, _interrupting(step))
    assert [path.name for path in (tmp_path / "b").iterdir()] == [FILE]
    _check_the_same(_train_small(settings, _ignore), trained_longer)


@pytest.mark.slow
def test_one_that_is_stopped_leaves_a_bundle_and_goes_on_to_the_same_weights(trained_small, inputs, tmp_path):
    settings = _settings(inputs, tmp_path / "b")
    stopped = _train_small(settings, _ignore, lambda: lambda done: done == 2)
    assert (stopped.interrupted, stopped.reports[-1].step, len(stopped.reports[-1].psnr)) == (True, 2, 3)
    assert stopped.bundle.spec.training["validation_psnr"] == stopped.reports[-1].psnr
    with pytest.raises(OutputError, match="of a training that was interrupted: give --resume"):
        _train_small(settings, _ignore)
    _check_the_same(_train_small(settings, _ignore, resume=True), trained_small)


@pytest.mark.slow
def test_one_that_is_stopped_between_checkpoints(trained_longer, inputs, tmp_path):
    settings = _settings(inputs, tmp_path / "b", steps=_MANY, checkpoint_steps=4)
    stopped = _train_small(settings, _ignore, lambda: lambda done: done == 6)
    assert [report.step for report in stopped.reports] == [4, 6]
    _check_the_same(_train_small(settings, _ignore, resume=True), trained_longer)
    with pytest.raises(KeyboardInterrupt):  # before the first report
        _train_small(replace(settings, output=str(tmp_path / "c")), _ignore, lambda: lambda done: done == 2)
    assert not (tmp_path / "c").exists()


def _check_the_same(went_on, trained):
    assert went_on.bundle.digest == trained.bundle.digest
    assert went_on.bundle.read("model.keras") == trained.bundle.read("model.keras")
    assert [(r.step, r.loss, r.psnr) for r in went_on.reports] == [(r.step, r.loss, r.psnr) for r in trained.reports]
    assert not (Path(went_on.bundle.uri) / FILE).exists()


def test_refusals(trained, interrupted, inputs, tmp_path):
    shutil.copytree(interrupted, tmp_path / "b")
    with pytest.raises(OutputError, match=r"checkpoint\.npz: of a training with seed 0, not 1; give the same options"):
        _train_small(_settings(inputs, tmp_path / "b", seed=1), _ignore)
    np.save(tmp_path / "other.npy", np.load(inputs)[::-1])
    with pytest.raises(OutputError, match="of a training with images '"):
        _train_small(_settings(str(tmp_path / "other.npy"), tmp_path / "b"), _ignore)
    with pytest.raises(OutputError, match="holds a bundle already"):
        _train_small(_settings(inputs, Path(trained.bundle.uri)), _ignore)
    np.save(tmp_path / "vectors.npy", np.zeros((5, 3), np.float32))
    with pytest.raises(UsageError, match="--kind denoiser takes images"):
        _train_small(_settings(str(tmp_path / "vectors.npy"), tmp_path / "c"), _ignore)
    with pytest.raises(UsageError, match=r"the loss is not finite in step [0-9]+; give a smaller --learning-rate"):
        _train_small(_settings(inputs, tmp_path / "c", learning_rate=1e30), _ignore)


def test_the_curve_and_the_provenance(trained):
    output = Path(trained.bundle.uri)
    reports = json.loads((output / "training.json").read_text())["reports"]
    assert [report["loss"] for report in reports] == [report.loss for report in trained.reports]
    root = ElementTree.parse(output / "curve.svg").getroot()
    lines = list(root.iter("{http://www.w3.org/2000/svg}polyline"))
    assert [len(line.get("points").split()) for line in lines] == [3, 3, 3, 3]
    training = Bundle.open(trained.bundle.uri).spec.training
    assert (training["steps"], training["training_images"], training["precision"]) == (_STEPS, 4, "float32")
    assert training["validation_psnr"] == trained.reports[-1].psnr
    assert training["operations_per_pixel"] == trained.operations == 244_538
    assert trained.bundle.spec.input.noise.range[1] == max(LEVELS)


@pytest.mark.parametrize(("error", "low"), [(0.0, 0.0), (0.9, 0.0), (4.0, 5.0), (6.0, 7.5), (14.0, 15.0), (40.0, 15.0)])
def test_what_it_learned_is_what_does_no_harm(error, low):
    """Of networks that miss one of two images by as much as noise of this level, and the other by less."""
    run, rng = object.__new__(_Run), np.random.default_rng(0)
    held_out = [np.full((64, 64, 1), value, np.float32) for value in (0.4, 0.6)]

    def clean(noisy, levels):
        value = round(float(noisy.mean()), 1)
        missed = rng.standard_normal(noisy.shape) * error / 255
        return SimpleNamespace(numpy=lambda: np.full(noisy.shape, value) + missed * (0.5 if value < 0.5 else 1))

    run._images, run._clean = SimpleNamespace(held_out=held_out), clean
    assert run.learned() == (low, max(LEVELS))


def test_the_bundle_takes_any_size_and_a_noise_level(trained):
    spec = trained.bundle.spec
    assert (spec.kind, spec.latent, spec.functions) == ("denoiser", None, ("denoise",))
    assert (spec.input.any_size, spec.input.multiple, spec.input.color) == (True, 8, "gray")


def test_work_is_counted_by_pixels():
    pixels = np.cumsum([side_at(step, STEPS) ** 2 for step in range(STEPS)])
    for done in (1, 14_000, 28_000, 31_000, 36_000, 39_999, STEPS):
        assert share_done(done, STEPS) == pytest.approx(pixels[done - 1] / pixels[-1], rel=1e-12)
    assert share_done(0, STEPS) == 0


def test_the_course_is_the_same_for_any_number_of_steps():
    sides = [side_at(step, STEPS) for step in range(STEPS)]
    assert [sides.count(side) for side in (64, 96, 128)] == [28_000, 8_000, 4_000]
    assert sides == sorted(sides)
    short = [side_at(step, 400) for step in range(400)]
    assert [short.count(side) for side in (64, 96, 128)] == [280, 80, 40]
    assert side_at(0, 1) in (64, 96, 128)
    rates = np.array([rate_at(step, STEPS, 2e-3) for step in range(STEPS)])
    assert rates[0] == pytest.approx(2e-3 / 200)
    assert (rates[199:28_001] == 2e-3).all()
    assert rates[34_000] == pytest.approx(1e-3)
    assert 0 < rates[-1] < 1e-6
    assert rate_at(340, 400, 2e-3) == pytest.approx(1e-3)


def test_the_average_is_that_of_the_last_steps():
    mean = total = 0.0
    for step in range(20_000):
        share = averaged_at(step)
        mean += share * (step - mean)
        total += share * (1 - total)
    assert total == pytest.approx(1)
    assert 19_999 - mean == pytest.approx(1000, rel=0.02)
