"""What docs/architecture.md says that a format, a verb and an executor cost, tried with its own examples."""

import base64
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
import numpy as np
import pyarrow.dataset as ds
import pytest

ROOT = Path(__file__).resolve().parent.parent
BLOCK = re.compile(r'^```(?:python|text) title="([^"]+)"\n(.*?)^```$', re.MULTILINE | re.DOTALL)
ADDITIONS = {  # what is added -> the files that change
    "format": {"lake/formats/jsonl/reader.py", "lake/formats/jsonl/writer.py", "lake/formats/__init__.py"},
    "verb": {"pipeline/worker/verbs/norm.py", "pipeline/worker/verbs/__init__.py"},
    "executor": {"model/runtime/numpy.py", "model/runtime/__init__.py"},
}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the packages with the examples of the page in it."""
    tree = tmp_path_factory.mktemp("tree")
    for package in ("lake", "model", "pipeline", "latentlake"):
        shutil.copytree(ROOT / package, tree / package, ignore=shutil.ignore_patterns("__pycache__", "model.keras"))
    for name, text in examples().items():
        path = tree / name
        if path.exists():
            before = path.read_text()
            (after,) = (
                re.sub(rf"^{re.escape(first)}\n", f"{first}\n{text}", before, flags=re.M) for first in firsts(before)
            )
            assert len(after.splitlines()) == len(before.splitlines()) + 1, name
            path.write_text(after)
        else:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
    return tree


def examples() -> dict[str, str]:
    return dict(BLOCK.findall((ROOT / "docs/architecture.md").read_text()))


def firsts(text: str) -> list[str]:
    """The line that a registry begins with."""
    return [line for line in text.splitlines() if re.match(r"(EXECUTORS|_CLASSES) = \{|    for known in \($", line)]


def run(tree: Path, *words: object) -> str:
    command = [sys.executable, "-m", "latentlake", *map(str, words)]
    return subprocess.run(command, cwd=tree, check=True, capture_output=True, text=True).stdout


def test_the_page_changes_no_other_file() -> None:
    assert set(examples()) == set.union(*ADDITIONS.values())
    assert {what: len(files) for what, files in ADDITIONS.items()} == {"format": 3, "verb": 2, "executor": 2}


@pytest.mark.slow
def test_a_format_and_a_verb_run_a_whole_job(
    tree: Path, tmp_path: Path, digit_files: list[bytes], model: object
) -> None:
    lines = [
        json.dumps({"key": f"d{i}", "image": base64.b64encode(data).decode(), "more": i})
        for i, data in enumerate(digit_files[:60])
    ]
    lines[7] = "no JSON"
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.jsonl").write_text("\n".join(lines) + "\n")
    given = ["--model", model.bundle, "--max-reject-fraction", "0.1"]
    run(tree, "norm", "--input", tmp_path / "in", *given, "--output", tmp_path / "norms")
    run(tree, "reconstruct", "--input", tmp_path / "in", *given, "--output", tmp_path / "images")
    run(tree, "encode", "--input", tmp_path / "images/images", *given, "--output", tmp_path / "again")
    run(tree, "verify", tmp_path / "norms", "--deep")
    found = ds.dataset(tmp_path / "norms/latents").to_table().to_pandas()
    latents = ds.dataset(tmp_path / "images/latents").to_table().to_pandas()
    assert list(found["key"]) == [f"d{i}" for i in range(60) if i != 7]
    np.testing.assert_allclose(found["norm"], np.linalg.norm(np.stack(latents["latent"]), axis=1), rtol=1e-5)
    rejects = duckdb.sql(f"SELECT index, reason, data FROM '{tmp_path}/norms/rejects/*.parquet'").fetchall()
    assert rejects == [(7, "invalid_record", b"no JSON\n")]
    rewritten = [json.loads(line) for line in (tmp_path / "images/images/a.jsonl").read_text().splitlines()]
    assert [line["more"] for line in rewritten] == [i for i in range(60) if i != 7]
    assert "norm" in run(tree, "--help") and "jsonl" in run(tree, "norm", "--help")


@pytest.mark.slow
def test_an_executor_runs_the_bundles_that_it_can(tree: Path, tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).normal(3, 2, (500, 12)).astype(np.float32)
    np.save(tmp_path / "v.npy", vectors)
    given = ["--input", tmp_path / "v.npy"]
    run(ROOT, "train", "--kind", "dense", *given, "--latent-dim", "3", "--epochs", "1", "--output", tmp_path / "bundle")
    for name, root in (("numpy", tree), ("tensorflow", ROOT)):
        run(root, "reconstruct", *given, "--model", tmp_path / "bundle", "--output", tmp_path / name)
    one, other = (ds.dataset(tmp_path / name / "latents").to_table().to_pandas() for name in ("numpy", "tensorflow"))
    np.testing.assert_allclose(np.stack(one["latent"]), np.stack(other["latent"]), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(one["mse"], other["mse"], rtol=1e-4)
    code = (
        "import sys; from model.bundle import Bundle; from model.runtime import load_executor; "
        "print(load_executor(Bundle.open(sys.argv[1])).name)"
    )
    named = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "bundle"], cwd=tree, check=True, capture_output=True, text=True
    )
    assert named.stdout.strip() == "numpy"
