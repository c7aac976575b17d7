"""Where images of records are, in the input or in the output; many of them are read in one pass over each file."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lake.core.errors import InputError, LatentlakeError, UsageError
from lake.core.records import Records, Shard, Unit
from lake.formats import FORMATS
from lake.formats.reader import ColumnSelection, RecordSchema
from lake.inputs.columns import settle_shard
from lake.inputs.discover import root_of
from lake.storage import join, store_for
from pipeline.explore.committed import Committed, result_tables
from pipeline.job.source import find_source
from pipeline.options.kept_options import options_from_json
from pipeline.output.layout import IMAGES
from pipeline.output.units.receipts import Receipt
from pipeline.worker.verbs import VERBS

_BATCH = 64  # records


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagePlace:
    """Where the image of one record is.

    Attributes:
      format: of the shard.
      shard: the shard.
      columns: what is read of it.
      index: position of the record in it.
      key: that the record must have; None for any.
    """

    format: str
    shard: Shard
    columns: RecordSchema
    index: int
    key: str | None = None


def find_records(places: Sequence[ImagePlace]) -> Iterator[tuple[int, Records]]:
    """Read some records, each shard once and only as far as it is needed.

    Args:
      places: where they are.

    Yields:
      Position in ``places``, and the record as a batch of one; in the order of the shards. What is no longer there is
      left out, and so are the records of a shard that cannot be read.
    """
    shards = defaultdict[tuple[str, str], dict[int, list[int]]](dict)
    for number, place in enumerate(places):
        shards[place.format, place.shard.uri].setdefault(place.index, []).append(number)
    for wanted in shards.values():
        one = places[next(iter(wanted.values()))[0]]
        with suppress(LatentlakeError, OSError):
            for index, records in _of_shard(one, sorted(wanted)):
                key = records.key[0].as_py()
                yield from ((number, records) for number in wanted[index] if places[number].key in (None, key))


def _of_shard(place: ImagePlace, wanted: list[int]) -> Iterator[tuple[int, Records]]:
    for start, stop in _parts(place, wanted):
        unit = Unit(id="", format=place.format, shards=(place.shard,), start=start, stop=stop)
        left = [index for index in wanted if index >= start and (stop is None or index < stop)]
        for raw in FORMATS[place.format].reader.read(unit, place.columns, _BATCH):
            end, start = start + len(raw), start + len(raw)
            if left[0] >= end:
                continue
            records = raw.records()
            for position in np.flatnonzero(np.isin(records.index, left)).tolist():
                yield int(records.index[position]), records.take(np.array([position]))
            left = [index for index in left if index >= end]
            if not left:
                break


def _parts(place: ImagePlace, wanted: Sequence[int]) -> list[tuple[int, int | None]]:
    """The parts of a shard that hold what is wanted: of one that can be read only from its start, all of it."""
    sizes = FORMATS[place.format].reader.rows(place.shard)
    if not sizes:
        return [(0, None)]
    edges = np.cumsum([0, *sizes]).tolist()
    return [(low, high) for low, high in pairwise(edges) if any(low <= index < high for index in wanted)]


class ReadImages:
    """What the job read.

    Args:
      committed: the output.

    Raises:
      UsageError: it was made of numbers, and has no images.
    """

    def __init__(self, committed: Committed) -> None:
        from model.bundle import Bundle

        model = committed.layout.model(committed.job["options"]["model_digest"])
        self._bundle = Bundle.open(model)
        self.options = options_from_json(committed.job["settings"], committed.layout.output, model)
        if self._bundle.spec.numeric or VERBS[self.options.verb].takes_latents:
            raise UsageError(f"{committed.layout.output} was made of numbers, and has no images to show")
        self._committed, self.spec = committed, self._bundle.spec

    def places(self, records: Sequence[tuple[str, int, str]]) -> dict[int, ImagePlace]:
        """Where some records are. Only their shards are looked at, however many the input has.

        Args:
          records: shard, index and key of each.

        Returns:
          By position in ``records``. Those whose shard is gone are left out.
        """
        root = root_of(self.options.input)
        uris = {shard: shard if root == "." else join(root, shard) for shard, _, _ in records}
        there = {shard: uri for shard, uri in uris.items() if store_for(uri).stat(uri) is not None}
        if not there:
            return {}
        named = replace(self.options, input=[*there.values()], follow_links=True)
        source = find_source(named, self._bundle, dict(self._committed.job))
        found = {shard.uri: (format, shard) for format, some in source.found.by_format.items() for shard in some}
        return {
            number: ImagePlace(
                format=found[there[name]][0],
                shard=found[there[name]][1],
                columns=replace(source.columns.of(found[there[name]][0]), whole=False),
                index=index,
                key=key,
            )
            for number, (name, index, key) in enumerate(records)
            if there.get(name) in found
        }


class WrittenImages:
    """What the job wrote. Images of a unit are in the order of the source, as are the rows of its table if it has one.

    Args:
      committed: the output.
    """

    def __init__(self, committed: Committed) -> None:
        model = committed.layout.model(committed.job["options"]["model_digest"])
        self.options = options_from_json(committed.job["settings"], committed.layout.output, model)
        self._committed = committed
        self._known = dict[str, tuple[str, Shard, RecordSchema]]()
        self._order = dict[str, pa.Table]()  # shard and index of the records of a unit with several tables

    def place(self, receipt: Receipt, row: int, shard: str, index: int) -> ImagePlace:
        """Where an image is.

        Args:
          receipt: of its unit.
          row: of the record in its table.
          shard: of the record.
          index: of the record in its shard.

        Raises:
          LatentlakeError: there is none.
        """
        left = row if len(result_tables([receipt])) < 2 else self._among_all(receipt, shard, index)
        for name, count in image_files(receipt):
            if left < count:
                format, file, columns = self._opened(name)
                return ImagePlace(format=format, shard=file, columns=columns, index=left)
            left -= count
        raise LatentlakeError(f"unit {receipt.unit} has no image for its row {row}; verify the output")

    def _among_all(self, receipt: Receipt, shard: str, index: int) -> int:
        """The position of a record among all results of a unit, in the order of the source."""
        if receipt.unit not in self._order:
            rows = replace(self._committed, receipts=[receipt]).column_table(("shard", "index"))
            rows = rows.set_column(0, "shard", rows.column("shard").cast(pa.string()))
            self._order[receipt.unit] = rows.sort_by([("shard", "ascending"), ("index", "ascending")])
        rows = self._order[receipt.unit]
        here = pc.and_(pc.equal(rows.column("shard"), shard), pc.equal(rows.column("index"), index))
        return int(np.flatnonzero(here.to_numpy(zero_copy_only=False))[0])

    def _opened(self, name: str) -> tuple[str, Shard, RecordSchema]:
        if name not in self._known:
            uri = self._committed.layout.at(name)
            if (stat := store_for(uri).stat(uri)) is None:
                raise LatentlakeError(f"{uri}: missing; repair it with 'latentlake verify --repair'")
            shard = Shard(uri=uri, path=name, size=stat.size, identity=stat.identity)
            format = next(
                name
                for name, known in FORMATS.items()
                if known.writer_class and known.reader.recognises(shard.path, b"")
            )
            self._known[name] = format, shard, settle_shard(format, shard, ColumnSelection(carry=()))
        return self._known[name]


def image_files(receipt: Receipt) -> Iterator[tuple[str, int]]:
    """Name and number of images of each file of images of a unit.

    Args:
      receipt: of the unit.
    """
    for file in receipt.outputs:
        if file.name.startswith(f"{IMAGES}/") and file.rows:
            yield file.name, file.rows


def writes_images(committed: Committed) -> bool:
    """Whether the job of an output wrote images.

    Args:
      committed: the output.
    """
    return "images" in committed.job["options"]


def changed_input(output: str, shard: str, index: int, key: str) -> InputError:
    """The error for a record that is not in the input any more, as it was."""
    return InputError(
        f"{shard}: record {index} is not {key!r} any more, or the shard is gone; the input of {output} has changed"
    )
