"""Prove an output: every file against its manifest, every count against every other place that states it."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import google_crc32c
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import OutputError, VerifyError
from pipeline.layout import DATA, LATENTS, METRICS, REJECTS, Layout
from pipeline.receipts import Output, Receipt, read_manifest
from pipeline.storage import Store, store_for

_CHUNK = 4 << 20
_TABLES = (LATENTS, METRICS, REJECTS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong, and the unit to redo (None where it is not one unit's)."""

    name: str
    unit: str | None
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a check found."""

    output: str
    units: int
    files: int
    read: int
    results: int
    rejects: int
    problems: tuple[Problem, ...]

    def to_value(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    def describe(self) -> str:
        """For a person."""
        counts = f"{self.units:,} units, {self.files:,} files, {self.read:,} records read"
        lines = [f"{self.output}: {counts} = {self.results:,} results + {self.rejects:,} rejects"]
        lines += [f"  {p.name}: {p.problem}" for p in self.problems]
        return "\n".join(lines if self.problems else [*lines, "every file, checksum and count is right"])

    def raise_for_problems(self) -> None:
        """Raise ``VerifyError`` if anything is wrong."""
        if self.problems:
            units = sorted({p.unit for p in self.problems if p.unit})
            redo = f"; units to redo: {', '.join(units[:10])}" if units else ""
            raise VerifyError(f"{self.output}: {len(self.problems)} problems{redo}")


def verify(output: str) -> Report:
    """Read a whole output again and compare it with its manifest and ``_SUCCESS``.

    Raises:
      OutputError: there is no output of this job.
      VerifyError: its manifest cannot be read.
    """
    layout = Layout(output.rstrip("/"))
    store = store_for(layout.output)
    if store.stat(layout.manifest) is None:
        raise OutputError(f"{output}: no _manifest.parquet; name the directory that a finished job wrote")
    receipts = read_manifest(layout)
    problems = [p for receipt in receipts.values() for p in _check_unit(layout, store, receipt)]
    problems += [*_check_extra(layout, store, receipts), *_check_success(layout, store, receipts)]
    return Report(
        output=output,
        units=len(receipts),
        files=sum(len(r.outputs) for r in receipts.values()),
        read=sum(r.read for r in receipts.values()),
        results=sum(r.results for r in receipts.values()),
        rejects=sum(r.rejected for r in receipts.values()),
        problems=tuple(problems),
    )


def _check_unit(layout: Layout, store: Store, receipt: Receipt) -> Iterator[Problem]:
    if receipt.read != receipt.results + receipt.rejected:
        text = f"{receipt.read} records read, but {receipt.results} results and {receipt.rejected} rejects"
        yield Problem(name=receipt.unit, unit=receipt.unit, problem=text)
    for output in receipt.outputs:
        for text in _check_file(layout, store, output, receipt):
            yield Problem(name=output.name, unit=receipt.unit, problem=text)
    rows = Counter[str]()
    for output in receipt.outputs:
        rows[output.name.partition("/")[0]] += output.rows
    for directory, count in rows.items():
        expected = receipt.rejected if directory == REJECTS else receipt.results
        if count != expected:
            yield Problem(name=directory, unit=receipt.unit, problem=f"{count} rows, but the receipt says {expected}")


def _check_file(layout: Layout, store: Store, output: Output, receipt: Receipt) -> Iterator[str]:
    uri = layout.at(output.name)
    stat = store.stat(uri)
    if stat is None:
        yield "missing"
        return
    if stat.size != output.size:
        yield f"{stat.size} bytes, but the manifest says {output.size}"
        return
    if (found := _checksum(store, uri)) != output.crc32c:
        yield f"checksum {found}, but the manifest says {output.crc32c}"
        return
    if output.name.partition("/")[0] in _TABLES:
        yield from _check_footer(store, uri, receipt, output.rows)


def _checksum(store: Store, uri: str) -> str:
    crc = 0
    with store.open(uri) as file:
        while chunk := file.read(_CHUNK):
            crc = google_crc32c.extend(crc, chunk)
    return f"{crc:08x}"


def _check_footer(store: Store, uri: str, receipt: Receipt, rows: int) -> Iterator[str]:
    try:
        with store.open(uri) as file:
            footer = pq.read_metadata(file)
    except (pa.ArrowException, OSError) as error:
        yield f"not a Parquet file ({error})"
        return
    if footer.num_rows != rows:
        yield f"{footer.num_rows} rows, but the manifest says {rows}"
    stated = (footer.metadata or {}).get(b"latentlake.fingerprint", b"").decode()
    if stated != receipt.fingerprint:
        yield f"made as {stated[:12] or 'something else'}, but the manifest says {receipt.fingerprint[:12]}"


def _check_extra(layout: Layout, store: Store, receipts: Mapping[str, Receipt]) -> Iterator[Problem]:
    known = {output.name for receipt in receipts.values() for output in receipt.outputs}
    for directory in DATA:
        if store.is_directory(layout.at(directory)):
            for stat in store.list(layout.at(directory)):
                name = stat.uri[len(layout.output) + 1 :]
                if name not in known:
                    yield Problem(name=name, unit=None, problem="not in the manifest")


def _check_success(layout: Layout, store: Store, receipts: Mapping[str, Receipt]) -> Iterator[Problem]:
    if store.stat(layout.success) is None:
        yield Problem(name="_SUCCESS", unit=None, problem="missing: the last run did not complete this output")
        return
    with store.open(layout.success) as file:
        summary = json.loads(file.read())
    if (found := _checksum(store, layout.manifest)) != summary["manifest"]["crc32c"]:
        text = f"it stands over the manifest {summary['manifest']['crc32c']}, but this one is {found}"
        yield Problem(name="_SUCCESS", unit=None, problem=text)
    for name, value in (("read", sum(r.read for r in receipts.values())), ("units", len(receipts))):
        if summary["total"][name] != value:
            yield Problem(name="_SUCCESS", unit=None, problem=f"{summary['total'][name]} {name}, but {value} in fact")
