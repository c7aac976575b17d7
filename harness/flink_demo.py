"""The demo of Flink: a cluster is started, digits are encoded on it, the output is proven, and all is stopped again."""

import argparse
import os
import shlex
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

from harness.digits import digits_as_pixels, to_png, write_parquet
from harness.engines.flink import running

SHARDS = 16
MODEL = "model/zoo/mnist-autoencoder"


def main() -> None:
    """Run every step, printing the commands that a user would type."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--output", type=Path, default=Path(".demo/flink"), help="directory for all that the demo makes"
    )
    root: Path = parser.parse_args().output
    shutil.rmtree(root, ignore_errors=True)
    write_shards(root / "shards")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # so that the cluster is stopped with it
    print("starting a JobManager, two TaskManagers and their pools of Python workers", flush=True)
    with running(root.resolve() / "cluster") as cluster:
        print(f"Flink's page: http://localhost:{cluster.rest}")
        job = ["--model", MODEL, "--resize", "stretch", "--output", root / "latents", *cluster.options]
        submit("encode", "--input", root / "shards", *job)
    submit("verify", "--deep", root / "latents")


def write_shards(folder: Path) -> None:
    """scikit-learn's 1,797 digits as Parquet files."""
    labels = load_digits().target.tolist()
    files = [to_png(image) for image in digits_as_pixels()]
    for shard, rows in enumerate(np.array_split(np.arange(len(files)), SHARDS)):
        chosen = [(i, files[i], labels[i]) for i in rows.tolist()]
        write_parquet(folder / f"digits-{shard:05d}.parquet", chosen)
    print(f"wrote {len(files):,} digits as {SHARDS} Parquet shards below {folder}")


def submit(*words: object) -> None:
    """Run ``python -m pipeline WORDS`` and show it; with it the job server ends that Beam has started for it."""
    command = ["python", "-m", "pipeline", *map(str, words)]
    print(f"\n$ {shlex.join(command)}", flush=True)
    process = subprocess.Popen([sys.executable, *command[1:]], start_new_session=True)
    try:
        if process.wait():
            sys.exit(process.returncode)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
