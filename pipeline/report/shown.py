"""Records as the page of a report shows them: with images, names and examples.

Every text may come from data (keys, names of shards, labels, errors) and may hold any character, so the page escapes
all of them. Sides of pictures are at most 512 pixels, of thumbnails at most 64.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """A name and a value, both to be shown as they are."""

    name: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordName:
    """What tells a record: its key, and where it is in the input.

    Attributes:
      key: as in the source, at most 200 characters of it; need not be unique.
      shard: path below the input's root, likewise.
      index: position in it.
    """

    key: str
    shard: str
    index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """An image as a file that every browser shows.

    Attributes:
      data: the file, PNG or JPEG.
      media_type: ``image/png`` or ``image/jpeg``.
      width: of the file's image, in pixels.
      height: likewise.
      gain: how many times as bright it is as the record's image, which uses little of its range.
    """

    data: bytes
    media_type: str
    width: int
    height: int
    gain: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """An image before and after: both of one size, to lie on each other.

    Attributes:
      before: what the job read.
      after: what it made of it.
      residual: the absolute difference, brighter by ``gain``, white is a difference of ``1 / gain`` of white or more.
      gain: of the residual.
      crop_before: a part of it, a pixel for a pixel, without loss; None where the whole image already is.
      crop_after: likewise, the same part.
    """

    before: Picture
    after: Picture
    residual: Picture
    gain: float
    crop_before: Picture | None = None
    crop_after: Picture | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFacts:
    """One record that is shown.

    Attributes:
      record: which one.
      picture: what the job made of it if it made images, else what it read; None where there is none to show.
      missing: why there is no picture, for people; "" where there is one.
      why: why it is shown, in some words, such as "error 0.0312, 14 times the median"; "" where the strip says it.
      error: its error (mse, pixels in 0..1); None where the output has none.
      values: its other columns, such as its label, its noise level and its size.
      comparison: before and after; None where the job made no image of it, or the input cannot be read any more.
    """

    record: RecordName
    picture: Picture | None
    missing: str = ""
    why: str = ""
    error: float | None = None
    values: Sequence[Fact] = ()
    comparison: Comparison | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Strip:
    """A row of images.

    Attributes:
      name: such as "best", "median", "worst" or "random".
      text: one sentence that says what they are.
      images: at most 12.
    """

    name: str
    text: str
    images: Sequence[ImageFacts]


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectReason:
    """The records that were rejected for one reason.

    Attributes:
      reason: of the documented list.
      count: of records.
      share: of all records read.
      detail: what an example says.
      images: examples, with a picture where the kept bytes still show something.
      command: a command that retries them in a way that may help; "" where none does.
      advice: one sentence on what helps.
    """

    reason: str
    count: int
    share: float
    detail: str
    images: Sequence[ImageFacts]
    command: str
    advice: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectFacts:
    """What was rejected.

    Attributes:
      total: number of rejects.
      share: of all records read.
      reasons: the most frequent first.
    """

    total: int
    share: float
    reasons: Sequence[RejectReason]


@dataclass(frozen=True, slots=True, kw_only=True)
class DuplicateFacts:
    """Records that are there more than once.

    Attributes:
      count: of records to drop, so that one is left of those that equal bytes or latents hold together.
      look_alike: of further records that a perceptual hash alone holds together with others: different small images may
        have one hash.
      groups: number of groups.
      by: what shows it, for people, such as "equal bytes" or "equal latents".
      exact: whether all records were compared; else ``compared`` of them were.
      compared: number of compared records.
      examples: the images of some groups, at most 6 groups of at most 4 images.
      command: that lists them.
    """

    count: int
    look_alike: int = 0
    groups: int
    by: str
    exact: bool
    compared: int
    examples: Sequence[Sequence[ImageFacts]]
    command: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OutlierFacts:
    """Records that are unlike all others.

    Attributes:
      count: of records above the threshold.
      by: the score, for people.
      threshold: of the score.
      exact: whether all records were looked at; else ``compared`` of them were.
      compared: number of records that were looked at.
      images: the highest scores, at most 12, also those below the threshold.
      command: that lists them.
    """

    count: int
    by: str
    threshold: float
    exact: bool
    compared: int
    images: Sequence[ImageFacts]
    command: str
