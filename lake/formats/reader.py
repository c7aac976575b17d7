"""The interface of shard readers, and the selection of columns that they are given."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from lake.core.records import RawBatch, Shard, Unit
from lake.formats.common.cuts import Cuts
from lake.formats.common.stable_types import stable_schema
from lake.images.types import PixelLayout
from lake.storage import Stat


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnSelection:
    """What the user and the model ask of a format, before any shard has been looked at.

    Attributes:
      image: name of the feature, column, array or member extension with the image or vector; None for the usual names.
      key: name of the feature, column or array with the key; None for the usual names.
      carry: names of the columns to carry; None for the usual labels, () for none.
      numeric: records are vectors or arrays of pixels, not encoded image files.
      max_record_bytes: a record with more bytes is a reject. The rows of an array all have one size: if it is larger,
        the array is refused as the first shard, and counts as damage in any other shard. Vectors and carried columns in
        Parquet have no limit.
      length: numbers in a vector, if the model takes vectors of a known length.
      shape: height, width and channels of an image, if the model takes images of one size.
      layout: order of the sides of images that are numbers; None for height, width, channels, and where images are
        lists or ``.npy`` members for what only can be meant.
      image_shape: height, width and channels of images that are bare pixels; None where the source says them.
      image_dtype: type of the numbers of such images in bytes, little-endian; None for uint8 or uint16 by their number.
      shaped: records are latents with shapes of their own.
      latents: the vectors are latents, which shards may store in other numbers.
      whole: read everything of each record, so that its shard can be rewritten with other images.
      salvage: read what is intact of a damaged shard (``--on-damage reject``).
    """

    image: str | None = None
    key: str | None = None
    carry: Sequence[str] | None = None
    numeric: bool = False
    max_record_bytes: int = 256 << 20
    length: int | None = None
    shape: tuple[int, ...] | None = None
    layout: PixelLayout | None = None
    image_shape: tuple[int, int, int] | None = None
    image_dtype: str | None = None
    shaped: bool = False
    latents: bool = False
    whole: bool = False
    salvage: bool = False

    def resolved(self, *, image: str, key: str | None, carry: pa.Schema, length: int | None = None) -> "RecordSchema":
        """What is read of every shard, once one has told the columns; a reader replaces what its format settles anew.

        Args:
          image: name of the image or vector.
          key: name of the key; None if keys are the records' numbers.
          carry: names and types of the carried columns.
          length: numbers in a vector, or in an image that is a flat list of pixels; None if it is not known.
        """
        return RecordSchema(
            image=image,
            key=key,
            carry=carry,
            length=length,
            numeric=self.numeric,
            max_record_bytes=self.max_record_bytes,
            layout=self.layout,
            shaped=self.shaped,
            latents=self.latents,
            whole=self.whole,
            salvage=self.salvage,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordSchema:
    """What a job reads from every shard: a ``ColumnSelection`` resolved against the first shard.

    Attributes:
      image: name of the image or vector.
      key: name of the key; None if keys are the records' numbers.
      carry: names and types of the carried columns, as of ``stable_schema``. With ``whole`` these are still the columns
        of output tables.
      numeric: records are vectors or arrays of pixels, not encoded image files.
      max_record_bytes: a record with more bytes is a reject.
      length: numbers in a vector, or in an image that is a flat list of pixels; None if it is not known or records are
        other images.
      layout: order of the sides of images that are numbers; None for the usual one.
      image_shape: height, width and channels of images whose source does not say them; None for the model's, row by
        row.
      image_dtype: type of the numbers of bare pixels in bytes, which have ``image_shape``.
      shaped: records are latents with shapes of their own, as ``.npy`` files of float32 ``[h, w, c]``.
      latents: as in ``ColumnSelection``.
      whole: ``Records.source`` is filled.
      salvage: a record that damage covers is a fault (CORRUPT_RECORD) if the container tells which ones these are.
      settled: a shard told the columns; False if none has had a record so far.
      formats: of an input of several formats, what is read of the shards of each; its own names are empty then, and
        ``carry`` has the columns of all.
    """

    image: str
    key: str | None
    carry: pa.Schema
    numeric: bool
    max_record_bytes: int
    length: int | None = None
    layout: PixelLayout | None = None
    image_shape: tuple[int, ...] | None = None
    image_dtype: str | None = None
    shaped: bool = False
    latents: bool = False
    whole: bool = False
    salvage: bool = False
    settled: bool = True
    formats: tuple[tuple[str, "RecordSchema"], ...] = ()

    def __post_init__(self) -> None:
        # Whoever settles or widens them: a worker must have the types that the launcher has, to the letter.
        object.__setattr__(self, "carry", stable_schema(self.carry))

    def of(self, format: str) -> "RecordSchema":
        """What is read of the shards of one format.

        Args:
          format: of a shard of the input.
        """
        return dict(self.formats)[format] if self.formats else self

    def unusual(self) -> dict[str, Any]:
        """What is known of images that are numbers, as JSON values, as far as it is not the usual.

        >>> from dataclasses import replace
        >>> columns = RecordSchema(image="x", key=None, carry=pa.schema([]), numeric=True, max_record_bytes=1)
        >>> columns.unusual(), replace(columns, image_shape=(2, 2, 1)).unusual()
        ({}, {'image_shape': [2, 2, 1]})
        """
        values = {
            "layout": self.layout and str(self.layout),
            "image_shape": self.image_shape and [*self.image_shape],
            "image_dtype": self.image_dtype,
            "shaped": self.shaped or None,
        }
        return {name: value for name, value in values.items() if value is not None}


BATCH_BYTES = 64 << 20  # bytes of encoded records in a batch; several batches are in memory


class Reader(ABC):
    """Reads shards of one format. Readers have no state, so they are thread-safe.

    Attributes:
      suffixes: suffixes of its files, lower case, with the dot. A further '.gz' is recognised if the format allows it.
      grouped: many small files make one unit (folders); else each file is a shard.
      companions: names of files that describe the shards of a directory, and are no shards themselves.
      sidecars: suffixes of files that belong to the shard of the same name, such as captions.
      bare: images may be bare pixels whose shape and type the user says.
      indexes: suffixes of files beside a shard that may say where its records begin, of formats that have ``cuts``.
    """

    suffixes: tuple[str, ...]
    grouped: bool = False
    companions: tuple[str, ...] = ()
    sidecars: tuple[str, ...] = ()
    bare: bool = False
    indexes: tuple[str, ...] = ()

    @abstractmethod
    def recognises(self, name: str, head: bytes) -> bool:
        """Whether a file has this format.

        Args:
          name: of the file.
          head: its first bytes, up to 1,024; b"" to decide by the name alone.
        """

    @abstractmethod
    def settle(self, shard: Shard, selection: ColumnSelection) -> RecordSchema:
        """Look at a shard (its header or first records) and decide what is read from every shard.

        Args:
          shard: the one to look at.
          selection: what the user and the model ask for.

        Raises:
          InputError: a requested feature, column or member is missing or has the wrong type. The message names what
            there is and the option to set.
          NoRecordsError: the shard has no records, and nothing else tells its columns.
          ShardError: the shard is damaged where it had to be looked at.
          UnreadableError: the store failed.
        """

    @abstractmethod
    def read(self, unit: Unit, columns: RecordSchema, size: int, room: int = BATCH_BYTES) -> Iterator[RawBatch]:
        """All records of a unit in order, in batches.

        A batch has ``size`` records. It is smaller at the end of a shard, or if its records reach ``room`` bytes, so
        that large images come in small batches. Where batches end depends on the unit alone. Memory is bounded by a few
        batches, whatever the size of the shard. A bad record becomes a fault of its batch, and reading goes on.

        Args:
          unit: what is read.
          columns: what is read of each record.
          size: the most records in a batch.
          room: bytes of stored records at which a batch ends.

        Raises:
          ShardError: the container is damaged, or its schema differs from ``columns``. All intact records before the
            damage have been yielded by then.
          UnreadableError: the store failed, or the shard changed since it was planned.
        """

    def widen(self, shard: Shard, columns: RecordSchema) -> RecordSchema:  # noqa: ARG002
        """Settled columns with types that hold the values of a further shard, too.

        Raises:
          ShardError: the shard is damaged.
          UnreadableError: the store failed.
        """
        return columns

    def rows(self, shard: Shard) -> Sequence[int] | None:  # noqa: ARG002
        """Sizes in rows of the parts that can be read independently, such as row groups; None if there are none.

        Raises:
          ShardError: the shard is damaged.
          UnreadableError: the store failed.
        """
        return None

    def cuts(self, shard: Shard, index: Stat | None = None) -> Cuts:  # noqa: ARG002
        """Where a giant shard is cut into slices of known bytes; by a pass over it, or by an index.

        Both give the same slices. A shard that can only be read from its start is not cut.

        Args:
          shard: the shard.
          index: the file beside it that says where records begin; None to look through the shard.

        Raises:
          ShardError: the shard is damaged, or the index does not fit it.
          UnreadableError: the store failed.
        """
        return Cuts()

    def count(self, shard: Shard) -> int | None:
        """Number of records, where a footer, a header or an index tells it; None if only reading the shard would.

        Raises:
          ShardError: the shard is damaged.
          UnreadableError: the store failed.
        """
        rows = self.rows(shard)
        return None if rows is None else sum(rows)

    def about(self, shard: Shard) -> float | None:  # noqa: ARG002
        """About how many records, told from the shard's first bytes; None if these do not tell it.

        Raises:
          UnreadableError: the store failed.
        """
        return None

    def identity(self, stat: Stat) -> str:
        """Text that changes when a shard's content does, including files beside it that are read with it."""
        return stat.identity
