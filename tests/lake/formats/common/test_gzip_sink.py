import gzip
from pathlib import Path

import google_crc32c
import numpy as np
import pytest

from lake.formats.common.gzip_sink import GzipSink
from lake.storage import store_for

DATA = np.random.default_rng(0).integers(0, 50, 5_000_000, np.uint8).tobytes()


def sink(path: Path) -> GzipSink:
    return GzipSink(store_for(str(path)).create(str(path)))


@pytest.mark.parametrize("size", [1000, 1 << 20, (1 << 20) + 1, len(DATA)])
def test_bytes_come_back_and_do_not_depend_on_the_writes(tmp_path: Path, size: int) -> None:
    with sink(tmp_path / "whole") as whole:
        assert whole.write(DATA) == len(DATA)
    with sink(tmp_path / "parts") as parts:
        for start in range(0, len(DATA), size):
            parts.write(memoryview(DATA)[start : start + size])
    written = (tmp_path / "parts").read_bytes()
    assert gzip.decompress(written) == DATA
    assert written == (tmp_path / "whole").read_bytes()
    assert (parts.size, parts.crc32c) == (len(written), f"{google_crc32c.value(written):08x}")
    assert written[:10] == b"\x1f\x8b\x08\0\0\0\0\0\x04\x03"  # no name, no time


def test_nothing_is_an_empty_stream(tmp_path: Path) -> None:
    with sink(tmp_path / "empty"):
        pass
    assert gzip.decompress((tmp_path / "empty").read_bytes()) == b""


def test_an_abort_leaves_nothing(tmp_path: Path) -> None:
    started = sink(tmp_path / "x")
    started.write(DATA)
    started.abort()
    del started
    assert list(tmp_path.iterdir()) == []
