import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.output.fencing import lease
from tests.examples.conftest import Example


@pytest.mark.timeout(180)
@pytest.mark.slow
def test_three_nights(example: Example, photos: np.ndarray, tmp_path: Path) -> None:
    """New images, nothing new, and an output that another run holds."""
    night = ("nightly_embedding.py", "--images", "photos", "--output", "latents")
    shutil.copy(tmp_path / "photos/03.png", tmp_path / "photos/copy.png")
    for _ in range(2):
        ended = example(*night)
        assert (ended.returncode, ended.stdout) == (
            0,
            "1 pairs of images are nearly the same: latents.pairs.parquet\n",
        ), ended.stderr
        (pair,) = pq.read_table(tmp_path / "latents.pairs.parquet").to_pylist()
        assert {Path(key).name for key in pair.values()} == {"03.png", "copy.png"}
    shutil.copy(tmp_path / "photos/04.png", tmp_path / "photos/05.png")
    lease.acquire(str(tmp_path / "latents"), "another", ends_with_process=True)
    assert example(*night).returncode == 4


def test_a_wrong_name(example: Example, photos: np.ndarray) -> None:
    ended = example("nightly_embedding.py", "--images", "photos", "--model", "zoo:mnist", "--output", "latents")
    assert ended.returncode == 2
    assert ended.stderr.splitlines()[-1].startswith("error: zoo:mnist: the zoo has no bundle of this name")
