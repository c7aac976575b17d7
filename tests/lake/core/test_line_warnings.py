"""Warnings of Keras are one line, and those of others what Python makes of them."""

import subprocess
import sys
import warnings
from pathlib import Path

from lake.core.line_warnings import is_worker, warnings_in_lines

_ROOT = Path(__file__).parents[3]
_WARN = """
import warnings
from importlib.util import find_spec
from lake.core.line_warnings import warnings_in_lines

with warnings_in_lines():
    warnings.warn_explicit("Skipping\\n  variables \x1b[2J" + "x" * 9999, UserWarning, find_spec("keras").origin, 7)
    warnings.warn_explicit("other\\nlibrary", UserWarning, find_spec("numpy").origin, 7)
    warnings.warn_explicit("of this project's call", UserWarning, find_spec("lake").origin, 1)
warnings.warn_explicit("after", UserWarning, find_spec("keras").origin, 8)
"""


def test_lines_for_keras_and_nothing_else_for_others() -> None:
    command = [sys.executable, "-W", "always", "-c", _WARN]
    said = subprocess.run(command, capture_output=True, text=True, check=True, cwd=_ROOT).stderr.split("\n")
    assert said[0].startswith("warning: Skipping variables \\x1b[2Jxxxx")
    assert len(said[0]) < 600
    assert said[1].endswith("numpy/__init__.py:7: UserWarning: other")
    assert said[2] == "library"
    assert "warning: of this project's call" in said
    assert any(line.endswith("keras/__init__.py:8: UserWarning: after") for line in said)


def test_the_form_of_warnings_is_given_back() -> None:
    before = warnings.formatwarning
    with warnings_in_lines():
        assert warnings.formatwarning is not before
    assert warnings.formatwarning is before
    assert not is_worker()
