"""Receipts and the manifest: what finished units leave, and all of them folded together."""

import json
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from typing import Any

import google_crc32c
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import checked
from pipeline.errors import VerifyError
from pipeline.layout import Layout
from pipeline.pool import requested
from pipeline.storage import put, store_for


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """One published file of a unit; ``name`` is relative to the output."""

    name: str
    size: int
    rows: int
    crc32c: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What a unit leaves: of a finished one its counts and outputs, of a failed one the error.

    options: digest of the options that change output bytes, the same for all units of a whole output.
    retried: the options, as JSON, under which rejected records had a second chance; "" where they had none.
    """

    unit: str
    fingerprint: str
    options: str = ""
    retried: str = ""
    read: int = 0
    results: int = 0
    rejects: Mapping[str, int] = field(default_factory=dict)  # reason -> records
    outputs: tuple[Output, ...] = ()
    seconds: float = 0.0
    first: float | None = None  # when the first batch had passed the model, in seconds since the epoch
    store_retries: int = 0  # requests to stores that the process made again since its last receipt
    error: str | None = None

    @property
    def rejected(self) -> int:
        """Rejects of all reasons."""
        return sum(self.rejects.values())

    def to_dict(self) -> dict[str, Any]:
        """Its fields, ``outputs`` as dictionaries too; what ``dataclasses.asdict`` gives, ten times as fast."""
        value = {name: getattr(self, name) for name in _FIELDS}
        return {**value, "outputs": [{name: getattr(output, name) for name in _PARTS} for output in self.outputs]}

    def to_json(self) -> str:
        """As one line of JSON."""
        return json.dumps(self.to_dict(), sort_keys=True)

    @classmethod
    def from_json(cls, text: str | bytes) -> "Receipt":
        """From what ``to_json`` wrote."""
        return cls._of(json.loads(text))

    @classmethod
    def _of(cls, value: dict[str, Any]) -> "Receipt":
        outputs = tuple(Output(**output) for output in value.pop("outputs"))
        return cls(outputs=outputs, **value)


_FIELDS, _PARTS = (tuple(field.name for field in fields(kind)) for kind in (Receipt, Output))


def counts(receipts: Iterable[Receipt]) -> dict[str, Any]:
    """Sums over some units: records read, results, rejects in all and by reason (the most first), bytes of output."""
    read = results = size = 0
    reasons: Counter[str] = Counter()
    for receipt in receipts:
        read += receipt.read
        results += receipt.results
        reasons.update(receipt.rejects)
        size += sum(output.size for output in receipt.outputs)
    return {
        "read": read,
        "results": results,
        "rejects": reasons.total(),
        "reasons": dict(reasons.most_common()),
        "output_bytes": size,
    }


def names(receipts: Iterable[Receipt]) -> set[str]:
    """Names of all files of some units, relative to the output."""
    return {output.name for receipt in receipts for output in receipt.outputs}


_SCHEMA = pa.schema(
    [
        ("unit", pa.string()),
        ("fingerprint", pa.string()),
        ("options", pa.string()),
        ("retried", pa.string()),
        ("read", pa.int64()),
        ("results", pa.int64()),
        ("rejects", pa.map_(pa.string(), pa.int64())),
        (
            "outputs",
            pa.list_(
                pa.struct([("name", pa.string()), ("size", pa.int64()), ("rows", pa.int64()), ("crc32c", pa.string())])
            ),
        ),
        ("check", pa.string()),  # crc32c of the row's receipt as JSON
    ]
)


_AT_ONCE = 1000  # rows on their way into the table
_UNITS = b"latentlake.units"  # in the footer: how many rows there must be


def write_manifest(layout: Layout, receipts: Iterable[Receipt]) -> Output:
    """Write the manifest of these units, sorted by unit; timings stay out, so that equal states have equal bytes."""
    rows = sorted(receipts, key=lambda receipt: receipt.unit)
    table = pa.Table.from_batches(_batches(rows), _SCHEMA.with_metadata({_UNITS: str(len(rows))})).combine_chunks()
    with store_for(layout.output).create(layout.manifest) as sink:
        pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
    return Output(name="_manifest.parquet", size=sink.size, rows=len(rows), crc32c=sink.crc32c)


def _batches(receipts: Sequence[Receipt]) -> Iterator[pa.RecordBatch]:
    for start in range(0, len(receipts), _AT_ONCE):  # as Python objects rows take ten times the space
        yield pa.RecordBatch.from_pylist([_row(r) for r in receipts[start : start + _AT_ONCE]], schema=_SCHEMA)


def read_manifest(layout: Layout) -> dict[str, Receipt]:
    """Receipts of the current state by unit; empty where there is no manifest.

    Raises:
      VerifyError: the manifest is damaged.
    """
    store = store_for(layout.output)
    if store.stat(layout.manifest) is None:
        return {}
    with store.open(layout.manifest) as file:
        data = file.read()
    try:
        return {receipt.unit: receipt for receipt in _parse_manifest(data)}
    except (pa.ArrowException, OSError, ValueError, TypeError, KeyError) as error:
        text = " ".join(str(error).split())
        raise VerifyError(
            f"{layout.manifest}: the manifest is damaged ({text}); remove it and run the job again"
        ) from error


def _parse_manifest(data: bytes) -> list[Receipt]:
    """The receipts of a manifest's bytes; a flipped bit anywhere that matters raises one of many errors.

    Pages have checksums, but Parquet's footer has none: hence a check in every row, and the number of rows.
    """
    table = pq.read_table(pa.BufferReader(data), page_checksum_verification=True)
    if table.schema.names != _SCHEMA.names or table.num_rows != int(table.schema.metadata[_UNITS]):
        raise ValueError("its footer is not the one that was written")
    return [_checked(row) for batch in table.to_batches(_AT_ONCE) for row in batch.to_pylist()]


def _checked(row: dict[str, Any]) -> Receipt:
    check = row.pop("check")
    receipt = Receipt._of({**row, "rejects": dict(row["rejects"])})
    if check != _check(receipt.to_dict()):
        raise ValueError(f"the row of unit {receipt.unit!r} is not the one that was written")
    return receipt


def _row(receipt: Receipt) -> dict[str, Any]:
    value = receipt.to_dict()
    row = {name: value[name] for name in ("unit", "fingerprint", "options", "retried", "read", "results", "outputs")}
    return {**row, "rejects": sorted(receipt.rejects.items()), "check": _check(value)}


def _check(receipt: dict[str, Any]) -> str:
    untimed = {**receipt, "seconds": 0.0, "first": None, "store_retries": 0}
    return f"{google_crc32c.value(json.dumps(untimed, sort_keys=True).encode()):08x}"


def read_state(layout: Layout) -> dict[str, Receipt]:
    """Receipts of all units that are done, by unit: the manifest's, and those that were left since the last commit.

    Raises:
      VerifyError: the manifest or a receipt is damaged.
    """
    state = {**read_manifest(layout), **read_receipts(layout)}
    return {unit: receipt for unit, receipt in state.items() if receipt.error is None}


def write_receipt(layout: Layout, receipt: Receipt) -> None:
    """Leave the receipt of a finished unit where the next plan and the commit find it."""
    put(layout.receipt(receipt.unit), checked.dumps(receipt.to_dict()))


def read_receipts(layout: Layout, known: Container[str] = ()) -> dict[str, Receipt]:
    """Receipts left since the last commit, by unit: of finished ones, and of those whose files were being replaced.

    A damaged one says nothing, so its unit is as one that is not done: its receipt has an error.

    Args:
      layout: of the output.
      known: units whose receipts are not asked for.
    """
    store = store_for(layout.output)
    if not store.is_directory(layout.receipts):
        return {}
    uris = (stat.uri for stat in store.list(layout.receipts) if _unit_of(layout, stat.uri) not in known)
    return {receipt.unit: receipt for receipt in requested(partial(_read_receipt, layout), uris)}


def _unit_of(layout: Layout, uri: str) -> str:
    return uri[len(layout.receipts) + 1 :].removesuffix(".json")


def _read_receipt(layout: Layout, uri: str) -> Receipt:
    with store_for(uri).open(uri) as file:
        return _parse_receipt(file.read(), _unit_of(layout, uri))


def _parse_receipt(data: bytes, unit: str) -> Receipt:
    try:
        receipt = Receipt._of(checked.loads(data, unit))
        if receipt.unit != unit:
            raise ValueError(f"of {receipt.unit!r}")
    except (VerifyError, ValueError, TypeError, KeyError) as error:
        return Receipt(unit=unit, fingerprint="", error=f"its receipt is damaged ({error}); run the job again")
    return receipt
