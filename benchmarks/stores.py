"""The job on an object store beside this machine's disk, and a large shard over a network that is far away.

    scripts/servers
    python -m benchmarks.stores --data DIR [--work DIR] [--records N] [--rounds N]

Prints a table. The server, fake-gcs-server, runs on this machine and takes its CPU time from the same cores, so that is
told too. ``--data`` is as for ``benchmarks.data``.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.data import make
from harness.machine import machine, on_machine
from harness.measured import Place, spawn
from harness.processes import cpu_seconds
from harness.servers.gcs_server import GcsBucket, GcsServer, serving
from lake.core.records import Shard, Unit
from lake.formats import FORMATS
from lake.formats.reader import ColumnSelection
from lake.storage import StoreOptions, configure, store_for

LATENCY = 0.05  # seconds
_SET = "mnist-tfrecord"
_BATCH = 256  # records that are read at once
_CHUNK = 1 << 20
_MIB = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of the job: records a second from the first batch to the end of the commit, the rest in seconds."""

    rate: float
    total: float
    cpu: float
    server: float = 0.0  # CPU time of the server meanwhile


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("benchmarks/.work"))
    parser.add_argument("--records", type=int, default=480_000)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    place = Place(data=given.data.absolute(), work=given.work.absolute())
    print(f"{on_machine(machine())}\n")
    print("| what | measured | wanted | figures |\n|---|---|---|---|")
    for section in (beside_the_disk, far_away):
        for line in section(place, given.records, given.rounds):
            print(line, flush=True)


def beside_the_disk(place: Place, records: int, rounds: int) -> Iterator[str]:
    """The same job from disk to disk and from the store to the store, in turn."""
    shards, bundle = make(_SET, place.data, place.work, records), place.bundle("mnist")
    disk, stored = list[Run](), list[Run]()
    with serving() as server:
        bucket = _stocked(server, shards, bundle)
        for number in range(rounds):
            disk.append(_job(place, str(shards), str(bundle), str(place.fresh())))
            stored.append(_on_store(place, server, bucket, server.url, number))
    ratio = median(one.rate / other.rate for one, other in zip(stored, disk, strict=True))
    rates = " against ".join(_spread([run.rate for run in runs]) for runs in (stored, disk))
    totals = " against ".join(f"{median(run.total for run in runs):.1f}" for runs in (stored, disk))
    spent = " against ".join(f"{median(run.cpu for run in runs):.1f}" for runs in (stored, disk))
    server_spent = f"{median(run.server for run in stored):.1f}"
    yield (
        f"| encode MNIST TFRecord on gs://, against the disk | {ratio:.2f} | >= 0.85 | {rates} records/s; start to end "
        f"{totals} s; CPU time of the job {spent} s, of the server {server_spent} s |"
    )


def far_away(place: Place, records: int, rounds: int) -> Iterator[str]:
    """One large shard with and without latency, in turn: its bytes alone, its records, and the job over it."""
    shards = make(_SET, place.data, place.work, records, one_shard=True)
    with serving() as server:
        bucket, proxy = _stocked(server, shards, place.bundle("mnist")), server.proxy
        configure(StoreOptions(gcs_endpoint=proxy.url))
        uri = f"{bucket.uri}/{bucket.names('in/')[0]}"
        measures: dict[tuple[str, str], Callable[[int], float]] = {
            ("records/s, encoded", ">= 0.80"): lambda number: _on_store(place, server, bucket, proxy.url, number).rate,
            ("records/s, read and not decoded", ">= 0.80"): lambda _: _records_rate(uri),
            ("MiB/s, its bytes alone", "(four fetches of 8 MiB under way bound it)"): lambda _: _bytes_rate(uri) / _MIB,
        }
        for (name, wanted), measure in measures.items():
            rates: dict[float, list[float]] = {0.0: [], LATENCY: []}
            for number in range(2 * rounds):
                proxy.latency = LATENCY * (number % 2)
                rates[proxy.latency].append(measure(number))
            near, late = rates.values()
            ratio = median(one / other for one, other in zip(late, near, strict=True))
            what = f"a shard of {_size(uri) / _MIB:.0f} MiB, {1000 * LATENCY:.0f} ms away, against near"
            yield f"| {what} | {ratio:.2f} | {wanted} | {_spread(late)} of {_spread(near)} {name} |"


def _size(uri: str) -> int:
    """Bytes of an object."""
    stat = store_for(uri).stat(uri)
    assert stat is not None
    return stat.size


def _stocked(server: GcsServer, shards: Path, bundle: Path) -> GcsBucket:
    bucket = server.bucket()
    bucket.upload(shards, "in")
    bucket.upload(bundle, "bundle")
    return bucket


def _bytes_rate(uri: str) -> float:
    size, started = 0, time.monotonic()
    with store_for(uri).open(uri) as file:
        while chunk := file.read(_CHUNK):
            size += len(chunk)
    return size / (time.monotonic() - started)


def _records_rate(uri: str) -> float:
    stat = store_for(uri).stat(uri)
    assert stat is not None
    shard = Shard(uri=uri, path="x", size=stat.size, identity=stat.identity)
    reader, count = FORMATS["tfrecord"].reader, 0
    columns = reader.settle(shard, ColumnSelection())
    started = time.monotonic()
    for batch in reader.read(Unit(id="x", format="tfrecord", shards=(shard,)), columns, _BATCH):
        count += len(batch.records())
    return count / (time.monotonic() - started)


def _on_store(place: Place, server: GcsServer, bucket: GcsBucket, url: str, number: int) -> Run:
    before = cpu_seconds(server.pid)
    uris = (f"{bucket.uri}/{name}" for name in ("in", "bundle", f"out-{number}"))
    run = _job(place, *uris, "--gcs-endpoint", url)
    return Run(rate=run.rate, total=run.total, cpu=run.cpu, server=cpu_seconds(server.pid) - before)


def _job(place: Place, source: str, bundle: str, output: str, *options: str) -> Run:
    named = ("--input", source, "--model", bundle, "--output", output)
    run = spawn([sys.executable, "-m", "pipeline", "encode", "--json", *named, *options], place.log)
    state: dict[str, Any] = json.loads(run.text)["run"]
    rate = state["read"] / (state["ended"] - state["first_result"])
    return Run(rate=rate, total=run.seconds, cpu=run.cpu)


def _spread(values: Sequence[float]) -> str:
    return f"{median(values):,.0f} ({min(values):,.0f} to {max(values):,.0f})"


if __name__ == "__main__":
    main()
