"""A training that is stopped keeps the best weights so far, and goes on to the bytes of one that never was."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lake.core.errors import OutputError
from lake.formats.reader import ColumnSelection
from model.bundle import MODEL_FILE, Bundle
from model.training.autoencoder import train
from model.training.checkpoint import FILE
from model.training.epochs import Epochs, Watcher
from model.training.kinds import TRAINED
from model.training.options import TrainingOptions
from model.training.samples import load_samples
from tests.conftest import long_forms


class _Stopping(Watcher):
    """Wants no further step after the first one of an epoch."""

    def __init__(self, epoch: int) -> None:
        self._last, self._now = epoch, 0

    def begin(self):
        return lambda _: self._now == self._last

    def step(self, epoch: int, *_: int) -> None:
        self._now = epoch


@pytest.fixture(scope="module")
def inputs(digits, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("inputs")
    np.save(path / "images.npy", digits[:200, ..., None])
    np.save(path / "vectors.npy", digits[:200].reshape(-1, 64).astype(np.float32))
    return path


def _options(inputs, output, **more) -> TrainingOptions:
    numeric = more.get("kind") == "dense"
    given = {
        "kind": "autoencoder",
        "inputs": (str(inputs / ("vectors.npy" if numeric else "images.npy")),),
        "output": str(output),
        "selection": ColumnSelection(carry=(), numeric=numeric),
        "latent_dim": 4,
        "epochs": 3,
        "batch_size": 60,
    }
    return TrainingOptions(**given | more)


def _run(options) -> Epochs:
    kind = TRAINED[options.kind]
    pixels = np.load(options.inputs[0])
    samples = load_samples(lambda: [pixels], options.validation_fraction)
    return Epochs(options, kind, kind.objective(options.noise / 255, options.agreement), pixels.shape[1:], samples)


@pytest.mark.parametrize("more", [{"kind": "dense"}, *long_forms({"kind": "vae"})])
def test_the_same_weights_as_without_an_interruption(inputs, tmp_path, more):
    whole = _run(_options(inputs, tmp_path / "whole", epochs=2, **more))
    assert not whole.train(Watcher())
    options = _options(inputs, tmp_path / "cut", epochs=2, **more)
    assert _run(options).train(_Stopping(2))
    last = _run(options)
    assert not last.train(Watcher())
    for one, other in zip(last.model.get_weights(), whole.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert [(e.loss, e.val_loss) for e in last.epochs] == [(e.loss, e.val_loss) for e in whole.epochs]


@pytest.mark.parametrize("more", [{"kind": "dense"}, {"noise": 20.0, "agreement": 0.1}, {"kind": "vae"}])
@pytest.mark.slow
@pytest.mark.timeout(400)  # four bundles are written
def test_the_same_bytes_as_without_an_interruption(inputs, tmp_path, more):
    whole = train(_options(inputs, tmp_path / "whole", **more))
    options = _options(inputs, tmp_path / "cut", **more)
    first = train(options, _Stopping(2))
    assert (first.interrupted, len(first.epochs)) == (True, 1)
    assert first.best == replace(whole.epochs[0], seconds=first.best.seconds)
    assert Bundle.open(options.output).spec.training["best_epoch"] == 1  # a whole bundle, of the first epoch
    with pytest.raises(OutputError, match="holds a bundle already"):
        train(options)
    second = train(options, _Stopping(3), resume=True)
    assert [epoch.epoch for epoch in second.epochs] == [1, 2]
    last = train(options, resume=True)
    assert last.bundle.digest == whole.bundle.digest
    assert last.bundle.read(MODEL_FILE) == whole.bundle.read(MODEL_FILE)
    assert [(e.loss, e.val_loss) for e in last.epochs] == [(e.loss, e.val_loss) for e in whole.epochs]
    assert not (Path(options.output) / FILE).exists()


def test_nothing_is_left_of_a_training_without_an_epoch(inputs, tmp_path):
    options = _options(inputs, tmp_path / "b", kind="dense")
    with pytest.raises(KeyboardInterrupt):
        train(options, _Stopping(1))
    assert not (tmp_path / "b").exists()
    with pytest.raises(OutputError, match=r"checkpoint\.npz: not there, so there is nothing to resume"):
        train(options, resume=True)


def test_another_training_does_not_go_on(inputs, tmp_path):
    options = _options(inputs, tmp_path / "b", kind="dense")
    train(options, _Stopping(2))
    with pytest.raises(OutputError, match="of a training with batch_size 60, not 30; give the same options"):
        train(replace(options, batch_size=30), resume=True)
    np.save(tmp_path / "others.npy", np.load(inputs / "vectors.npy") + 1)
    with pytest.raises(OutputError, match="of a training with images "):
        train(replace(options, inputs=(str(tmp_path / "others.npy"),)), resume=True)
    assert Bundle.open(options.output).spec.training["best_epoch"] == 1
