"""Peer: photographs by Ray Data as people write it. ``read_images`` with a size, ``map_batches``, ``write_parquet``."""

import os
import tempfile
from dataclasses import replace
from pathlib import Path

import common
import measure
import numpy as np

BATCH = 32
CPUS = 2


class Actor:
    """Passes batches through the model; Ray keeps one."""

    def __init__(self, given: common.Arguments, marks: Path) -> None:
        self._model, self._marks = common.network(given), marks

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Columns ``key`` and ``latent`` of ``path`` and ``image``, uint8 ``[n, H, W, 3]``."""
        latents = self._model.predict_on_batch(batch["image"].astype(np.float32) / 255)
        measure.passed(self._marks, len(latents))
        return {"key": batch["path"], "latent": latents}


def run(given: common.Arguments, marks: Path, side: int) -> None:
    """Run on a Ray of this process's own."""
    import ray

    ray.init(num_cpus=CPUS, include_dashboard=False, log_to_driver=False)
    (
        ray.data.read_images(given.shards(), size=(side, side), mode="RGB", include_paths=True)
        .map_batches(
            Actor,
            fn_constructor_args=(replace(given, model=given.model.resolve()), marks),
            batch_size=BATCH,
            concurrency=1,
            num_cpus=0.5,
        )
        .write_parquet(str(given.output.resolve()))
    )


def main() -> None:
    """Run the peer."""
    os.environ["PYTHONPATH"] = str(Path(__file__).parent)  # for the actor
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    given = measure.arguments(__doc__ or "", ["one_actor"])
    side = common.network(given).input_shape[1]
    with tempfile.TemporaryDirectory() as marks:
        run(given, Path(marks), side)
        measure.finish(given, Path(marks), measure.now())


if __name__ == "__main__":
    main()
