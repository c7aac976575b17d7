"""How long the rest of a run takes whose records cost differently: by records and by bytes, and how sure that is."""

from dataclasses import dataclass, field

_MOST = 128  # moments that are remembered
# What a record costs besides its bytes, in bytes, as long as nothing tells it.
_RECORD = 2048
_WEIGHT = 1e-3  # of that assumption, in moments


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
    cost of a record is assumed.

    Attributes:
      records: of the whole run.
      bytes: of the whole run.

    >>> pace = Pace(records=1000, bytes=1e6)
    >>> for second in range(1, 11):  # small images, and each record takes as long, whatever its size
    ...     pace.add(float(second), 50 * second, 1e4 * second)
    >>> for second in range(11, 13):  # large ones
    ...     pace.add(float(second), 50 * second, 1e5 + 1e5 * (second - 10))
    >>> round(pace.left().seconds, 1), round(pace.left().least, 1), round(pace.left().most, 1)
    (8.0, 8.0, 10.2)
    """

    records: float
    bytes: float
    _moments: list[tuple[float, float, float]] = field(default_factory=list)

    def add(self, seconds: float, records: float, bytes: float) -> None:
        """Note what is done.

        Args:
          seconds: since the first result.
          records: that have come out.
          bytes: of the input, likewise.
        """
        if len(self._moments) == _MOST:  # every other one will do
            del self._moments[::2]
        self._moments.append((seconds, records, bytes))

    def left(self) -> TimeLeft | None:
        """What is left at the last moment; None before there is anything to tell by."""
        if not self._moments or min(self._moments[-1]) <= 0:
            return None
        seconds, records, size = self._moments[-1]
        by_records = seconds * max(0.0, self.records - records) / records
        by_bytes = seconds * max(0.0, self.bytes - size) / size
        share, unsure = self._of_records()
        likely = share * by_records + (1 - share) * by_bytes
        ends = [a * by_records + (1 - a) * by_bytes for a in (max(0.0, share - unsure), min(1.0, share + unsure))]
        return TimeLeft(share=seconds / (seconds + likely), seconds=likely, least=min(ends), most=max(ends))

    def _of_records(self) -> tuple[float, float]:
        """The share of the time that went into records, and how far it may be off."""
        seconds, records, size = self._moments[-1]
        told, apart = 0.0, 0.0
        for at, read, done in self._moments:
            x, y = read / records, done / size
            told += (at / seconds - y) * (x - y)
            apart += (x - y) ** 2
        weight, usual = _WEIGHT * len(self._moments), _RECORD * records / (_RECORD * records + size)
        share = min(1.0, max(0.0, (told + weight * usual) / (apart + weight)))
        return share, (weight / (apart + weight)) ** 0.5
