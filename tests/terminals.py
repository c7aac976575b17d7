"""Terminals of a width, and what programs write to them."""

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from pathlib import Path


def settings(**changes: str) -> dict[str, str]:
    """The environment of a terminal that shows UTF-8, but for what is given."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG", "PYTHON"))}
    return kept | {"TERM": "xterm", "LC_ALL": "C.UTF-8", "PYTHONPATH": str(Path.cwd())} | changes


def said_on_a_terminal(script: str, columns: int, *arguments: str, **environment: str) -> str:
    """What a terminal of some columns is sent by a program in Python, which is given these arguments."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    command = [sys.executable, "-c", script, *arguments]
    with subprocess.Popen(command, stderr=theirs, env=settings(**environment)) as process:
        os.close(theirs)
        data = b""
        try:
            while chunk := os.read(ours, 4096):
                data += chunk
        except OSError:  # the other end is closed
            pass
        os.close(ours)
    assert process.returncode == 0
    return data.decode()
