"""Damage to a finished output is found and named, whatever it is."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.errors import LatentlakeError, OutputError, VerifyError
from pipeline.verify import verify


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def mix(path: Path) -> None:
    """Another run's file under the same name."""
    table = pq.read_table(path)
    pq.write_table(table.replace_schema_metadata({}), path)


def forge_success(path: Path) -> None:
    summary = json.loads(path.read_text())
    summary["total"]["read"] += 1
    path.write_text(json.dumps(summary))


DAMAGE: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "flipped": ("latents/a/train-0.parquet", lambda p: flip(p, 1000), "checksum"),
    "flipped footer": ("latents/a/train-0.parquet", lambda p: flip(p, -20), "checksum"),
    "truncated": ("latents/b/train-2.parquet", cut, "bytes, but the manifest says"),
    "missing": ("latents/a/train-1.parquet", Path.unlink, "missing"),
    "extra": ("latents/a/train-9.parquet", lambda p: p.write_bytes(b"x"), "not in the manifest"),
    "mixed": ("latents/a/train-1.parquet", mix, "but the manifest says"),
    "no success": ("_SUCCESS", Path.unlink, "missing: the last run did not complete"),
    "forged success": ("_SUCCESS", forge_success, "read, but 1797 in fact"),
}


@pytest.fixture
def output(tmp_path: Path, encoded: Path) -> Path:
    return shutil.copytree(encoded, tmp_path / "out")


def test_a_good_output(output: Path) -> None:
    report = verify(str(output))
    assert report.problems == ()
    assert (report.units, report.files, report.read, report.results, report.rejects) == (3, 3, 1797, 1797, 0)
    report.raise_for_problems()


@pytest.mark.parametrize("case", DAMAGE)
def test_damage_is_named(output: Path, case: str) -> None:
    name, damage, text = DAMAGE[case]
    damage(output / name)
    report = verify(str(output))
    assert [(p.name, text in p.problem) for p in report.problems] == [(name, True)]
    with pytest.raises(VerifyError):
        report.raise_for_problems()


def test_every_flipped_bit_of_a_table_is_found(output: Path) -> None:
    path = output / "latents/a/train-1.parquet"
    whole = path.read_bytes()
    for at in np.random.default_rng(0).integers(0, len(whole), 40):
        flip(path, int(at))
        assert verify(str(output)).problems, f"byte {at}"
        path.write_bytes(whole)


def test_a_damaged_manifest(output: Path) -> None:
    whole = (output / "_manifest.parquet").read_bytes()
    for at in np.random.default_rng(1).integers(0, len(whole), 40):
        flip(output / "_manifest.parquet", int(at))
        try:
            assert verify(str(output)).problems, f"byte {at}"
        except LatentlakeError as error:
            assert "_manifest.parquet" in str(error)
        (output / "_manifest.parquet").write_bytes(whole)


def test_no_output(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"no _manifest.parquet"):
        verify(str(tmp_path))
