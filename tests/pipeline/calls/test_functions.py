"""Jobs called from Python: each in a process of its own, with the results and errors of the command."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import latentlake as ll
from lake.core.errors import InputError, LatentlakeError, OutputError, UnfinishedError, UsageError
from pipeline.calls import process
from pipeline.calls.child import ModelRequest
from pipeline.output.progress.status import State, status
from tests.conftest import Model, Pixels, write_parquet

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def called(tmp_path_factory: pytest.TempPathFactory, shards: Path, model: Model) -> ll.Output:
    return ll.encode(shards, model=model.bundle, output=tmp_path_factory.mktemp("called") / "out", carry="none")


def test_a_job_gives_its_output(called: ll.Output, model: Model, digits: Pixels) -> None:
    np.testing.assert_allclose(called.latents().values, model.encode(digits), atol=1e-5)
    assert "label" not in called.table.schema.names
    assert len(ll.open(called.uri)) == 1797


def test_errors_are_those_of_the_command(called: ll.Output, shards: Path, model: Model, tmp_path: Path) -> None:
    """The first two before the process starts, the others in it."""
    with pytest.raises(UsageError, match="unknown option 'rezise'; did you mean resize"):
        ll.encode(shards, model=model.bundle, output=tmp_path / "o", rezise="fit")
    for beam in ("--runner=X", 5, [5]):
        with pytest.raises(UsageError, match=r"beam: .* is no list of words"):
            ll.encode(shards, model=model.bundle, output=tmp_path / "o", beam=beam)
    with pytest.raises(UsageError, match=r"^input: nothing is given; "):
        ll.encode([], model=model.bundle, output=tmp_path / "o", beam=None)
    with pytest.raises(UsageError, match=r"^input: invalid word value: None; give some text"):
        ll.decode(None, model=model.bundle, output=tmp_path / "o")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="nothing"):
        ll.encode(tmp_path / "nothing", model=model.bundle, output=tmp_path / "o")
    with pytest.raises(OutputError, match="was made with other options"):
        ll.encode(shards, model=model.bundle, output=called.uri)
    assert not (tmp_path / "o").exists()


@pytest.mark.slow
def test_an_unfinished_job_and_an_unknown_option_of_beam(tmp_path: Path, model: Model) -> None:
    write_parquet(tmp_path / "in/a.parquet", [b"no image"] * 3, [0] * 3)
    with pytest.raises((UnfinishedError, InputError)):
        ll.encode(tmp_path / "in", model=model.bundle, output=tmp_path / "o", max_reject_fraction=0.5)
    with pytest.raises(UsageError, match="unknown option --runer"):
        ll.encode(tmp_path / "in", model=model.bundle, output=tmp_path / "o", beam=["--runer=X"])


@pytest.mark.slow
def test_a_model_is_trained_and_exported(shards: Path, model: Model, tmp_path: Path) -> None:
    file = Path(model.bundle).parent / "autoencoder.keras"
    bundle = ll.export(file, output=tmp_path / "exported", latent="encoded", any_output=True)
    assert Path(bundle, "model.json").exists()
    trained = ll.train(shards, output=tmp_path / "trained", epochs=1)
    assert len(ll.encode(shards, model=trained, output=tmp_path / "latents")) == 1797


def test_an_interruption_ends_the_job(tmp_path: Path, model: Model, digit_files: list[bytes]) -> None:
    """It is raised here, and the process of the job has let the output go."""
    write_parquet(tmp_path / "in/a.parquet", digit_files * 300, [0] * (300 * len(digit_files)))
    code = (
        "import sys, latentlake as ll\n"
        "try: ll.encode(sys.argv[1], model=sys.argv[2], output=sys.argv[3])\n"
        "except KeyboardInterrupt: print('interrupted'); sys.exit(7)\n"
    )
    words = [sys.executable, "-c", code, str(tmp_path / "in"), model.bundle, str(tmp_path / "o")]
    caller = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not (tmp_path / "o/_job.json").exists():
        assert caller.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    caller.send_signal(signal.SIGINT)
    text, _ = caller.communicate(timeout=30)
    assert (caller.returncode, text) == (7, "interrupted\n")
    assert status(tmp_path / "o").state in (State.EMPTY, State.STOPPED)


def test_a_child_that_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import os; os.kill(os.getpid(), 9)"
    monkeypatch.setattr(process, "_CODE", code)
    with pytest.raises(LatentlakeError, match=r"ended with signal 9 and no word \(out of memory\?\)"):
        process.run_child(ModelRequest(words=["check", "x"]))


@pytest.mark.slow
def test_a_child_whose_caller_is_gone_ends(tmp_path: Path, model: Model, digit_files: list[bytes]) -> None:
    write_parquet(tmp_path / "in/a.parquet", digit_files * 60, [0] * (60 * len(digit_files)))
    code = "import sys, latentlake as ll; ll.encode(sys.argv[1], model=sys.argv[2], output=sys.argv[3])"
    words = [sys.executable, "-c", code, str(tmp_path / "in"), model.bundle, str(tmp_path / "o")]
    caller = subprocess.Popen(words, cwd=ROOT, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (found := status(tmp_path / "o") if (tmp_path / "o/_hold").exists() else None) or not found.process:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    caller.kill()
    caller.wait()
    while _is_there(found.process):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert not (tmp_path / "o/_SUCCESS").exists()


def _is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "\tZ" not in Path(f"/proc/{pid}/status").read_text().partition("State:")[2][:3]
