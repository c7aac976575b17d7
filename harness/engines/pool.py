"""Beam's pool of Python workers on one address of this machine: ``python -m harness.engines.pool 127.0.0.2:50000``.

Beam's own ``worker_pool_main`` listens on every address, so one port of a machine can have only one. TaskManagers count
their workers from one and stop them by number: each must have a pool of its own.
"""

import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import grpc
from apache_beam.portability.api import beam_fn_api_pb2_grpc
from apache_beam.runners.worker.worker_pool_main import BeamFnExternalWorkerPoolServicer


def serve(address: str) -> None:
    """Start and stop workers as asked, until the process is killed."""
    server = grpc.server(ThreadPoolExecutor(8))
    pool = BeamFnExternalWorkerPoolServicer(use_process=True)
    beam_fn_api_pb2_grpc.add_BeamFnExternalWorkerPoolServicer_to_server(pool, server)
    server.add_insecure_port(address)
    server.start()
    threading.Event().wait()


if __name__ == "__main__":
    serve(sys.argv[1])
