"""How far a job is, as a line of text: with a bar for a terminal, in plain words for a log."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from lake.cli.screen import bar
from pipeline.cli.clock import clock

_BARS = (24, 10)  # characters of the bar, where there is room
_APART, _SECONDS = 1.3, 10  # the fewest and the most seconds left are both said from this ratio and difference on


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownProgress:
    """What a line says.

    Attributes:
      share: part of the work that is done, 0 to 1; 1 only when all is done.
      read: records.
      of: records in all; None if that is not known.
      rejects: rejected records.
      units: units that have ended.
      all_units: units of the run.
      rate: records per second; None if that is not known yet.
      left: seconds; None if that is not known yet.
      between: the fewest and the most seconds that may be left; None where no more is known than ``left``.
    """

    share: float
    read: int
    of: int | None
    rejects: int
    units: int
    all_units: int
    rate: float | None
    left: float | None
    between: tuple[float, float] | None = None

    @property
    def span(self) -> tuple[float, ...]:
        """What is said of the seconds left: nothing, one number, or two where they are far apart."""
        if self.left is None:
            return ()
        least, most = self.between or (self.left, self.left)
        return (least, most) if most > _APART * max(1.0, least) and most - least > _SECONDS else (self.left,)


def bar_line(shown: ShownProgress, width: int, blocks: str) -> str:
    """One line with a bar, if there is room for one; of the rest what fits.

    Args:
      shown: what it says.
      width: most characters.
      blocks: what stands for work that is done, and for the rest.

    >>> far = ShownProgress(share=0.3, read=300, of=1000, rejects=2, units=1, all_units=4, rate=50.0, left=14.0)
    >>> bar_line(far, 80, "#-")
    '###-------  30%  300 records  50/s  2 rejects  1/4 units  0:14 left'
    >>> bar_line(far, 20, "#-")
    ' 30%  0:14 left'
    """
    return fitting(_forms(shown, blocks), width)


def words_line(shown: ShownProgress) -> str:
    """One line of a log.

    Args:
      shown: what it says.

    >>> words_line(ShownProgress(share=0.3, read=300, of=1000, rejects=2, units=1, all_units=4, rate=50.0, left=14.0))
    '30% done: 300 of 1,000 records read, 50 a second, 2 rejected; 1 of 4 units finished; about 14 s left'

    Where small and large images are in one run, it is not sure what the rest is:

    >>> words_line(
    ...     ShownProgress(
    ...         share=0.3, read=9, of=None, rejects=0, units=0, all_units=4, rate=9.0, left=90.0, between=(60.0, 400.0)
    ...     )
    ... )
    '30% done: 9 records read, 9.0 a second, 0 rejected; 0 of 4 units finished; about 60 s to 7 min left'
    """
    of = "" if shown.of is None else f" of {shown.of:,}"
    rate = "" if shown.rate is None else f", {_rate(shown.rate, ' a second', ' a minute')}"
    left = f"; about {' to '.join(map(in_words, shown.span))} left" if shown.span else ""
    return (
        f"{math.floor(shown.share * 100)}% done: {shown.read:,}{of} records read{rate}, {shown.rejects:,} rejected; "
        f"{shown.units:,} of {shown.all_units:,} units finished{left}"
    )


def in_words(seconds: float) -> str:
    """A time as a person says it.

    Args:
      seconds: the time.

    >>> in_words(0.2), in_words(119), in_words(150), in_words(7260)
    ('1 s', '119 s', '3 min', '2 h 1 min')
    """
    if seconds < 120:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60 + 1e-9)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def fitting(forms: Iterable[str], width: int | None) -> str:
    """The first form that fits, else what fits of the last.

    Args:
      forms: of a text, the longest first.
      width: most characters; None for any.
    """
    form = ""
    for form in forms:
        if width is None or len(form) <= width:
            return form
    return form[: max(0, width or 0)]


def _forms(shown: ShownProgress, blocks: str) -> Iterator[str]:
    """Yield the line in all its forms, from the longest to the shortest."""
    percent = f"{math.floor(shown.share * 100):3d}%"
    # While there is work to do, some time is left.
    left = f"{' to '.join(clock(max(1, seconds)) for seconds in shown.span)} left" if shown.span else ""
    records, rejects = f"{shown.read:,} records", f"{shown.rejects:,} rejects"
    units = f"{shown.units}/{shown.all_units} units"
    rate = "" if shown.rate is None else _rate(shown.rate, "/s", "/min")
    for size in _BARS:
        yield _joined(f"{bar(shown.share, size, blocks)} {percent}", records, rate, rejects, units, left)
    yield _joined(percent, records, rate, rejects, units, left)
    yield _joined(percent, records, rate, rejects, left)
    yield _joined(percent, records, rate, left)
    yield _joined(percent, records, left)
    yield _joined(percent, left)
    yield percent


def _joined(*parts: str) -> str:
    return "  ".join(part for part in parts if part)


def _rate(rate: float, second: str, minute: str) -> str:
    if rate >= 10:
        return f"{rate:,.0f}{second}"
    return f"{rate:.1f}{second}" if rate >= 0.1 else f"{rate * 60:.1f}{minute}"
