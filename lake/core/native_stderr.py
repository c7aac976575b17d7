"""Keep what native code prints while it starts off the terminal, and nothing else."""

import os
import re
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from lake.core.temporary import temporary_space

# A line of TensorFlow's or absl's log below a fatal one: severity, time, source file and line.
_LOG = re.compile(
    rb"WARNING: All log messages before absl::InitializeLog\(\)"
    rb"|[IWE]\d{4} [\d:.]+ +\d+ [\w./-]+:\d+\] "
    rb"|\d{4}-\d\d-\d\d [\d:.]+: [IWE] [\w./-]+:\d+\] "
)
_LINE = re.compile(rb"[^\r\n]*[\r\n]")  # a progress bar ends its frames with a carriage return
_POLL = 0.1  # seconds


@contextmanager
def without_native_logs() -> Iterator[BinaryIO]:
    """Leave the log lines of native code out of stderr during the block. What others print is passed on as it comes.

    Yields:
      Everything that was printed, as a file.
    """
    if sys.stderr is not None:
        sys.stderr.flush()
    # The file descriptor is redirected, since native code prints before its log level can be set. It goes to a file and
    # not to a pipe: code that holds the interpreter lock must not wait for the thread that reads.
    with temporary_space():
        file = tempfile.TemporaryFile()  # noqa: SIM115 (closed below)
    saved = os.dup(2)
    with file as printed:
        os.dup2(printed.fileno(), 2)
        relay = _Relay(printed.fileno(), saved)
        relay.start()
        try:
            yield printed
        finally:
            os.dup2(saved, 2)
            relay.finish()
            os.close(saved)


class _Relay(threading.Thread):
    """Copies lines that are no native logs from a growing file to a file descriptor."""

    def __init__(self, source: int, target: int) -> None:
        super().__init__(name="stderr", daemon=True)
        self._source, self._target, self._position, self._done = source, target, 0, threading.Event()

    def run(self) -> None:
        while not self._done.wait(_POLL):
            self._copy_lines()

    def finish(self) -> None:
        """Copy the rest, also a line without an end."""
        self._done.set()
        self.join()
        self._copy_lines()
        self._write(self._unread())

    def _copy_lines(self) -> None:
        for line in _LINE.findall(self._unread()):
            self._position += len(line)
            self._write(line)

    def _unread(self) -> bytes:
        return os.pread(self._source, os.fstat(self._source).st_size - self._position, self._position)

    def _write(self, line: bytes) -> None:
        if not _LOG.match(line):
            while line:
                line = line[os.write(self._target, line) :]
