"""The records that a report shows, with their images: which are wanted, and what was loaded of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lake.core.records import Array
from pipeline.explore.committed import Committed
from pipeline.report.choose import GROUPS, MEMBERS, SHOWN, RowStrip, thumbnail_rows, values_of
from pipeline.report.latent_map import map_rows
from pipeline.report.load_images import ImageLoader, Loaded, Wanted
from pipeline.report.pictures import Budget
from pipeline.report.shown import ImageFacts, Picture
from pipeline.report.survey import Survey
from pipeline.report.survey_rows import errors_of, record_name
from pipeline.report.unusual import Copies, Unusual

PICTURE_BYTES = 3_200_000  # of all pictures; as text in a page they take a third more
_THUMBNAIL = 64  # pixels of what can be one


def wanted_rows(
    found: Survey,
    look: Mapping[int, str],
    strips: Sequence[RowStrip],
    unusual: Unusual | None,
    copies: Copies | None,
) -> dict[int, tuple[bool, bool]]:
    """Rows whose images are shown, the most important first: whether before and after, and whether as a thumbnail.

    Args:
      found: survey of the output.
      look: rows to look at.
      strips: rows that are shown side by side.
      unusual: how unlike the others each row is.
      copies: what is there more than once.
    """
    order = ("worst", "unusual", "random", "median", "typical", "best")
    rows = [row for strip in sorted(strips, key=lambda strip: order.index(strip.name)) for row in strip.rows]
    wanted = dict.fromkeys([*look, *rows], (True, False))
    others = [] if unusual is None else unusual.highest(SHOWN).tolist()
    others += [row for group in shown_groups(copies) for row in group]
    wanted |= {row: (False, False) for row in others if row not in wanted}
    thumbnails = thumbnail_rows(found, list(wanted), map_rows(found))
    return wanted | {row: (False, True) for row in thumbnails if row not in wanted}


def shown_groups(copies: Copies | None) -> list[list[int]]:
    """Rows of the groups of copies that are shown."""
    return [group[:MEMBERS].tolist() for group in (copies.groups if copies is not None else ())[:GROUPS]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownRecords:
    """The records that are shown.

    Attributes:
      survey: of the output.
      images: that were loaded, by row of the survey.
      errors: of each row; None where there are none.
      why_not: why images cannot be shown; "" where they can.
      what: what the records are, "images" or "records".
    """

    survey: Survey
    images: Mapping[int, Loaded]
    errors: Array | None
    why_not: str
    what: str

    @classmethod
    def load(cls, committed: Committed, found: Survey, rows: Mapping[int, tuple[bool, bool]]) -> "ShownRecords":
        """Load the images of some records.

        Args:
          committed: the output.
          found: survey of it.
          rows: what ``wanted_rows`` returned.
        """
        loader = ImageLoader(committed=committed, budget=Budget(PICTURE_BYTES))
        wanted = [_wanted_of(found, row, compared, small) for row, (compared, small) in rows.items()]
        loaded, numbers = loader.load(wanted), list(rows)
        return cls(
            survey=found,
            images={numbers[at]: image for at, image in loaded.items()},
            errors=errors_of(found)[0],
            why_not=loader.why_not,
            what="images" if loader.has_images else "records",
        )

    def image(self, row: int, why: str = "") -> ImageFacts:
        """What is shown of one record.

        Args:
          row: of the survey.
          why: why it is shown.
        """
        loaded = self.images.get(row)
        missing = "" if loaded is not None else self.why_not or "its image is gone, has changed, or had no more room"
        return ImageFacts(
            record=record_name(self.survey, row),
            picture=None if loaded is None else loaded.picture,
            missing=missing,
            why=why,
            error=None if self.errors is None or not np.isfinite(self.errors[row]) else float(self.errors[row]),
            values=values_of(self.survey, row),
            comparison=None if loaded is None else loaded.comparison,
        )

    def thumbnails(self) -> dict[int, Picture]:
        """Small pictures, by row of the survey."""
        return {row: loaded.picture for row, loaded in self.images.items() if max(_sides(loaded)) <= _THUMBNAIL}


def _sides(loaded: Loaded) -> tuple[int, int]:
    return loaded.picture.width, loaded.picture.height


def _wanted_of(found: Survey, row: int, compared: bool, small: bool) -> Wanted:
    key, shard, index = (found.identity.column(name)[row].as_py() for name in ("key", "shard", "index"))
    receipt, _ = found.tables[int(found.table[row])]
    return Wanted(
        receipt=receipt,
        row=int(found.row[row]),
        shard=shard,
        index=index,
        key=key,
        compared=compared,
        small=small,
    )
