"""Threads take turns at loops of short calls, since these would wait for the interpreter lock (GIL) at every call.

A codec releases the interpreter lock and takes it again in each call. For a small image the call is so short that two
threads in such loops pass the lock to each other at every image, which costs several times the call itself: with two
threads, decoding MNIST took 1.9 times as long as with one. A thread that has the turn keeps its pace, and meanwhile the
other threads run the model, which needs no lock.
"""

from contextlib import AbstractContextManager, nullcontext
from threading import RLock

SHORT = 64 * 64  # numbers of an image's pixels up to which its codec is short; at 64x64 there is nothing to gain

_turn = RLock()


def in_turn(numbers: int) -> AbstractContextManager[object]:
    """Hold the process's turn for a loop over images of this size; for larger images there is nothing to wait for.

    The loop should be over a batch or less, and do nothing that waits.

    Args:
      numbers: of the largest image's pixels, ``H * W * K``.

    >>> with in_turn(28 * 28):
    ...     sizes = [len(name) for name in ("a", "bc")]
    """
    return _turn if numbers <= SHORT else nullcontext()
