"""The images of the records that an answer names."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.explore.committed import IDENTITY, Committed
from pipeline.report.load_images import ImageLoader, Wanted
from pipeline.report.pictures import Budget, rejected_picture
from pipeline.report.shown import ImageFacts, RecordName

_TEXT = 200  # characters of a key or shard
_BYTES = 5_000_000  # of all pictures

_Row = Mapping[str, Any]


class GalleryImages:
    """The images of records of one output.

    Args:
      committed: the output.
    """

    def __init__(self, committed: Committed) -> None:
        self._committed = committed
        self._loader = ImageLoader(committed=committed, budget=Budget(_BYTES))
        self._edges = np.cumsum([0, *(file.rows for _, file in committed.tables)])

    def by_key(self, keys: Sequence[str]) -> dict[str, ImageFacts]:
        """The first record with each key; those that no record has are left out."""
        table = self._committed.column_table(IDENTITY)
        some = table.filter(pc.is_in(table.column("key"), value_set=pa.array(list(dict.fromkeys(keys)))))
        first = dict[str, _Row]()
        for row in some.to_pylist():
            first.setdefault(row["key"], row)
        return dict(zip(first, self.shown([*first.values()], [""] * len(first)), strict=True))

    def shown(self, rows: Sequence[_Row], why: Sequence[str]) -> list[ImageFacts]:
        """Records with their images, as far as these can be loaded."""
        found = self._loader.load(self._wanted(rows))
        return [
            ImageFacts(
                record=RecordName(key=(row["key"] or "")[:_TEXT], shard=row["shard"][:_TEXT], index=row["index"]),
                picture=found[at].picture if at in found else None,
                missing="" if at in found else self._loader.why_not or "its image is gone or has changed",
                why=why[at],
            )
            for at, row in enumerate(rows)
        ]

    def _wanted(self, rows: Sequence[_Row]) -> list[Wanted]:
        positions, wanted = self._positions(rows), list[Wanted]()
        for row in rows:
            position = positions[row["shard"], row["index"]]
            at = int(np.searchsorted(self._edges, position, "right")) - 1
            receipt, _ = self._committed.tables[at]
            place = position - int(self._edges[at])
            wanted.append(Wanted(receipt=receipt, row=place, shard=row["shard"], index=row["index"], key=row["key"]))
        return wanted

    def _positions(self, rows: Sequence[_Row]) -> dict[tuple[str, int], int]:
        """Where in the output the records are."""
        table = self._committed.column_table(("shard", "index"))
        shards, indices = (pa.array([*dict.fromkeys(row[name] for row in rows)]) for name in ("shard", "index"))
        shard = table.column("shard").cast(pa.string())
        here = pc.and_(pc.is_in(shard, value_set=shards), pc.is_in(table.column("index"), value_set=indices))
        places = np.flatnonzero(here.to_numpy(zero_copy_only=False))
        names = [column.take(pa.array(places)).to_pylist() for column in (shard, table.column("index"))]
        return dict(zip(zip(*names, strict=True), places.tolist(), strict=True))


def given_image(name: str, data: bytes) -> ImageFacts:
    """An image that is no record.

    Args:
      name: of it.
      data: its file.
    """
    picture = rejected_picture(data)
    missing = "" if picture is not None else "no browser shows this format"
    return ImageFacts(record=RecordName(key=name[:_TEXT], shard="", index=0), picture=picture, missing=missing)
