"""This project's job under faults: ``latentlake encode``, and ``verify --deep`` before what is read.

The command runs as ever; only the decoder is wrapped, to leave a mark for every record that it has decoded.
"""

import sys
from pathlib import Path
from typing import Any

import faults_common as common
import measure
import pyarrow as pa
import pyarrow.dataset as ds

from lake.images.decoder import Decoder
from pipeline.cli.command import main

OPTIONS = ("--on-damage", "reject", "--max-reject-fraction", "50%")


def run(job: common.Job) -> None:
    """Run, or go on: the same command."""
    decode = Decoder.decode

    def counted(self: Decoder, records: Any) -> Any:
        measure.passed(job.marks, len(records))
        return decode(self, records)

    Decoder.decode = counted  # type: ignore[method-assign]
    words = ["encode", "--input", f"{job.input}/*.parquet", "--model", "zoo:mnist-autoencoder"]
    if status := main([*words, "--output", str(job.output), *OPTIONS]):
        sys.exit(status)


def read(output: Path) -> pa.Table:
    """The rows, after they were verified, and rejects as rows without a latent.

    Raises:
      ValueError: the output is not what its manifest says.
    """
    if status := main(["verify", "--deep", str(output)]):
        raise ValueError(f"verify ends with {status}")
    rows = ds.dataset(output / "latents", format="parquet").to_table(common.SCHEMA.names).cast(common.SCHEMA)
    rejects = list((output / "rejects").rglob("*.parquet"))
    keys = ds.dataset(rejects, format="parquet").to_table([common.KEY])[common.KEY].to_pylist() if rejects else []
    return pa.concat_tables([rows, pa.Table.from_pylist([{common.KEY: key} for key in keys], common.SCHEMA)])


if __name__ == "__main__":
    common.main(run, read)
