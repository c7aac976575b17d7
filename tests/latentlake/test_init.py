"""The public names: which they are, whose they are, and that importing them costs nothing."""

import sys
from pathlib import Path

import pytest

import lake
import latentlake
import pipeline
from lake.core import errors
from tests.latentlake.conftest import Run

NAMES = [
    "BundleError",
    "DenoiseShards",
    "EncodeImages",
    "EncodeShards",
    "HeldError",
    "InputError",
    "LatentlakeError",
    "Output",
    "OutputError",
    "ShardError",
    "Status",
    "UnfinishedError",
    "UnreadableError",
    "UsageError",
    "VerifyError",
    "__version__",
    "decode",
    "denoise",
    "encode",
    "export",
    "generate",
    "open",
    "reconstruct",
    "status",
    "train",
]


def test_the_public_names() -> None:
    assert latentlake.__all__ == dir(latentlake) == NAMES


def test_they_are_those_of_the_packages() -> None:
    for name in NAMES:
        value = getattr(latentlake, name)
        if name.endswith("Error"):
            assert value is getattr(errors, name)
            assert issubclass(value, latentlake.LatentlakeError)
    assert latentlake.EncodeShards is pipeline.EncodeShards is sys.modules["pipeline.transforms"].EncodeShards
    assert latentlake.DenoiseShards is pipeline.DenoiseShards
    assert latentlake.EncodeImages is pipeline.EncodeImages
    assert latentlake.encode is sys.modules["pipeline.calls.functions"].encode
    assert latentlake.export is sys.modules["pipeline.calls.functions"].export_model
    assert latentlake.Output is sys.modules["pipeline.explore.output"].Output
    assert latentlake.status is sys.modules["pipeline.output.progress.status"].status
    assert latentlake.__version__ == pipeline.__version__ == lake.__version__


def test_another_name_is_an_attribute_error() -> None:
    for package in (latentlake, pipeline):
        with pytest.raises(AttributeError, match=rf"module '{package.__name__}' has no attribute 'EncodeShard'"):
            package.EncodeShard  # noqa: B018


def test_importing_it_imports_neither_beam_nor_tensorflow(run: Run, tmp_path: Path) -> None:
    """Nor do the errors and the version."""
    heavy = ("apache_beam", "tensorflow", "keras", "numpy", "pyarrow")
    code = (
        "import sys, latentlake; from latentlake import LatentlakeError, __version__\n"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    ended = run("-c", code, cwd=tmp_path)
    assert (ended.stdout, ended.stderr) == ("[]\n", "")
