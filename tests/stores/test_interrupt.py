"""Ctrl-C while requests wait for a store that does not answer: every runner, every thread that may be stuck."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.processes import ROOT, children, until
from harness.servers.gcs_server import GcsBucket, GcsServer
from harness.servers.proxy import Fault, always
from tests.conftest import Model, long_forms
from tests.faults.torture import FOUR_WORKERS, make_shards, session

STALL = 8.0  # seconds: longer than a command may take that is interrupted
HEARS = "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])"
SAYS = "interrupted; what is done is kept, run the same command again to go on\n"
PLACES = {
    "the plan": Fault(what="stall", method="GET", target="/o\\?", name="in"),
    "the lease": Fault(what="stall", method="POST", name="^out/_hold"),
    "a shard": Fault(what="stall", target="alt=media", name="^in/.*parquet", skip=1),
    "a table": Fault(what="stall", method="POST", name="^out/latents/"),
    "the manifest": Fault(what="stall", method="POST", name="^out/_manifest"),
}


@pytest.fixture
def stocked(gs: GcsBucket, tmp_path: Path, model: Model) -> GcsBucket:
    make_shards(tmp_path / "in")
    gs.upload(tmp_path / "in", "in")
    gs.upload(Path(model.bundle), "bundle")
    return gs


OTHERS = [(place, ()) for place in PLACES if place != "a table"]


@pytest.mark.parametrize(("place", "options"), [("a table", ()), *long_forms(("a table", FOUR_WORKERS), *OTHERS)])
def test_it_ends_at_once(stocked: GcsBucket, gcs: GcsServer, place: str, options: tuple[str, ...]) -> None:
    named = {"--input": "in", "--model": "bundle", "--output": "out"}
    uris = [word for name, at in named.items() for word in (name, f"{stocked.uri}/{at}")]
    command = ["-m", "latentlake", "encode", *uris, "--gcs-endpoint", gcs.proxy.url, *options]
    fault = always(PLACES[place])
    fault.seconds, fault.seen = STALL, 0
    with gcs.proxy.doing(fault):
        job = subprocess.Popen(
            [sys.executable, "-c", HEARS, sys.executable, *command, "--max-reject-fraction", "0.2"],
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        until(lambda: fault.seen > fault.skip or job.poll() is not None, "a request that waits", seconds=200)
        assert bool(children(job.pid)) == bool(options)
        time.sleep(0.2)
        sent = time.monotonic()
        job.send_signal(signal.SIGINT)
        _, said = job.communicate(timeout=60)
        took = time.monotonic() - sent
        assert job.returncode == 130
        assert SAYS in said  # workers of their own have more to say
        assert took < 2 + (3 if os.getloadavg()[0] > 2 else 0)
        until(lambda: session(job.pid) == [], "the end of all processes", seconds=5)
        gcs.proxy.faults = []
