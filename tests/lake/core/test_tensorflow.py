"""What the machine's own settings may not change."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[3]
_ASK = (
    "from lake.core.tensorflow import keras; c = keras().config; print(c.floatx(), c.image_data_format(), c.backend())"
)


def asked(home: Path) -> str:
    command = [sys.executable, "-c", _ASK]
    environment = {**os.environ, "HOME": str(home)}
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=_ROOT, env=environment).stdout


@pytest.mark.slow
def test_keras_does_not_take_its_settings_from_a_home(tmp_path: Path) -> None:
    settings = tmp_path / ".keras/keras.json"
    settings.parent.mkdir()
    settings.write_text('{"floatx": "float16", "image_data_format": "channels_first", "backend": "jax"}')
    before = settings.read_bytes()
    assert asked(tmp_path).split() == ["float32", "channels_last", "tensorflow"]
    assert settings.read_bytes() == before
    assert [path for path in tmp_path.glob(".keras*/**/*") if path.is_file()] == [settings]


@pytest.mark.slow
def test_keras_writes_no_settings_into_a_home(tmp_path: Path) -> None:
    assert asked(tmp_path).split() == ["float32", "channels_last", "tensorflow"]
    assert [*tmp_path.glob(".keras*")] == []
