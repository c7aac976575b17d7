"""``--reuse content`` over a lake that was cut anew, killed while it replaces the very tables that it reads from."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import Model, long_forms, png, write_parquet
from tests.faults.forkserver import Nursery
from tests.faults.outputs import files, success
from tests.faults.torture import Kill, Work, check_whole, log_of, receipts

SHARDS, RECORDS = 6, 40
AGAIN = ("--reuse", "content", "--max-reject-fraction", "0.2")


def write_lake(source: Path, images: list[bytes]) -> None:
    """The same names whatever the records are."""
    for number in range(SHARDS):
        own = images[number * RECORDS : (number + 1) * RECORDS]
        write_parquet(source / f"{'ab'[number % 2]}/{number:05d}.parquet", own, range(RECORDS))


@pytest.mark.parametrize(
    "pattern", ["_receipts/*/*.json", *long_forms("_reuse/tables/*", "_reuse/*/part-*", "_SUCCESS")]
)
def test_no_latent_is_lost(nursery: Nursery, model: Model, tmp_path: Path, pattern: str) -> None:
    rng, output = np.random.default_rng(5), tmp_path / "out"
    images = [png(image) for image in rng.integers(0, 256, (SHARDS * RECORDS, 8, 8), np.uint8)]
    images[7] = b"no image"
    first = Work(verb="encode", source=tmp_path / "in", bundle=Path(model.bundle), options=("--hash",))
    write_lake(first.source, images)
    assert nursery.run(first.command(output), tmp_path / "first").status == 0
    write_lake(first.source, images[RECORDS // 2 :] + images[: RECORDS // 2])  # every shard has records of two
    assert nursery.run(first.command(tmp_path / "clean"), tmp_path / "clean.log").status == 0
    work = replace(first, options=AGAIN, clean=files(tmp_path / "clean"))
    before = {receipt.fingerprint for receipt in receipts(output).values()}
    (output / "_SUCCESS").unlink()  # so that the pattern is of the run that is killed
    Kill.on(pattern)(nursery, work, output).wait()
    done = [receipt for receipt in receipts(output).values() if receipt.fingerprint not in before]
    assert nursery.run(work.command(output), log_of(output)).status == 0
    check_whole(work, output)
    assert not [path for path in (output / "_reuse").rglob("*") if path.is_file()]
    if len(done) < SHARDS:
        run = success(output)["run"]
        assert run["reused"] == run["results"] > 0
