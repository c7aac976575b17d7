"""The rows of docs/models_you_have.md, one by one: each is built, exported by its command, and compared with itself."""

import gc
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from lake.core.tensorflow import keras
from model.bundle import Bundle
from model.cli.main import main
from model.runtime.runtime import Runtime
from tests.model.constructions import keras_books, keras_models, keras_networks, refused, torch_any_size, torch_models  # noqa: F401 - registers
from tests.model.constructions.construction import CONSTRUCTIONS, Truth
from tests.model.test_recipes import folder  # noqa: F401 - fixture

PAGE = Path(__file__).parents[2] / "docs/models_you_have.md"
ROW = re.compile(r"^\| \d+ \| (?P<title>.+?) \| `(?P<command>latentlake [^|]+)` \| (?P<verdict>.+?) \|$", re.MULTILINE)
QUICK = {"PyTorch: dense autoencoder of 784 numbers", "TAESD: tiny autoencoder, any size"}
CLOSE = 1e-5  # of the largest value


@dataclass(frozen=True)
class Row:
    command: str
    verdict: str

    @property
    def taken(self) -> bool:
        return self.verdict == "taken"


ROWS = {row["title"]: Row(row["command"], row["verdict"]) for row in ROW.finditer(PAGE.read_text())}


def test_every_construction_has_one_row() -> None:
    assert len(ROW.findall(PAGE.read_text())) == len(ROWS) >= 60
    assert ROWS.keys() == CONSTRUCTIONS.keys()
    assert sum(row.taken for row in ROWS.values()) >= 55
    text = PAGE.read_text()
    taken = sum(row.taken for row in ROWS.values())
    assert f"Of these {len(ROWS)}, {taken} are taken" in text


def _cases() -> Iterator[object]:
    for title in CONSTRUCTIONS:
        yield pytest.param(title, marks=[] if title in QUICK else pytest.mark.slow)


def _words(command: str, bundle: Path) -> list[str]:
    """A command as it is printed. Nobody has trained these networks, so what their images look like is not judged."""
    words = shlex.split(command)[1:]
    words[words.index("--output") + 1] = str(bundle)
    return [*words, "--any-output"]


@pytest.fixture
def forgotten() -> Iterator[None]:
    """Keras keeps what it has built, and these networks together take 12 GB."""
    yield
    keras().backend.clear_session()
    gc.collect()


@pytest.mark.usefixtures("forgotten")
@pytest.mark.timeout(600)  # networks of keras.applications have hundreds of layers
@pytest.mark.parametrize("title", [*_cases()])
def test_a_construction(title: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: F811
    row, truth = ROWS[title], CONSTRUCTIONS[title](folder)
    code = main(_words(row.command, folder / "bundle"))
    printed = capsys.readouterr().err
    assert row.taken == (truth.refused is None)
    if truth.refused is None:
        assert code == 0, printed
        _compare(Bundle.open(str(folder / "bundle")), truth)
    else:
        assert code == 2 and re.search(truth.refused, printed), printed
        assert truth.way_on is not None
        truth = truth.way_on(folder)
        (command,) = re.findall(r"`(latentlake [^`]+)`", row.verdict)
        assert main(_words(command, folder / "on")) == 0, capsys.readouterr().err
        _compare(Bundle.open(str(folder / "on")), truth)


def _compare(bundle: Bundle, truth: Truth) -> None:
    runtime = Runtime.load(bundle)
    assert truth.given is not None
    for name, got in _made(runtime, truth).items():
        want = getattr(truth, name)
        want = want if got.shape == want.shape else want.reshape(got.shape)
        assert np.abs(got - want).max() <= CLOSE * np.abs(want).max(), name


def _made(runtime: Runtime, truth: Truth) -> dict[str, np.ndarray]:
    """What a bundle gives, of what is known of the truth."""
    spec, given, found = runtime.spec, truth.given, {}
    if spec.kind == "decoder":
        return {"output": runtime.decode(given)}
    if spec.latent is None:
        return {"output": runtime.restore(given, truth.levels)}
    found["latent"] = runtime.encode(given, condition=truth.condition)
    if truth.variance is not None:
        found["variance"] = runtime.encode_variance(given)[1]
    if truth.output is not None:
        found["output"] = runtime.reconstruct(given).output
        if "decode" in spec.functions:
            made = runtime.decode(found["latent"])
            assert np.array_equal(made, found["output"])
    return found
