"""A server that takes Dataflow's submissions down, and the launcher that submits to it."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from harness.servers.gcs_server import GcsBucket, GcsServer

ROOT = Path(__file__).parents[2]
JOB_ID = "2026-11-26_00_00_00-1234567890123456789"
IMAGE = "europe-docker.pkg.dev/lake/images/latentlake:1"
GPU = "worker_accelerator=type:nvidia-l4;count:1;install-nvidia-driver"
SECRET = "f00dfacecafe"  # of this environment; must not get into a job


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataflow:
    """The service as a launcher sees it: ``posted`` has every job that was to be created, with the path it went to."""

    url: str
    posted: list[tuple[str, dict[str, Any]]] = field(default_factory=list)


@contextmanager
def dataflow() -> Iterator[Dataflow]:
    """A service on loopback in this block; Beam speaks HTTP to one that is called localhost."""
    posted: list[tuple[str, dict[str, Any]]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            job = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            posted.append((self.path.partition("?")[0], job))
            answer = json.dumps({"id": JOB_ID, "name": job["name"], "currentState": "JOB_STATE_PENDING"}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *arguments: Any) -> None:
            """Nothing: the test looks at ``posted``."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield Dataflow(url=f"http://localhost:{server.server_port}", posted=posted)
        server.shutdown()


def launch(gcs: GcsServer, service: Dataflow, bucket: GcsBucket, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run the entry that launchers run, as a process of its own."""
    beam = [
        "--runner=DataflowRunner",
        "--project=lake",
        "--region=europe-west4",
        "--job_name=nightly",
        f"--temp_location={bucket.uri}/temp",
        f"--sdk_container_image={IMAGE}",
        f"--dataflow_service_options={GPU}",
        f"--dataflow_endpoint={service.url}",
        "--no_auth",
    ]
    command = [sys.executable, "pipeline/main.py", f"--gcs_endpoint={gcs.url}", *beam, *arguments]
    secrets = {"AWS_SECRET_ACCESS_KEY": SECRET, "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE"}
    env = {**os.environ, **secrets, "STORAGE_EMULATOR_HOST": gcs.url}  # the latter is for Beam's own client
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=250, check=False)
