"""Beam's stock recipe under faults: ReadFromParquet, a Map, RunInference, WriteToParquet.

What raises goes to dead letters, with ``with_exception_handling`` of both steps, which are written as text
(https://beam.apache.org/releases/pydoc/current/apache_beam.transforms.core.html and
https://beam.apache.org/releases/pydoc/current/apache_beam.ml.inference.base.html). A batch pipeline that ended is run
again from its start, into the same place.
"""

import json
import os
import tempfile
import uuid
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import faults_common as common
import measure
import numpy as np
import pyarrow as pa
from pyarrow import feather

BAD = "bad"  # prefix of the dead letters' files


def decode(record: dict[str, Any]) -> tuple[tuple[str, int], np.ndarray]:
    """A record as ``((key, label), pixels)``."""
    return (record[common.KEY], record[common.LABEL]), common.decode(record[common.IMAGE])


def infer(marks: Path, session: Any, batch: Sequence[np.ndarray], args: dict[str, Any] | None = None) -> Any:
    """Results of a batch by the ONNX handler's default function."""
    from apache_beam.ml.inference.onnx_inference import default_numpy_inference_fn

    results = default_numpy_inference_fn(session, batch, args)
    measure.passed(marks, len(batch))
    return results


def row(result: tuple[tuple[str, int], Any]) -> dict[str, Any]:
    """A row of the table from a keyed ``PredictionResult``."""
    (key, label), prediction = result
    return {common.KEY: key, common.LABEL: label, common.LATENT: np.asarray(prediction.inference)}


def letter(failed: tuple[dict[str, Any], tuple[Any, ...]]) -> str:
    """A dead letter: the record's key, and what was raised."""
    record, (_, reason, *_) = failed
    return json.dumps({common.KEY: record[common.KEY], "reason": reason})


def run(job: common.Job) -> None:
    """Run the pipeline on Beam's own local runner, in two threads."""
    import apache_beam as beam
    from apache_beam.ml.inference.base import KeyedModelHandler, RunInference
    from apache_beam.ml.inference.onnx_inference import OnnxModelHandlerNumpy
    from apache_beam.options.pipeline_options import PipelineOptions
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner

    handler = OnnxModelHandlerNumpy(
        str(job.model),
        providers=["CPUExecutionProvider"],
        inference_fn=partial(infer, job.marks),
        min_batch_size=64,
        max_batch_size=256,
    )
    options = PipelineOptions(direct_running_mode="multi_threading", direct_num_workers=2)
    # Named directly: "DirectRunner" would try Prism first, which it downloads.
    with beam.Pipeline(FnApiRunner(), options) as pipeline:
        good, bad = (
            pipeline
            | beam.io.ReadFromParquet(str(job.input / "*.parquet"))
            | "Decode" >> beam.Map(decode).with_exception_handling()
        )
        results, failed = good | RunInference(KeyedModelHandler(handler)).with_exception_handling()
        rows = results | "Row" >> beam.Map(row)
        rows | beam.io.WriteToParquet(str(job.output / "latents"), common.SCHEMA, file_name_suffix=".parquet")
        bad | beam.Map(letter) | "Bad" >> beam.io.WriteToText(str(job.output / BAD), file_name_suffix=".jsonl")
        failed.failed_inferences | beam.Map(print)


def read(output: Path) -> pa.Table:
    """The rows by ReadFromParquet, and the dead letters as rows without a latent."""
    import apache_beam as beam
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner

    with tempfile.TemporaryDirectory() as kept:
        with beam.Pipeline(FnApiRunner()) as pipeline:
            tables = pipeline | beam.io.ReadFromParquetBatched(str(output / "latents*.parquet"))
            tables | beam.Map(keep, Path(kept))
        parts = [feather.read_table(file) for file in Path(kept).iterdir()]
    return pa.concat_tables([*parts, pa.Table.from_pylist(letters(output), common.SCHEMA)])


def keep(table: pa.Table, folder: Path) -> None:
    """Keep some rows where the launcher finds them."""
    feather.write_feather(table, folder / uuid.uuid4().hex)


def letters(output: Path) -> list[dict[str, Any]]:
    """The dead letters as rows."""
    lines = [line for file in output.glob(f"{BAD}*.jsonl") for line in file.read_text().splitlines()]
    return [{common.KEY: json.loads(line)[common.KEY]} for line in lines]


if __name__ == "__main__":
    os.environ["PYTHONPATH"] = str(Path(__file__).parent)  # for the worker processes
    common.main(run, read)
