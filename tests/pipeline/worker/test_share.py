"""How many threads and batches fit into a container."""

import logging

import pytest

from lake.core.container import Limits
from pipeline.worker import share as module
from pipeline.worker.share import Share, own_share, share


@pytest.mark.parametrize(
    ("threads", "count", "memory", "expected"),
    [
        (None, 4, None, Share(threads=4, ahead=8)),
        (3, 8, None, Share(threads=3, ahead=7)),
        (None, 4, 64 << 30, Share(threads=4, ahead=8)),
        (None, 16, 2 << 30, Share(threads=4, ahead=5)),
        (None, 16, 1 << 30, Share(threads=1, ahead=2)),
        (None, 16, 256 << 20, Share(threads=1, ahead=2)),  # too little for any: it is tried
        (8, 16, 2 << 30, Share(threads=8, ahead=5)),  # who names a number of threads gets it
    ],
)
def test_batches_fit_into_the_memory(threads, count, memory, expected):
    assert share(threads, 2, count, memory) == expected


def test_more_memory_never_gives_less():
    some = [share(None, 2, 16, size << 20) for size in range(256, 8192, 64)]
    assert [one.threads for one in some] == sorted(one.threads for one in some)
    assert some[-1] == share(None, 2, 16, None)


def test_what_the_memory_keeps_a_worker_from_is_logged(monkeypatch, caplog):
    monkeypatch.setattr(module, "cores", lambda: 8)
    monkeypatch.setattr(module, "limits", lambda: Limits(cpus=None, memory=2 << 30))
    with caplog.at_level(logging.INFO):
        own_share(None, 2)
    assert "4 threads and 5 batches of a unit at once instead of 8 and 12: this container has 2048 MiB" in caplog.text
