"""Daft under faults: ``read_parquet``, ``decode_image``, a class with a batch method, ``write_parquet``.

Bad images are null (``on_error="null"``; https://docs.daft.ai/en/stable/api/functions/decode_image/), damaged files are
passed over (``ignore_corrupt_files``; https://docs.daft.ai/en/stable/api/io/). On the native runner, that of one
machine, a query that ended is run again and overwrites what is there: checkpoints need the Ray runner
(https://docs.daft.ai/en/stable/use-case/checkpointing/).
"""

import os
from pathlib import Path
from typing import Any

import faults_common as common
import numpy as np
import pyarrow as pa


def run(job: common.Job) -> None:
    """Run, or run again: the same call."""
    import daft

    @daft.cls(max_concurrency=1)
    class Encoder:
        def __init__(self) -> None:
            self._model = common.Model(job)

        @daft.method.batch(return_dtype=daft.DataType.list(daft.DataType.float32()), batch_size=64)
        def encode(self, images: Any) -> Any:
            arrays = [None if image is None else np.asarray(image, np.float32) for image in images.to_pylist()]
            right = [array if array is not None and array.shape == common.SHAPE else None for array in arrays]
            return daft.Series.from_arrow(common.encode_some(self._model, right))

    daft.set_runner_native()
    image = daft.functions.decode_image(daft.col(common.IMAGE), on_error="null", mode="L")
    (
        daft.read_parquet(job.shards, ignore_corrupt_files=True)
        .select(daft.col(common.KEY), daft.col(common.LABEL), Encoder().encode(image).alias(common.LATENT))
        .write_parquet(str(job.output), write_mode="overwrite")
    )


def read(output: Path) -> pa.Table:
    """The rows by ``read_parquet``."""
    import daft

    found: pa.Table = daft.read_parquet(f"{output}/**/*.parquet").to_arrow()
    return found


if __name__ == "__main__":
    os.environ["DO_NOT_TRACK"] = "true"
    common.main(run, read)
