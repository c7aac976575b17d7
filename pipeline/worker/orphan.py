"""A worker process whose engine is gone ends, whatever its units wait for.

Python ends a process only after all of its threads. A unit may wait for its store for minutes, or have hours to go, and
its process keeps its memory so long; but nobody takes its result any more.
"""

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import cache

_LOOKS = 1.0  # seconds between two looks
_GRACE = 5.0  # seconds for units to end by themselves

_launches = threading.Event()


def stays_for_launcher() -> None:
    """Say that this process launches jobs. Engines may run workers on its threads, which must not end it."""
    _launches.set()


@cache  # once in a process
def end_with_engine() -> None:
    """Watch from now on whether the engine's own code has come to its end, which runs on the main thread."""
    if not _launches.is_set():
        threading.Thread(target=_watch, name="orphan", daemon=True).start()


def _watch() -> None:
    # The main thread counts as alive until all others have ended. But an executor takes no work from then on.
    with ThreadPoolExecutor(1, thread_name_prefix="orphan") as pool:
        try:
            while True:
                pool.submit(int).result()
                time.sleep(_LOOKS)
        except RuntimeError:
            time.sleep(_GRACE)
            os._exit(1)
