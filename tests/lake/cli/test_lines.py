"""What reaches a terminal of texts that somebody else has chosen; the commands are in `tests/pipeline/cli`."""

import subprocess
import sys

SCRIPT = r"""
import logging
from lake.cli.lines import log_in_lines
log_in_lines()
try:
    raise ValueError("s3://KEY:SECRET@b/x \x1b[2J")
except ValueError:
    logging.getLogger("lake").warning("%s left out", "a\x1b[2J\nb", exc_info=True)
"""


def test_what_is_logged_is_one_line_without_escapes() -> None:
    result = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    first, *_, last = result.stderr.splitlines()
    assert first == r"a\x1b[2J\nb left out"
    assert last == r"ValueError: s3://b/x \x1b[2J"
