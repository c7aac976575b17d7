import json
import shlex
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest
import tifffile

from model.bundle import Bundle
from model.cli.main import main
from model.cli.train import _stopped
from model.training.checkpoint import FILE
from pipeline.cli.command import main as command


@pytest.mark.slow
def test_a_denoiser_shows_its_progress(digits, tmp_path, capsys):
    pictures = digits[: 4 * 256].reshape(4, 16, 16, 8, 8).swapaxes(2, 3).reshape(4, 128, 128, 1)
    np.save(tmp_path / "pictures.npy", pictures)
    bundle = str(tmp_path / "bundle")
    given = ["--input", str(tmp_path / "pictures.npy"), "--output", bundle, "--kind", "denoiser", "--steps", "2"]
    assert main(["train", *given, "--validation-fraction", "0.5", "--precision", "float32"]) == 0
    printed = capsys.readouterr()
    first, step = printed.err.splitlines()
    assert first == "reading the images"
    assert step.startswith("step 2 of 2  loss ")
    assert " dB at noise 25, " in step
    assert step.endswith("  0:00:00 left")
    assert "trained on 2 images in 2 steps, 0.245 MFLOP per pixel" in printed.out
    assert f"denoise --input '{tmp_path}/pictures.npy' --model {bundle} --noise-level 25 --output" in printed.out
    assert Bundle.open(bundle).spec.training["validation_fraction"] == 0.5
    assert main(["train", *given]) == 2
    assert "holds a bundle already" in capsys.readouterr().err


@pytest.mark.slow
def test_a_vae_shows_its_bound(digits, tmp_path, capsys):
    np.save(tmp_path / "digits.npy", digits[:300, ..., None])
    given = ["--input", str(tmp_path / "digits.npy"), "--output", str(tmp_path / "bundle"), "--kind", "vae", "--json"]
    assert main(["train", *given, "--latent-dim", "4", "--epochs", "1"]) == 0
    printed = capsys.readouterr()
    value = json.loads(printed.out)
    assert value["kind"] == "vae"
    assert f"validation ELBO {-value['val_loss']:.2f} nats" in printed.err


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["--kind", "vae", "--steps", "5"], "--steps is for --kind denoiser, not vae; leave it out"),
        (["--kind", "denoiser", "--epochs", "5"], "--epochs is for --kind autoencoder or vae or dense, not denoiser"),
        (["--kind", "denoiser", "--resize", "fit"], "--resize is for --kind autoencoder or vae or dense, not denoiser"),
        (
            ["--kind", "denoiser", "--decode", "fast"],
            "--decode is for --kind autoencoder or vae or dense, not denoiser",
        ),
        (["--kind", "denoiser", "--input-shape", "8", "8", "1"], "--input-shape is for --kind autoencoder"),
        (["--kind", "dense", "--noise", "5"], "--noise is for --kind autoencoder, not dense"),
        (["--kind", "denoiser", "--agreement", "5"], "--agreement is for --kind autoencoder, not denoiser"),
        (["--noise", "-1"], "argument --noise: invalid rate_or_photons value: '-1'"),
        (["--kind", "denoiser", "--pairs", "z"], "--pairs goes with --self-supervised: give that too, or leave it out"),
        (["--kind", "denoiser", "--noise-level", "9"], "--noise-level goes with --self-supervised"),
        (
            ["--kind", "denoiser", "--patience", "9"],
            "--patience is for --kind autoencoder or vae or dense, not denoiser",
        ),
        (["--kind", "denoiser", "--noise", "poisson-gaussian"], "--noise poisson-gaussian goes with --self-supervised"),
        (
            ["--kind", "denoiser", "--self-supervised", "--noise", "25"],
            "--noise is for --kind autoencoder, not denoiser",
        ),
        (["--kind", "denoiser", "--gain", "2"], "--gain goes with --self-supervised: give that too, or leave it out"),
        (["--kind", "vae", "--self-supervised"], "--self-supervised is for --kind denoiser, not vae"),
        (["--kind", "denoiser", "--self-supervised", "--noise-level", "x"], "argument --noise-level: invalid"),
        (
            ["--kind", "denoiser", "--self-supervised", "--noise-level", "9", "--pairs", "z"],
            "--noise-level and --pairs: a pair of shots tells its own noise level; leave out one of them",
        ),
        (["--precision", "float16"], "argument --precision: invalid choice: 'float16'"),
    ],
)
def test_options_of_other_kinds_are_refused(arguments, error, capsys):
    assert main(["train", "--input", "x", "--output", "y", *arguments]) == 2
    assert error in capsys.readouterr().err


