"""Lines of one shard that are parsed together, or one by one where one of them is wrong."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from lake.core.records import Array, Fault, Reason, Records, Stage
from lake.formats.common.pixels import folded_images, payload_of
from lake.formats.csv.lines import Line
from lake.formats.csv.table import CsvTable
from lake.formats.reader import RecordSchema

_END = 2  # bytes at the end of a line


@dataclass(frozen=True, slots=True, kw_only=True)
class CsvBatch:
    """Lines that are not parsed yet.

    Attributes:
      shard: its path.
      start: number of the first record.
      lines: of the records.
      table: the columns of the shard.
      columns: what is read of each record.
    """

    shard: str
    start: int
    lines: Sequence[Line]
    table: CsvTable
    columns: RecordSchema

    def __len__(self) -> int:
        return len(self.lines)

    def records(self) -> Records:
        names = self.table.pixels(self.columns.carry.names, self.columns.key)
        kind = (
            pa.float64()
            if self.columns.image_dtype is None
            else pa.from_numpy_dtype(np.dtype(self.columns.image_dtype))
        )
        types = {**dict.fromkeys(names, kind), **{field.name: field.type for field in self.columns.carry}}
        rows, faults = self._parsed(types)
        numbers = np.stack([rows.column(name).fill_null(0).to_numpy() for name in names], axis=1)
        null = np.logical_or.reduce([rows.column(name).is_null().to_numpy() for name in names])
        for at in np.flatnonzero(null).tolist():
            faults.setdefault(at, self._fault(at, Reason.INVALID_RECORD, "a number is missing"))
        index = np.arange(self.start, self.start + len(self.lines))
        payload, unfit = self._payload(numbers)
        keys = pa.array(index).cast(pa.string())
        if self.columns.key is not None:
            keys = pc.coalesce(rows.column(self.columns.key).combine_chunks(), keys)
        return Records(
            shard=self.shard,
            index=index,
            key=keys,
            payload=payload,
            carried={name: rows.column(name).combine_chunks() for name in self.columns.carry.names},
            faults=unfit | faults,
        )

    def _payload(self, numbers: Array) -> tuple[Array, dict[int, Fault]]:
        if self.columns.image_shape is None:
            return numbers.astype(np.float32), {}
        kind = np.dtype(self.columns.image_dtype)
        pixels, faults = payload_of(numbers.astype(kind).reshape(len(numbers), 1, -1))
        return folded_images(pixels.reshape(len(numbers), -1), self.columns.image_shape, self.columns.layout), faults

    def _parsed(self, types: dict[str, pa.DataType]) -> tuple[pa.Table, dict[int, Fault]]:
        """All lines as a table. If one is wrong they are parsed one by one, and zeros stand for it."""
        types = types if self.columns.key is None else types | {self.columns.key: pa.string()}
        most = self.columns.max_record_bytes
        long = {at for at, line in enumerate(self.lines) if line.size > most + _END}
        if not long:
            try:
                return _parse([line.text for line in self.lines], self.table, types), {}
            except pa.ArrowInvalid:
                pass
        none = pa.table({name: pa.nulls(1, kind) for name, kind in types.items()})
        parts, faults = list[pa.Table](), dict[int, Fault]()
        for at, line in enumerate(self.lines):
            try:
                parts.append(none if at in long else _parse([line.text], self.table, types))
            except pa.ArrowInvalid as error:
                parts.append(none)
                faults[at] = self._fault(at, Reason.INVALID_RECORD, " ".join(str(error).split()))
            if at in long:
                faults[at] = self._fault(
                    at, Reason.RECORD_TOO_LARGE, f"{line.size} bytes; the most is {self.columns.max_record_bytes}"
                )
        return pa.concat_tables(parts), faults

    def _fault(self, at: int, reason: Reason, problem: str) -> Fault:
        line = self.lines[at]
        data = None if reason is Reason.RECORD_TOO_LARGE else line.text
        return Fault(stage=Stage.READ, reason=reason, detail=f"line {line.number}: {problem}", data=data)


def _parse(lines: Sequence[bytes], table: CsvTable, types: Mapping[str, pa.DataType]) -> pa.Table:
    """Some columns of lines.

    Raises:
      pa.ArrowInvalid: a line has another number of fields, or a field is no value of its column's type.
    """
    data = b"\n".join(lines)
    found = csv.read_csv(
        BytesIO(data),
        csv.ReadOptions(column_names=table.names, use_threads=False, block_size=len(data) + 1),
        csv.ParseOptions(delimiter=table.delimiter),
        csv.ConvertOptions(column_types=types, include_columns=[*types]),
    )
    if found.num_rows != len(lines):  # a quoted field that goes on in the next line
        raise pa.ArrowInvalid(f"{found.num_rows} records in {len(lines)} lines")
    return found
