"""The images of the records that a report shows: each file of the output and of the input is read once."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from lake.core.errors import LatentlakeError
from lake.core.printable import printable
from lake.core.records import Array, Fault, Records
from lake.images.native_decoder import NativeDecoder
from lake.images.types import Alpha, Color, Pages, Target
from pipeline.explore.committed import Committed
from pipeline.explore.image_places import ImagePlace, ReadImages, WrittenImages, find_records, writes_images
from pipeline.explore.pictures import first_to_see, gain_to_see, image_of_pixels
from pipeline.job.source import decoding_target
from pipeline.output.units.receipts import Receipt
from pipeline.report.pictures import SIDE, THUMBNAIL, Budget, compare_pictures, encode_picture
from pipeline.report.shown import Comparison, Picture

_REASON = 200  # characters
_COMPARED = 40  # images that are compared with what they were made of
_SMALL_PIXELS = 150_000_000  # that are decoded for thumbnails


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A record whose image is wanted.

    Attributes:
      receipt: of its unit.
      row: of the unit's table.
      shard: of the record.
      index: in the shard.
      key: of the record.
      compared: whether it is to be shown before and after.
      small: whether a thumbnail is enough.
    """

    receipt: Receipt
    row: int
    shard: str
    index: int
    key: str
    compared: bool = False
    small: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """The image of a record.

    Attributes:
      picture: the image.
      key: of the record, as it is where the image was found.
      comparison: before and after, where that was wanted and can be shown.
    """

    picture: Picture
    key: str
    comparison: Comparison | None = None


@dataclass(slots=True, kw_only=True)
class ImageLoader:
    """Loads images of one output.

    Attributes:
      committed: the output.
      budget: bytes of all pictures.
      why_not: why images of the input cannot be shown; "" where they can.
    """

    committed: Committed
    budget: Budget
    why_not: str = ""
    _written: WrittenImages | None = field(init=False, default=None)
    _read: ReadImages | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        try:
            if writes_images(self.committed):
                self._written = WrittenImages(self.committed)
            self._read = ReadImages(self.committed)
        except (LatentlakeError, OSError, KeyError) as error:
            self.why_not = printable(str(error), _REASON)

    @property
    def has_images(self) -> bool:
        """Whether the records are images, or became some."""
        return self._written is not None or self._read is not None

    def load(self, wanted: Sequence[Wanted]) -> dict[int, Loaded]:
        """Load images.

        Args:
          wanted: the records, the most important ones first: later ones go without where the budget is spent.

        Returns:
          By position in ``wanted``. Those whose image is gone or cannot be decoded are left out.
        """
        pictures, keys, kept, total = dict[int, Picture](), dict[int, str](), dict[int, Records](), 0
        compared = {number for number, one in enumerate(wanted) if one.compared} if self._written else set[int]()
        compared = set(sorted(compared)[:_COMPARED])
        for number, records in self._records(wanted):
            small = wanted[number].small
            if (small and total > _SMALL_PIXELS) or (pixels := _decoded(records, self._target)) is None:
                continue
            total += pixels.shape[0] * pixels.shape[1] if small else 0
            gain = gain_to_see(pixels)
            pictures[number] = encode_picture(image_of_pixels(pixels, gain), THUMBNAIL if small else SIDE, gain=gain)
            keys[number] = records.key[0].as_py() or ""
            if number in compared:
                kept[number] = records
        if wanted and not pictures and not self.why_not:
            self.why_not = "the images are no longer where the job read or wrote them, or have changed"
        comparisons = self._comparisons(kept, wanted)
        fitting = [number for number in sorted(pictures) if self.budget.take(pictures[number])]
        return {
            number: Loaded(picture=pictures[number], key=keys[number], comparison=self._within(comparisons.get(number)))
            for number in fitting
        }

    @property
    def _target(self) -> Target:
        """What images are decoded to, to be shown."""
        source = self._written or self._read
        assert source is not None
        options = source.options
        return Target(
            shape=(None, None, 3),
            orientation=options.orientation,
            color=Color.CONVERT,
            max_pixels=options.max_pixels,
            pages=Pages.FIRST,
            white=float(options.white),
            alpha=options.alpha or Alpha.AUTO,
        )

    def _records(self, wanted: Sequence[Wanted]) -> Iterator[tuple[int, Records]]:
        """The records of the images that the job wrote, or else of those that it read."""
        if self._written is None:
            yield from self._inputs(wanted)
            return
        places = dict[int, ImagePlace]()
        for number, one in enumerate(wanted):
            try:
                places[number] = self._written.place(one.receipt, one.row, one.shard, one.index)
            except (LatentlakeError, OSError) as error:
                self.why_not = self.why_not or printable(str(error), _REASON)
        numbers = list(places)
        yield from ((numbers[at], found) for at, found in find_records([places[number] for number in numbers]))

    def _inputs(self, wanted: Sequence[Wanted]) -> Iterator[tuple[int, Records]]:
        if self._read is None or not wanted:
            return
        try:
            places = self._read.places([(one.shard, one.index, one.key) for one in wanted])
        except (LatentlakeError, OSError) as error:
            self.why_not = printable(str(error), _REASON)
            return
        numbers = list(places)
        yield from ((numbers[at], found) for at, found in find_records([places[number] for number in numbers]))

    def _comparisons(self, made: Mapping[int, Records], wanted: Sequence[Wanted]) -> dict[int, Comparison]:
        """Before and after of some records.

        Args:
          made: what the job made of them.
          wanted: all records.
        """
        numbers, found = sorted(made), dict[int, Comparison]()
        for at, before in self._inputs([wanted[number] for number in numbers]):
            assert self._read is not None
            target = replace(decoding_target(self._read.options, self._read.spec), pages=Pages.FIRST)
            after = _decoded(made[numbers[at]], self._target)
            source = _decoded(before, target)
            if source is not None and after is not None:
                gain = 1 if source.dtype == np.uint8 else gain_to_see(after)
                sides = image_of_pixels(source, gain), image_of_pixels(after, gain)
                found[numbers[at]] = compare_pictures(*sides, gain)
        return found

    def _within(self, comparison: Comparison | None) -> Comparison | None:
        """A comparison as far as there is room for it."""
        if comparison is None:
            return None
        parts = [comparison.before, comparison.after, comparison.residual]
        crops = [crop for crop in (comparison.crop_before, comparison.crop_after) if crop is not None]
        if self.budget.take(*parts, *crops):
            return comparison
        without = replace(comparison, crop_before=None, crop_after=None)
        return without if self.budget.take(*parts) else None


def _decoded(records: Records, target: Target) -> Array | None:
    faults = dict[int, Fault]()
    for group in NativeDecoder(target).groups(records, faults):
        return first_to_see(group)
    return None
