"""An interruption is noticed by whoever wants to know, and the handler that was set is called as before."""

import signal
import threading
from collections.abc import Iterator

import pytest

from lake.cli.interrupt import noticing_interrupts


@pytest.fixture(autouse=True)
def _hears() -> Iterator[None]:
    """Shells start what runs in the background with SIGINT ignored, and the tests may run so."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_an_interruption_is_noticed_though_it_becomes_another_error() -> None:
    with pytest.raises(RuntimeError), noticing_interrupts() as noticed:
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt as error:
            raise RuntimeError from error
    assert noticed.is_set()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_the_handler_that_was_set_is_called() -> None:
    heard = list[int]()
    signal.signal(signal.SIGINT, lambda number, frame: heard.append(number))
    with noticing_interrupts() as outer, noticing_interrupts() as noticed:
        signal.raise_signal(signal.SIGINT)
    assert noticed.is_set() and outer.is_set()
    assert heard == [signal.SIGINT]


def test_nothing_is_set_where_nothing_is_to_be_noticed() -> None:
    def block() -> None:
        with noticing_interrupts() as noticed:
            assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
            assert not noticed.is_set()

    thread = threading.Thread(target=block)
    thread.start()
    thread.join()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with noticing_interrupts():
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
