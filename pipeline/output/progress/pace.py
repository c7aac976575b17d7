"""How long the rest of a run takes whose records cost differently: by records and by bytes, and how sure that is."""

from dataclasses import dataclass, field

_MOST = 128  # moments that are remembered
# What a record costs besides its bytes, in bytes, as long as nothing tells it.
_RECORD = 2048
_WEIGHT = 1e-3  # of that assumption, in moments, where records come steadily


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeLeft:
    """What is left.

    Attributes:
      share: part of the work that is done, 0 to 1.
      seconds: the likely time.
      least: seconds; the time is between ``least`` and ``most``, as far as the totals are right.
      most: seconds.
    """

    share: float
    seconds: float
    least: float
    most: float


@dataclass(slots=True, kw_only=True)
class Pace:
    """Tells the time left of a run whose time goes partly into records and partly into bytes.

    A record takes ``p + q * bytes`` seconds with unknown ``p`` and ``q``, neither below 0. So of the time until now a
    share ``a`` went into records and the rest into bytes, and what is left is the same mean of what records alone
    tell and what bytes alone tell: the truth lies between the two. ``a`` is fitted to what was done until each moment
    before, by least squares; as far as records and bytes have come in one proportion, nothing tells it, and a usual
    cost of a record is assumed. Results come in batches, so a moment may be late by the longest pause between two; the
    later, the less it tells. A pause that is not longer than others is part of the batch that comes.

    Attributes:
      records: of the whole run.
      bytes: of the whole run.

    >>> pace = Pace(records=1000, bytes=1e6)
    >>> for tenth in range(1, 101):  # small images, and each record takes as long, whatever its size
    ...     pace.add(tenth / 10, 5 * tenth, 1e3 * tenth)
    >>> for tenth in range(101, 121):  # large ones
    ...     pace.add(tenth / 10, 5 * tenth, 1e5 + 1e4 * (tenth - 100))
    >>> round(pace.left().seconds, 1), round(pace.left().least, 1), round(pace.left().most, 1)
    (8.0, 8.0, 10.3)
    """

    records: float
    bytes: float
    _moments: list[tuple[float, float, float]] = field(default_factory=list)
    _now: float = 0.0  # seconds
    _longest: float = 0.0  # seconds between two moments at which something came out

    def add(self, seconds: float, records: float, bytes: float) -> None:
        """Note what is done.

        Args:
          seconds: since the first result.
          records: that have come out.
          bytes: of the input, likewise.
        """
        self._now = seconds
        before = self._moments[-1] if self._moments else (0.0, 0.0, 0.0)
        if (records, bytes) == before[1:]:
            return
        self._longest = max(self._longest, seconds - before[0])
        if len(self._moments) == _MOST:  # every other one will do
            del self._moments[::2]
        self._moments.append((seconds, records, bytes))

    def left(self) -> TimeLeft | None:
        """What is left at the last moment; None before there is anything to tell by."""
        if not self._moments or min(self._moments[-1]) <= 0:
            return None
        seconds, records, size = self._moments[-1]
        paused = min(self._now - seconds, self._longest)
        spent = self._now - paused
        by_records = spent * max(0.0, self.records - records) / records
        by_bytes = spent * max(0.0, self.bytes - size) / size
        share, unsure = self._of_records()
        shares = (share, max(0.0, share - unsure), min(1.0, share + unsure))
        likely, *ends = (max(0.0, a * by_records + (1 - a) * by_bytes - paused) for a in shares)
        return TimeLeft(share=self._now / (self._now + likely), seconds=likely, least=min(ends), most=max(ends))

    def _of_records(self) -> tuple[float, float]:
        """The share of the time that went into records, and how far it may be off."""
        seconds, records, size = self._moments[-1]
        told, apart = 0.0, 0.0
        for at, read, done in self._moments:
            x, y = read / records, done / size
            told += (at / seconds - y) * (x - y)
            apart += (x - y) ** 2
        weight = (_WEIGHT + (self._longest / seconds) ** 2) * len(self._moments)
        usual = _RECORD * records / (_RECORD * records + size)
        share = min(1.0, max(0.0, (told + weight * usual) / (apart + weight)))
        return share, (weight / (apart + weight)) ** 0.5
