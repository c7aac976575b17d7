"""A training that starts from the weights of a bundle."""

import numpy as np
import pytest

from lake.core.errors import BundleError, OutputError, UsageError
from lake.formats.reader import ColumnSelection
from model.bundle import Bundle
from model.keras.bundled import load_bundled
from model.training.autoencoder import train
from model.training.epochs import Watcher
from model.training.kinds import TRAINED
from model.training.networks import build_denoiser
from model.training.options import DenoiserOptions, TrainingOptions
from model.training.start import began
from model.training.steps import Steps


@pytest.fixture(scope="module")
def inputs(digits, tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("inputs") / "digits.npy"
    np.save(path, digits[:400].reshape(-1, *digits.shape[1:3], 1))
    return str(path)


@pytest.fixture(scope="module", params=["autoencoder", "vae"])
def first(request, inputs, tmp_path_factory) -> tuple[TrainingOptions, Bundle]:
    options = _options(request.param, inputs, tmp_path_factory.mktemp("first") / "bundle")
    return options, train(options).bundle


def _options(kind, inputs, output, **more) -> TrainingOptions:
    given = {"latent_dim": 4, "epochs": 2, "learning_rate": 1e-3, **more}
    return TrainingOptions(
        kind=kind, inputs=(inputs,), output=str(output), selection=ColumnSelection(carry=()), **given
    )


@pytest.mark.slow
def test_it_goes_on_where_the_bundle_is(first, inputs, tmp_path):
    """At a rate of nearly 0 the weights stay those of the start, whatever the seed."""
    options, bundle = first
    more = {"start_from": bundle.uri, "learning_rate": 1e-12, "seed": 7, "epochs": 1}
    trained = train(_options(options.kind, inputs, tmp_path / "b", **more))
    ours, theirs = (_weights(one) for one in (trained.bundle, bundle))
    assert all(np.allclose(a, b, atol=1e-9) for a, b in zip(ours, theirs, strict=True))
    assert trained.bundle.spec.training["start_from"] == bundle.digest
    assert not all(np.allclose(a, b, atol=1e-3) for a, b in zip(_weights(bundle), _untrained(options), strict=True))


def _weights(bundle):
    return [weight.numpy() for weight in load_bundled(bundle).trainable_weights]


def _untrained(options):
    return [w.numpy() for w in TRAINED[options.kind].build((28, 28, 1), options.latent_dim, None).trainable_weights]


@pytest.mark.slow
def test_a_checkpoint_of_another_start_is_refused(first, inputs, tmp_path):
    options, bundle = first

    class _StopError(Exception):
        pass

    class _Watcher(Watcher):
        def epoch(self, epoch):
            if epoch.epoch == 2:
                raise _StopError

    with pytest.raises(_StopError):
        train(_options(options.kind, inputs, tmp_path / "b", start_from=bundle.uri), _Watcher())
    with pytest.raises(OutputError, match=f"with start_from '{bundle.digest}', not None"):
        train(_options(options.kind, inputs, tmp_path / "b"))


def test_another_network_is_refused(first):
    _, bundle = first
    with pytest.raises(UsageError, match=r"is of another network, with .* instead of 28 arrays of 1,456,816 weights"):
        began(bundle.uri, build_denoiser())


def test_a_denoiser_starts_from_the_one_of_the_zoo(tmp_path):
    options = DenoiserOptions(
        inputs=(), output=str(tmp_path), selection=ColumnSelection(), start_from="zoo:denoiser-gray"
    )
    zoo = Bundle.open("zoo:denoiser-gray")

    class _Run(Steps):
        _batch = _loss = _reported = _measure_last = _value = _report_of = _watched = None

    run = _Run(options, lambda precision: build_denoiser(1, precision))
    for network in (run.model, run.average):
        for ours, theirs in zip(network.get_weights(), load_bundled(zoo).get_weights(), strict=True):
            np.testing.assert_array_equal(ours, theirs)
    assert run.began == {"start_from": zoo.digest}


def test_a_bundle_without_weights_is_refused():
    with pytest.raises(UsageError, match=r"zoo:denoiser-color-int8 has no model\.keras"):
        began("zoo:denoiser-color-int8", build_denoiser(3))


def test_a_bundle_that_is_not_there_is_refused(inputs, tmp_path):
    """Before any data is read."""
    with pytest.raises(BundleError, match="start"):
        train(_options("vae", inputs + ".none", tmp_path / "b", start_from=str(tmp_path / "start")))


def test_nothing_changes_where_nothing_is_given():
    model = build_denoiser()
    before = model.get_weights()
    assert began("", model) == {}
    assert all((a == b).all() for a, b in zip(model.get_weights(), before, strict=True))
