"""What is tried again, how often, and what is not."""

import errno
from collections.abc import Callable

import pytest

from lake.core import retry as retrying
from lake.core.errors import ShardError, UnreadableError
from lake.core.retry import Backoff, retry


def caused(cause: BaseException) -> UnreadableError:
    error = UnreadableError("a.tar", "cannot be read")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("make", "times"),
    [
        (lambda: OSError(errno.EIO, "I/O error"), 4),
        (lambda: OSError(errno.EMFILE, "Too many open files"), 4),
        (lambda: OSError(errno.ENOSPC, "No space left on device"), 1),
        (lambda: PermissionError(errno.EACCES, "Permission denied"), 1),
        (lambda: ConnectionError("reset"), 4),
        (lambda: caused(TimeoutError("stalled")), 4),
        (lambda: caused(OSError(errno.EIO, "I/O error")), 4),
        (lambda: caused(FileNotFoundError(errno.ENOENT, "gone")), 1),
        (lambda: caused(MemoryError()), 2),
        (lambda: UnreadableError("a.tar", "changed since it was planned"), 1),
        (lambda: ShardError("a.tar", "truncated"), 2),
        (MemoryError, 2),
    ],
)
def test_how_often(monkeypatch: pytest.MonkeyPatch, make: Callable[[], Exception], times: int) -> None:
    monkeypatch.setattr(retrying, "TRANSIENT", Backoff(first=0.0, most=0.0, attempts=4))
    monkeypatch.setattr(retrying, "MEMORY", retrying.DAMAGE)
    seen: list[int] = []

    def fail(number: int) -> None:
        seen.append(number)
        raise make()

    with pytest.raises(type(make())):
        retry("unit a", fail)
    assert seen == list(range(times))


def test_the_first_result_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrying, "TRANSIENT", Backoff(first=0.0, most=0.0, attempts=4))
    monkeypatch.setattr(retrying, "MEMORY", retrying.DAMAGE)

    def work(number: int) -> str:
        if number < 3:
            raise OSError(errno.EIO, "I/O error")
        return "done"

    assert retry("unit a", work) == "done"
