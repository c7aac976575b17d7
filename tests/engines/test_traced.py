"""What a run on this machine touches, as the kernel sees it: no network, and no files but its own."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.processes import ROOT
from tests.conftest import Pixels, png, write_parquet

_CALL = re.compile(r"(\w+)\((.*)\) += (-?\d+)")
_NAMED = re.compile(r'(?:(?:AT_FDCWD|\d+)<([^>]*)>, )?"([^"]*)"')
_CHANGING = re.compile(r"O_(WRONLY|RDWR|CREAT|TRUNC)")
_ADDRESS = re.compile(r"sa_family=AF_INET.*?(?:inet_addr\(|inet_pton\(AF_INET6, )\"([^\"]+)\"")
_SYSTEM = ("/dev", "/etc", "/lib", "/lib64", "/proc", "/sys", "/usr")
_DEVICES = ("/dev/null", "/dev/shm/sem.", "/proc/self/task/")  # semaphores of processes, names of threads


@dataclass(frozen=True, slots=True, kw_only=True)
class Traced:
    """What a run opened, what it wrote, renamed or removed, and with whom it spoke."""

    read: frozenset[str]
    changed: frozenset[str]
    addresses: frozenset[str]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """What is somebody's own and no part of the job: settings that would change results, and credentials."""
    home = tmp_path / "home"
    for name, text in ((".keras/keras.json", '{"floatx": "float16"}'), (".aws/credentials", "[default]\n")):
        (home / name).parent.mkdir(parents=True)
        (home / name).write_text(text)
    return home


@pytest.mark.parametrize(
    ("verb", "model", "more"),
    [
        ("encode", "mnist-autoencoder", ("--resize", "stretch")),
        ("reconstruct", "mnist-autoencoder", ("--resize", "stretch")),
        ("denoise", "denoiser-gray", ("--noise-level", "25")),
    ],
)
def test_a_run_touches_what_it_was_given_and_nothing_else(
    tmp_path: Path, home: Path, digits: Pixels, verb: str, model: str, more: Sequence[str]
) -> None:
    shards, output, scratch = tmp_path / "in", tmp_path / "out", tmp_path / "tmp"
    for shard in (shards / "0.parquet", shards / "1.parquet", tmp_path / "beside.parquet"):
        write_parquet(shard, [png(digit) for digit in digits[:200]], range(200))
    bundle = ROOT / "model/zoo" / model
    scratch.mkdir()
    words = (verb, "--input", shards, "--model", bundle, "--output", output, *more)

    seen = traced(words, tmp_path / "trace", {"HOME": str(home), "TMPDIR": str(scratch)})

    assert outside(seen.changed, output, scratch, *_DEVICES) == set()
    paths = sysconfig.get_paths()
    installed = {
        sys.prefix,
        sys.base_prefix,
        *paths.values(),
        *(str(ROOT / name) for name in ("lake", "model", "pipeline")),
    }
    listed = {str(ROOT), str(output.parent)}  # for modules, and to sync the output's name
    assert outside(seen.read, shards, bundle, output, scratch, *installed, *_SYSTEM) <= listed
    assert seen.addresses <= {"::1"}  # where urllib3 tries, as it is imported, whether there is IPv6
    assert {str(path) for path in (shards / "0.parquet", bundle / "model.json")} <= seen.read
    assert str(output / "_SUCCESS") in seen.changed
    assert [*scratch.iterdir()] == []


def traced(words: Sequence[object], folder: Path, more: dict[str, str]) -> Traced:
    """Run a command to its good end, under strace."""
    assert shutil.which("strace"), "strace is missing: apt-get install strace"
    folder.mkdir()
    calls = "trace=%file,%network"
    strace = ["strace", "-ff", "-qq", "-y", "--seccomp-bpf", "-e", calls, "-e", "signal=none", "-o", folder / "of"]
    command = [str(word) for word in (*strace, sys.executable, "-m", "pipeline", *words)]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **more}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    read, changed, addresses = set[str](), set[str](), set[str]()
    for name, given, result in _calls(folder):
        addresses.update(_ADDRESS.findall(given))
        if result < 0 or name in ("execve", "connect", "bind", "sendto", "sendmsg"):
            continue
        if name in ("open", "openat", "creat"):
            (changed if name == "creat" or _CHANGING.search(given) else read).update(_paths(given))
        elif name not in ("access", "faccessat2", "getcwd", "newfstatat", "readlink", "readlinkat", "stat", "statx"):
            changed.update(_paths(given))
    return Traced(read=frozenset(read), changed=frozenset(changed), addresses=frozenset(addresses))


def _calls(folder: Path) -> Iterator[tuple[str, str, int]]:
    """Each call's name, arguments and result."""
    for thread in folder.iterdir():
        for line in thread.read_text(errors="replace").splitlines():
            if call := _CALL.match(line):
                yield call[1], call[2], int(call[3])


def _paths(given: str) -> Iterator[str]:
    for place, name in _NAMED.findall(given):
        yield os.path.normpath(Path(place or ROOT) / name)


def outside(paths: frozenset[str], *roots: object) -> set[str]:
    """Those that neither are one of these nor lie in one; a root that ends in a dot is the beginning of a name."""
    return {path for path in paths if not any(_within(path, str(root)) for root in roots)}


def _within(path: str, root: str) -> bool:
    return path == root or path.startswith(root if root[-1] in "./" else f"{root}/")
