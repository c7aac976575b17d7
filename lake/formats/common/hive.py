"""Partitions as Hive lays them out: a directory ``column=value`` for each value of a column, which files leave out.

The names are those of ``FileUtils.escapePathName`` of Hive, and of Spark. Beside the characters that they escape,
those are escaped that no terminal shows, so that a value from data never ends a path, leaves a directory, or moves a
cursor.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc

NULL = "__HIVE_DEFAULT_PARTITION__"
PARTITION, PARTITION_TYPE = "latentlake.partition", "latentlake.partition_type"  # keys of a footer's metadata

_COLUMN = re.compile(r"[^\W_][\w-]*")
_ESCAPED = frozenset("\"#%'*/:=?\\{[]^")
_LONGEST = 255  # bytes of a name on a disk
_TYPES = (pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64())
_KINDS: Mapping[str, pa.DataType] = {str(kind): kind for kind in (*_TYPES, pa.string(), pa.bool_(), pa.date32())}


def partition_type(kind: pa.DataType) -> pa.DataType | None:
    """The type of a column that rows are partitioned by, as it is read again; None if they cannot be.

    Texts of every encoding are read as ``string``. Floating numbers are left out: the text of one depends on who writes
    it.

    Args:
      kind: of the column.

    >>> partition_type(pa.dictionary(pa.int32(), pa.string())), partition_type(pa.float32())
    (DataType(string), None)
    """
    plain = kind.value_type if pa.types.is_dictionary(kind) else kind
    if pa.types.is_large_string(plain) or pa.types.is_string_view(plain):
        return pa.string()
    return _KINDS.get(str(plain))


def is_partition_column(name: str) -> bool:
    """Whether a column's name can begin the name of a directory that no reader passes over.

    >>> is_partition_column("taken-on"), is_partition_column("_split"), is_partition_column("a/b")
    (True, False, False)
    """
    return _COLUMN.fullmatch(name) is not None


def partition_name(column: str, value: str | None) -> str:
    r"""The name of a partition's directory.

    Args:
      column: name of the column.
      value: as text; None for null. As in Hive, an empty text is null, and so is the text that names null.

    Raises:
      ValueError: it is longer than the 255 bytes that a disk allows.

    >>> partition_name("label", "7"), partition_name("label", None)
    ('label=7', 'label=__HIVE_DEFAULT_PARTITION__')
    >>> partition_name("by", "../é\n")
    'by=..%2Fé%0A'
    """
    text = NULL if value in (None, "", NULL) else "".join(map(_escape, value or ""))
    if len(name := f"{column}={text}".encode()) > _LONGEST:
        raise ValueError(f"{len(name)} bytes as the name of a directory, and {_LONGEST} are the most")
    return f"{column}={text}"


def _escape(character: str) -> str:
    if character.isprintable() and character not in _ESCAPED:
        return character
    return "".join(f"%{byte:02X}" for byte in character.encode())


def texts_of(column: pa.Array) -> pa.Array:
    """The values of a column as the texts that name their partitions, string ``[n]``.

    Args:
      column: of a type that ``partition_type`` takes.

    >>> import datetime
    >>> texts_of(pa.array([True, None])).to_pylist(), texts_of(pa.array([datetime.date(2026, 11, 2)])).to_pylist()
    (['true', None], ['2026-11-02'])
    """
    return pc.cast(column, pa.string())


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """The partition that a file holds: one value of one column, for all of its rows.

    Attributes:
      field: the column.
      value: of it, of one value.
    """

    field: pa.Field
    value: pa.Scalar

    @classmethod
    def of(cls, metadata: Mapping[bytes, bytes] | None) -> "Partition | None":
        """Read it from the metadata of a file's footer; None if the file holds no partition.

        Args:
          metadata: key-value metadata.

        Raises:
          ValueError: the metadata are damaged.

        >>> Partition.of({b"latentlake.partition": b"label=7", b"latentlake.partition_type": b"int64"}).value
        <pyarrow.Int64Scalar: 7>
        """
        said = {key.decode(errors="replace"): value.decode(errors="replace") for key, value in (metadata or {}).items()}
        if PARTITION not in said:
            return None
        column, _, text = said[PARTITION].partition("=")
        kind = _KINDS.get(said.get(PARTITION_TYPE, ""))
        if kind is None:
            raise ValueError(f"the type of the partition {column!r} is none")
        value = None if text == NULL else unquote(text)
        return cls(field=pa.field(column, kind), value=pc.cast(pa.scalar(value, pa.string()), kind))

    def added(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """Rows of the file with the column, as the last one.

        Args:
          rows: some of its rows.
        """
        return rows.append_column(self.field, pa.repeat(self.value, rows.num_rows))
