"""The interface of image dataset writers, and the results that they are given."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

from lake.core.records import Array, OutputFile, Records, Unit
from lake.formats.reader import RecordSchema
from lake.images.encoder import ImageFormat
from lake.images.types import ImageFile
from lake.storage import Sink

Image: TypeAlias = ImageFile | Array  # pixels [H, W, K] of uint8, uint16 or float32, for a format that keeps numbers


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """The images that were made of some records of one batch.

    Attributes:
      records: the batch that was read. Its ``source`` is filled if shards are rewritten.
      positions: positions of the records that have an image, int64 ``[m]``, ascending.
      images: ``[m]``; all of them files, or all pixels if ``DatasetWriter.pixels``.
    """

    records: Records
    positions: Array
    images: Sequence[Image]


Create: TypeAlias = Callable[[str], Sink]  # opens a sink for a path relative to the dataset's directory


class DatasetWriter(ABC):
    """Writes image datasets in one format. Thread-safe.

    There are two modes. If the output has the input's format, shards are *rewritten*: each record keeps everything
    (``Records.source``), its order and its key, and gets another image. Files keep the names of the shards. Otherwise
    *new records* are written, of image, key and carried columns. Their files are named after the unit, or after the
    record's number if each image is a file; never after a key.

    Attributes:
      pixels: images are given as pixels, not as encoded files.

    Args:
      columns: what is read of each input record.
      rewrite: rewrite the input's shards; else write new records.
      metadata: what an output file says about itself, if the format has a place for it.
    """

    pixels = False

    def __init__(
        self, columns: RecordSchema, rewrite: bool, metadata: Callable[[Unit], Mapping[str, str]] = lambda _: {}
    ) -> None:
        self._columns, self._rewrite, self._metadata = columns, rewrite, metadata

    @abstractmethod
    def render(self, results: Results) -> Any:
        """Turn results into what ``UnitWriter.write`` appends. This is the costly part, and is called on any thread."""

    @abstractmethod
    def begin(self, unit: Unit, create: Create) -> "UnitWriter":
        """Start the files of one unit.

        Args:
          unit: the records' unit.
          create: opens the sink of a file; may also be called later, from any thread.
        """

    @staticmethod
    def collision(paths: Iterable[str], image_format: ImageFormat) -> tuple[str, str] | None:  # noqa: ARG004
        """Two shards whose rewritten files could get the same name; None if there are none.

        Args:
          paths: of all shards, each once.
          image_format: of the images.
        """
        return None


class UnitWriter(ABC):
    """Writes the files of one unit. Used by one thread at a time, in the order of the records.

    Attributes:
      publishes_early: whether files become visible before ``publish``, which may replace others of their names.
    """

    publishes_early: ClassVar[bool] = False

    @abstractmethod
    def write(self, rendered: Any) -> None:
        """Append what ``DatasetWriter.render`` returned."""

    @abstractmethod
    def publish(self) -> tuple[OutputFile, ...]:
        """Make every file visible. The ``OutputFile.rows`` are numbers of images and add up to all images written."""

    @abstractmethod
    def abort(self) -> None:
        """Discard every file that is not published."""
