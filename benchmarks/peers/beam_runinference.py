"""Peer: the stock Apache Beam recipe. ReadFromTFRecord, decode with PIL, RunInference, WriteToParquet.

To denoise, the images are encoded with PIL and go to WriteToTFRecord.
"""

import os
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import common
import measure
import numpy as np

WORKERS = {"in_memory": 1, "multi_threading": 2, "multi_processing": 2}
COMPILED = "compiled"  # multi_threading, and an inference function of one's own
ONNX = "onnx"  # multi_threading, and Beam's handler for ONNX Runtime with its own inference function


def decode(record: bytes) -> tuple[tuple[str, int], np.ndarray]:
    """An Example as ``((key, label), float32 [H, W, 1] in 0..1)``."""
    import tensorflow as tf

    feature = tf.train.Example.FromString(record).features.feature
    image = common.decode(feature[common.IMAGE].bytes_list.value[0]).astype(np.float32)
    key = feature[common.KEY].bytes_list.value[0].decode()
    return (key, feature[common.LABEL].int64_list.value[0]), image / 255


def stock(marks: Path, model: Any, batch: Sequence[np.ndarray], args: dict[str, Any], model_id: str | None) -> Any:
    """Results of a batch by the handler's default function, which calls the layers one by one."""
    from apache_beam.ml.inference.tensorflow_inference import default_numpy_inference_fn

    results = default_numpy_inference_fn(model, batch, args, model_id)
    measure.passed(marks, len(batch))
    return results


def compiled(marks: Path, model: Any, batch: Sequence[np.ndarray], _: dict[str, Any], model_id: str | None) -> Any:
    """Results of a batch by Keras's compiled ``predict_on_batch``."""
    from apache_beam.ml.inference.utils import _convert_to_result

    results = model.predict_on_batch(np.stack(batch))
    measure.passed(marks, len(results))
    return _convert_to_result(batch, results, model_id)


def onnx(marks: Path, session: Any, batch: Sequence[np.ndarray], args: dict[str, Any] | None = None) -> Any:
    """Results of a batch by the ONNX handler's default function."""
    from apache_beam.ml.inference.onnx_inference import default_numpy_inference_fn

    results = default_numpy_inference_fn(session, batch, args)
    measure.passed(marks, len(batch))
    return results


def handler(given: common.Arguments, model: Path, marks: Path) -> Any:
    """Beam's handler of the model, in the mode asked for."""
    sizes = {"min_batch_size": 128, "max_batch_size": 512}
    if given.mode == ONNX:
        from apache_beam.ml.inference.onnx_inference import OnnxModelHandlerNumpy

        return OnnxModelHandlerNumpy(
            str(common.onnx_file(given.model)),
            providers=["CPUExecutionProvider"],
            inference_fn=partial(onnx, marks),
            **sizes,
        )
    from apache_beam.ml.inference.tensorflow_inference import TFModelHandlerNumpy

    infer = compiled if given.mode == COMPILED else stock
    common.network(given).save(model)
    return TFModelHandlerNumpy(str(model), inference_fn=partial(infer, marks), **sizes)


def row(result: tuple[tuple[str, int], Any]) -> dict[str, Any]:
    """A row of the table from a keyed ``PredictionResult``."""
    (key, label), prediction = result
    return {"key": key, "label": label, "latent": np.asarray(prediction.inference)}


def denoised(result: tuple[tuple[str, int], Any]) -> bytes:
    """An Example from a keyed ``PredictionResult``."""
    (key, label), prediction = result
    return common.example(key.encode(), label, common.png(np.asarray(prediction.inference)))


def run(given: common.Arguments, model: Path, marks: Path) -> None:
    """Run the pipeline on Beam's own local runner, in the mode asked for."""
    import apache_beam as beam
    from apache_beam.ml.inference.base import KeyedModelHandler, RunInference
    from apache_beam.options.pipeline_options import PipelineOptions
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner

    mode = given.mode if given.mode in WORKERS else "multi_threading"
    options = PipelineOptions(direct_running_mode=mode, direct_num_workers=WORKERS[mode], save_main_session=True)
    # Named directly: "DirectRunner" would try Prism first, which it downloads.
    with beam.Pipeline(FnApiRunner(), options) as pipeline:
        results = (
            pipeline
            | beam.io.ReadFromTFRecord(given.input)
            | "Decode" >> beam.Map(decode)
            | RunInference(KeyedModelHandler(handler(given, model, marks)))
        )
        if given.task == "encode":
            rows = results | "Row" >> beam.Map(row)
            rows | beam.io.WriteToParquet(
                str(given.output / "latents"), common.SCHEMA, file_name_suffix=".parquet", codec="snappy"
            )
        else:
            examples = results | "Example" >> beam.Map(denoised)
            examples | beam.io.WriteToTFRecord(str(given.output / "images"), file_name_suffix=".tfrecord")


def main() -> None:
    """Run the peer."""
    os.environ["PYTHONPATH"] = str(Path(__file__).parent)  # for the worker processes
    given = measure.arguments(__doc__ or "", [*WORKERS, COMPILED, ONNX])
    with tempfile.TemporaryDirectory() as scratch:
        model, marks = Path(scratch, "model.keras"), Path(scratch, "marks")
        marks.mkdir()
        run(given, model, marks)
        measure.finish(given, marks, measure.now())


if __name__ == "__main__":
    main()
