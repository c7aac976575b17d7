"""The command line as a user meets it: processes, exit statuses, one line on stderr."""

import json
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from pipeline.cli.command import main
from tests.conftest import Model, write_parquet


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipeline", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def fail(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    status = main([str(a) for a in arguments])
    return status, capsys.readouterr().err


def spent_by_children() -> float:
    """Seconds of the processor, which other work on the machine hardly changes, as it does those of a clock."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def test_help_is_quick_and_shows_an_example() -> None:
    for command in ("encode", "reconstruct", "plan", "verify"):
        before = spent_by_children()
        result = run(command, "--help")
        assert spent_by_children() - before < 1.5, "about 0.3 s on an idle machine"
        assert result.returncode == 0
        assert f"latentlake {command}" in result.stdout.partition("example:")[2]


def test_encode_then_verify(tmp_path: Path, shards: Path, model: Model) -> None:
    result = run("encode", "--input", shards, "--model", model.bundle, "--output", tmp_path / "out")
    assert (result.returncode, result.stderr) == (0, "")
    assert "1,797 records in 3 units: 1,797 results, 0 rejects" in result.stdout
    assert f"SELECT * FROM '{tmp_path}/out/latents/**/*.parquet'" in result.stdout
    result = run("verify", tmp_path / "out", "--json")
    assert result.returncode == 0
    assert json.loads(result.stdout)["results"] == 1797


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (["--modle", "x"], "unknown option --modle; did you mean --model?"),
        (["--runer=x"], "unknown option --runer; did you mean --runner?"),
        (["--format", "tar"], "argument --format: invalid choice: 'tar'"),
        (["--max-reject-fraction", "2"], "argument --max-reject-fraction: invalid fraction value: '2'"),
        (["--image", "nope"], "nope"),
        (["--carry", "nope"], "nope"),
        (["--input", "/none/such"], "/none/such: no such file or directory"),
        (["--model", "/none/such"], "/none/such"),
        (["stray"], "stray"),
    ],
)
def test_wrong_use_is_one_line_and_writes_nothing(
    tmp_path: Path, shards: Path, model: Model, capsys: pytest.CaptureFixture[str], change: list[str], text: str
) -> None:
    base = ["encode", "--model", model.bundle, "--output", tmp_path / "out", "--input", shards]
    status, error = fail(capsys, *base, *change)
    assert (status, error.count("\n")) == (2, 1)
    assert text in error
    assert not (tmp_path / "out").exists()


def test_a_mistyped_required_option_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, error = fail(capsys, "encode", "--input", tmp_path, "--modle", "x", "--output", tmp_path / "out")
    assert (status, error) == (2, "error: unknown option --modle; did you mean --model?\n")
    status, error = fail(capsys, "encode", "--input", tmp_path, "--output", tmp_path / "out")
    assert (status, "required: --model" in error) == (2, True)


@pytest.mark.parametrize(
    ("command", "text"),
    [
        (
            "verify out --repair --max-reject-fraction 1",
            "--max-reject-fraction is no option of verify, but of encode, reconstruct, denoise, decode, generate and ",
        ),
        ("verify --max-reject-fraction=1", "--max-reject-fraction is no option of verify"),
        ("encode --noise-level 25", "--noise-level is no option of encode, but of denoise"),
        ("plan encode --noise-level 25", "--noise-level is no option of encode, but of denoise"),
        ("status out --deep", "--deep is no option of status, but of verify"),
        ("retry out --epochs 2", "--epochs is no option of retry, but of train"),
        ("check bundle --epochs 2", "--epochs is no option of check, but of train"),
        ("export m.keras --noise-level 25", "--noise-level is no option of export, but of denoise"),
        ("verify out --repiar", "unknown option --repiar; did you mean --repair?"),
        ("report x y", "unexpected argument 'y' (see latentlake report --help)"),
        ("similar x --key a y", "unexpected argument 'y' (see latentlake similar --help)"),
        ("check zoo:mnist-vae -x", "unexpected argument '-x' (see latentlake check --help)"),
        ("verify out --resze", "unknown option --resze"),
        (
            "encode --input a --model b --output c --hash sha256",
            "unexpected argument 'sha256': no option before it takes it; 'latentlake encode --help' says ",
        ),
    ],
)
def test_an_option_of_another_command_is_named_as_such(
    capsys: pytest.CaptureFixture[str], command: str, text: str
) -> None:
    status, error = fail(capsys, *command.split())
    assert (status, error.count("\n"), error.count("did you mean --resize")) == (2, 1, 0)
    assert error.startswith(f"error: {text}")


def test_exit_3_when_success_is_kept_back(
    tmp_path: Path, model: Model, digit_files: list[bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    write_parquet(tmp_path / "in/a.parquet", [*digit_files[:9], b"junk"], range(10))
    base = ["encode", "--input", tmp_path / "in", "--model", model.bundle, "--output", tmp_path / "out"]
    status, error = fail(capsys, *base)
    assert status == 3
    assert "10.00% of the records were rejected" in error
    assert fail(capsys, *base, "--max-reject-fraction", "0.1") == (0, "")


# Shells start what runs in the background with SIGINT ignored, and the tests may run so.
HEARS = "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])"


def test_an_interrupted_job_says_so_at_once_and_keeps_what_is_done(
    tmp_path: Path, model: Model, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    for number in range(99):
        np.save(tmp_path / f"in/{number:02}.npy", np.zeros((4000, 8, 8, 1), np.uint8))
    asked = ["--input", f"{tmp_path}/in", "--model", model.bundle, "--output", f"{tmp_path}/out"]
    command = [sys.executable, "-c", HEARS, sys.executable, "-m", "latentlake", "encode", *asked, "--threads", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as job:
        while job.poll() is None and not [*tmp_path.glob("out/_receipts/*.json")]:
            time.sleep(0.01)
        job.send_signal(signal.SIGINT)
        sent = time.monotonic()
        line = job.stderr.readline()
        assert time.monotonic() - sent < 5, "about 0.05 s on an idle machine"
        assert line == "interrupted; what is done is kept, run the same command again to go on\n"
        assert (job.wait(), job.stderr.read()) == (130, "")
    assert not (tmp_path / "out/_SUCCESS").exists()
    assert main(["plan", "encode", *asked, "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert 0 < plan["done"] < 99


def test_plan_writes_nothing(tmp_path: Path, shards: Path, model: Model, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--input", shards, "--model", model.bundle, "--output", tmp_path / "out", "--json"]
    assert main(["plan", "encode", *map(str, arguments)]) == 0
    value = json.loads(capsys.readouterr().out)
    assert (value["shards"], value["units"], value["todo"], value["done"]) == (3, 3, 3, 0)
    assert value["first"] == ["a/train-0", "a/train-1", "b/train-2"]
    assert list(tmp_path.iterdir()) == []


def test_the_launchers_entry_takes_a_mode(tmp_path: Path, shards: Path, model: Model) -> None:
    from pipeline.main import main as launcher

    arguments = [f"--input={shards}/a,{shards}/b", f"--model={model.bundle}", f"--output={tmp_path}/out"]
    assert launcher(["--mode=encode", *arguments]) == 0
    assert (tmp_path / "out/_SUCCESS").exists()
    assert launcher(arguments) == 2


BEAMS_OWN = ("--runner=FnApiRunner", "--direct_running_mode=multi_threading")


def test_beams_own_options_pass_through(
    tmp_path: Path, shards: Path, model: Model, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--input", shards, "--model", model.bundle, "--output", tmp_path / "out"]
    assert fail(capsys, "encode", *arguments, *BEAMS_OWN) == (0, "")
    assert (tmp_path / "out/_SUCCESS").exists()


@pytest.mark.slow
def test_beams_own_options_pass_through_in_a_process(tmp_path: Path, shards: Path, model: Model) -> None:
    arguments = ["--input", shards, "--model", model.bundle, "--output", tmp_path / "out"]
    result = run("encode", *arguments, *BEAMS_OWN)
    assert (result.returncode, result.stderr) == (0, "")
    assert (tmp_path / "out/_SUCCESS").exists()


def test_a_reader_that_has_seen_enough_is_no_error(tmp_path: Path, shards: Path, model: Model) -> None:
    base = f"{sys.executable} -m pipeline plan encode --input {shards} --model {model.bundle} --output {tmp_path}/out"
    result = subprocess.run(
        ["bash", "-o", "pipefail", "-c", f"{base} --json | true"], capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.slow  # tests/faults/test_kill.py has the short form
def test_a_killed_run_is_completed_by_the_next(tmp_path: Path, shards: Path, model: Model, encoded: Path) -> None:
    """Killed once its first unit has a receipt: that unit is kept, the bytes are those of an undisturbed run."""
    arguments = ["--input", shards, "--model", model.bundle, "--output", tmp_path / "out"]
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline", "encode", *map(str, arguments)], stdout=subprocess.DEVNULL
    )
    receipts = tmp_path / "out/_receipts"
    while process.poll() is None and not (receipts.exists() and list(receipts.rglob("*.json"))):
        time.sleep(0.002)
    process.kill()
    process.wait()
    assert main(["encode", *map(str, arguments)]) == 0
    for path in (encoded / "latents").rglob("*.parquet"):
        assert (tmp_path / "out" / path.relative_to(encoded)).read_bytes() == path.read_bytes()
    assert (tmp_path / "out/_manifest.parquet").read_bytes() == (encoded / "_manifest.parquet").read_bytes()
    assert not list((tmp_path / "out").rglob(".*"))
