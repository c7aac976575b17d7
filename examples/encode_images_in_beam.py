"""Latents inside a Beam pipeline of your own: image files in, latents as Parquet and a list of rejects out.

    python examples/encode_images_in_beam.py --images 'photos/*.png' --model bundle --output latents

Options of Beam, such as --runner, are passed on to it.
"""

import argparse

import apache_beam as beam
import pyarrow as pa
from apache_beam.io import fileio, parquetio
from apache_beam.options.pipeline_options import PipelineOptions

from latentlake import EncodeImages

LOCAL = ["--runner=FnApiRunner"]  # Beam's default runner would download another one first
SCHEMA = pa.schema([("path", pa.string()), ("latent", pa.list_(pa.float32()))])


def main() -> None:
    """Read, encode, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", required=True, help="glob of image files, quoted")
    parser.add_argument("--model", default="zoo:mnist-autoencoder", help="bundle, or zoo:NAME")
    parser.add_argument("--output", required=True, help="directory to write to")
    own, beams = parser.parse_known_args()
    with beam.Pipeline(options=PipelineOptions(beams or LOCAL)) as p:
        encoded = (
            p
            | "Find" >> fileio.MatchFiles(own.images)
            | "Open" >> fileio.ReadMatches()
            | "Read" >> beam.Map(lambda file: (file.metadata.path, file.read()))
            | "Encode" >> EncodeImages(own.model, resize="stretch", color="convert")
        )
        # An image that cannot be used costs itself alone: it is a reject, with the reason.
        _ = (
            encoded.rejects
            | "Describe" >> beam.Map(lambda item: f"{item.key}\t{item.reason}\t{item.detail}")
            | "Write rejects" >> beam.io.WriteToText(f"{own.output}/rejects", file_name_suffix=".tsv")
        )
        _ = (
            encoded.latents
            | "To rows" >> beam.MapTuple(lambda path, latent: {"path": path, "latent": latent})
            | "Write latents" >> parquetio.WriteToParquet(f"{own.output}/latents", SCHEMA, file_name_suffix=".parquet")
        )


if __name__ == "__main__":
    main()