@pytest.mark.parametrize("kind", [["vae"], ["denoiser"], ["denoiser", "--self-supervised", "--noise-level", "9"]])
def test_nothing_is_said_to_be_read_before_the_start_is_there(kind, digits, tmp_path, capsys):
    np.save(tmp_path / "digits.npy", digits[:8, ..., None])
    given = ["--input", str(tmp_path / "digits.npy"), "--output", str(tmp_path / "bundle")]
    assert main(["train", *given, "--kind", *kind, "--start-from", str(tmp_path / "none")]) == 2
    (error,) = capsys.readouterr().err.splitlines()
    assert str(tmp_path / "none") in error


def test_a_bundle_inside_the_input_is_refused(capsys):
    assert main(["train", "--input", "gs://b/x", "--output", "gs://b/./x/bundle"]) == 2
    assert "the output gs://b/./x/bundle lies inside the input gs://b/x" in capsys.readouterr().err


@pytest.mark.slow
def test_a_denoiser_without_clean_images_says_what_holds(digits, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("model.training.networks._GRAY_WIDTHS", (16, 24, 32))
    pictures = digits[: 8 * 64].reshape(8, 8, 8, 8, 8).swapaxes(2, 3).reshape(8, 64, 64)
    np.save(tmp_path / "pictures.npy", pictures)
    bundle = str(tmp_path / "bundle")
    given = ["--input", str(tmp_path / "pictures.npy"), "--output", bundle, "--kind", "denoiser", "--self-supervised"]
    assert main(["train", *given, "--noise-level", "25", "--steps", "2", "--precision", "float32", "--json"]) == 0
    printed = capsys.readouterr()
    value = json.loads(printed.out)
    assert (value["way"], value["images"], value["held_out"], value["best_step"]) == ("noise level", 7, 1, 2)
    assert value["noise_levels"] == pytest.approx([25, 25, 25])
    assert f"held out {value['error']:.4g} of 255" in printed.err
    assert Bundle.open(bundle).spec.training["validation_error"] == value["error"]
    assert main(["train", *given, "--noise-level", "25"]) == 2
    assert "holds a bundle already" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("noise", "camera"),
    [
        (["--noise-level", "25"], None),
        (["--noise", "poisson-gaussian", "--gain", "2", "--read-noise", "3", "--black-level", "-1"], (2.0, 3.0, -1.0)),
    ],
)
def test_what_comes_next_runs_for_all_pages(noise, camera, tmp_path, capsys, monkeypatch):
    """A job that writes all pages has to be told a format of several."""
    monkeypatch.setattr("model.training.networks._GRAY_WIDTHS", (16, 24, 32))
    pages = np.random.default_rng(0).integers(0, 256, (8, 40, 48), np.uint8)
    tifffile.imwrite(tmp_path / "stack.tif", pages, photometric="minisblack")
    given = ["--input", str(tmp_path / "stack.tif"), "--output", str(tmp_path / "bundle"), *noise]
    more = ["--pages", "all", "--steps", "1", "--precision", "float32"]
    assert main(["train", "--kind", "denoiser", "--self-supervised", *given, *more]) == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("next: latentlake "))
    job = [*shlex.split(line.removeprefix("next: latentlake "))[:-1], str(tmp_path / "denoised")]
    assert command(job) == 0
    assert (tmp_path / "denoised" / "_SUCCESS").exists()
    if camera is not None:  # the bundle says it, and the job takes it from there
        (table,) = (tmp_path / "denoised/metrics").rglob("*.parquet")
        (row,) = pq.read_table(table, columns=["gain", "read_noise", "black_level"]).to_pylist()
        assert tuple(values[0] for values in row.values()) == camera


@pytest.mark.parametrize("checkpoint", [False, True])
def test_an_interruption_promises_no_more_than_there_is(tmp_path, checkpoint):
    if checkpoint:
        (tmp_path / FILE).write_bytes(b"")
    trained = SimpleNamespace(interrupted=True, bundle=SimpleNamespace(uri=str(tmp_path)))
    (line,) = _stopped(trained, "the weights of step 200")
    assert ("--resume goes on" in line) == checkpoint
    assert (f"there is no checkpoint yet: remove {tmp_path} to train again" in line) != checkpoint
