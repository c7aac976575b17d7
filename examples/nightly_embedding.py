"""A nightly job: latents of every image that is new or has changed, then pairs of images that are nearly the same.

    python examples/nightly_embedding.py --images photos/ --model bundle --output latents

The exit status is that of the command (docs/run/nightly.md), so cron or systemd can treat it alike.
"""

import argparse
import sys
from pathlib import Path

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from apache_beam.options.pipeline_options import PipelineOptions

from latentlake import EncodeShards, HeldError, LatentlakeError

LOCAL = ["--runner=FnApiRunner"]  # Beam's default runner would download another one first


def main() -> int:
    """Encode, then compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", required=True, help="shards: files, globs or directories")
    parser.add_argument("--model", default="zoo:mnist-autoencoder", help="bundle, or zoo:NAME")
    parser.add_argument("--output", required=True, help="directory to write to; the same every night")
    parser.add_argument("--similarity", type=float, default=0.999, help="cosine from which on two images are the same")
    own, beams = parser.parse_known_args()
    try:
        with beam.Pipeline(options=PipelineOptions(beams or LOCAL)) as p:
            _ = p | EncodeShards(input=[own.images], model=own.model, output=own.output)
    except HeldError as error:  # last night's run is still at work
        print(error)
        return error.exit_status
    except LatentlakeError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status
    if not (Path(own.output) / "_SUCCESS").exists():  # shards that failed keep it back
        print(f"error: {own.output} is not complete; run 'latentlake verify' on it", file=sys.stderr)
        return 3
    pairs = same_images(ds.dataset(f"{own.output}/latents").to_table(columns=["key", "latent"]), own.similarity)
    pq.write_table(pairs, f"{own.output}.pairs.parquet")  # beside the output, which belongs to the job
    print(f"{pairs.num_rows} pairs of images are nearly the same: {own.output}.pairs.parquet")
    return 0


def same_images(table: pa.Table, similarity: float) -> pa.Table:
    """Pairs of keys whose latents point the same way."""
    latents = np.stack(table["latent"].to_numpy())
    latents /= np.linalg.norm(latents, axis=1, keepdims=True) + 1e-12
    first, second = np.nonzero(
        np.triu(latents @ latents.T, 1) >= similarity
    )  # for millions take an index of neighbours
    return pa.table({"first": table["key"].take(first), "second": table["key"].take(second)})


if __name__ == "__main__":
    sys.exit(main())
