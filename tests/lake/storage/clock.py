"""Time for tests of what waits."""


class Clock:
    """Time that passes only while somebody sleeps, so that a busy machine changes nothing.

    It stands for the module ``time`` where retries look for it.
    """

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
