"""The files of one unit against its receipt."""

from collections import Counter
from collections.abc import Iterator, Mapping

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.layout import LATENTS, METRICS, REJECTS, Layout
from pipeline.receipts import Output, Receipt
from pipeline.storage import store_for
from pipeline.verify.report import Problem
from pipeline.verify.rows import batches, overlap, table_problem
from pipeline.verify.state import Made, checksum

_TAIL = 64 << 10  # nearly every footer is shorter, so one read is enough for it
_PARQUET = (".parquet", ".pq")
_UNREADABLE = (pa.ArrowException, OSError, ValueError)  # what PyArrow raises for a damaged file


class UnitCheck:
    """Checks units, any number of threads at once.

    Args:
      layout: of the output.
      sizes: of every file among the data, by its name relative to the output.
      made: what the whole output was made with, where that is known.
      deep: whether every byte is read.
    """

    def __init__(self, layout: Layout, sizes: Mapping[str, int], made: Made | None, *, deep: bool) -> None:
        self._layout, self._sizes, self._made, self.deep = layout, sizes, made, deep

    def problems(self, receipt: Receipt) -> list[Problem]:
        """What is wrong with one unit: at most one problem for each file."""
        if receipt.error is not None:
            return [Problem(name=receipt.unit, unit=receipt.unit, problem=f"not done: {receipt.error}")]
        texts = {receipt.unit: self._receipt(receipt)}
        texts |= {output.name: self._file(output, receipt) for output in receipt.outputs}
        joined = {name: "; ".join(found) for name, found in texts.items()}
        if self.deep and not any(joined.values()):
            joined[receipt.unit] = self._both(receipt)
        return [Problem(name=name, unit=receipt.unit, problem=text) for name, text in joined.items() if text]

    def _receipt(self, receipt: Receipt) -> Iterator[str]:
        """The receipt against itself, and against the whole output."""
        if receipt.read != receipt.results + receipt.rejected:
            yield f"{receipt.read} records read, but {receipt.results} results and {receipt.rejected} rejects"
        rows = Counter({REJECTS: 0})
        for output in receipt.outputs:
            rows[output.name.partition("/")[0]] += output.rows
        for directory, count in rows.items():
            expected = receipt.rejected if directory == REJECTS else receipt.results
            if count != expected:
                yield f"{count} rows in {directory}/, but the receipt says {expected}"
        if self._made is not None and receipt.options != self._made.options_digest:
            yield "made with other options than _job.json has"

    def _file(self, output: Output, receipt: Receipt) -> Iterator[str]:
        size = self._sizes.get(output.name)
        if size is None:
            yield "missing"
            return
        whole = True
        for text in self._bytes(output, size):
            whole = False
            yield text
        if output.name.endswith(_PARQUET):
            yield from self._footer(output, receipt, size, whole=whole)

    def _bytes(self, output: Output, size: int) -> Iterator[str]:
        if size != output.size:
            yield f"{size} bytes, but the manifest says {output.size}"
        elif self.deep:
            try:
                if (found := checksum(self._layout.at(output.name))) != output.crc32c:
                    yield f"checksum {found}, but the manifest says {output.crc32c}"
            except OSError as error:
                yield f"cannot be read ({error})"

    def _footer(self, output: Output, receipt: Receipt, size: int, *, whole: bool) -> Iterator[str]:
        """What a Parquet file says of itself; of a damaged one it tells whose it is, if it can still be read."""
        try:
            footer = _read_footer(self._layout.at(output.name), size)
        except _UNREADABLE as error:
            if whole:
                yield f"its footer cannot be read ({error})"
            return
        said = {key.decode(errors="replace"): value for key, value in (footer.metadata or {}).items()}
        differing = list(self._said(said, receipt))
        if footer.num_rows != output.rows:
            differing.append(f"{footer.num_rows} rows, but the manifest says {output.rows}")
        yield from differing
        if whole and self.deep and not differing:
            yield from self._rows(output, receipt)

    def _said(self, said: Mapping[str, bytes], receipt: Receipt) -> Iterator[str]:
        wanted = [("unit", receipt.unit, "the manifest"), ("fingerprint", receipt.fingerprint, "the manifest")]
        if self._made is not None:
            wanted += [("verb", self._made.verb, "_job.json"), ("model_digest", self._made.model_digest, "_job.json")]
        for name, value, where in wanted:
            stated = said.get(f"latentlake.{name}", b"").decode(errors="replace")
            if stated != value:
                yield f"its {name} is {stated[:80]!a}, but {where} says {value!r}"

    def _rows(self, output: Output, receipt: Receipt) -> Iterator[str]:
        """All rows of a table of the job's own; images, also in a Parquet file, are proved by their checksum."""
        directory = output.name.partition("/")[0]
        if directory not in (LATENTS, METRICS, REJECTS):
            return
        uri = self._layout.at(output.name)
        try:
            with store_for(uri).open(uri) as file:
                if text := table_problem(batches(file), directory, receipt):
                    yield text
        except _UNREADABLE as error:
            yield f"its rows cannot be read ({error})"

    def _both(self, receipt: Receipt) -> str:
        """A record that is a result and a reject, of a unit whose files are right one by one."""
        by_directory = {output.name.partition("/")[0]: self._layout.at(output.name) for output in receipt.outputs}
        results = by_directory.get(LATENTS) or by_directory.get(METRICS)
        rejects = by_directory.get(REJECTS)
        if results is None or rejects is None:
            return ""
        with store_for(results).open(results) as one, store_for(rejects).open(rejects) as other:
            columns = ["shard", "index"]
            return overlap(batches(one, columns), batches(other, columns)) or ""


def _read_footer(uri: str, size: int) -> pq.FileMetaData:
    with store_for(uri).open(uri, sparse=True) as file:
        file.seek(max(0, size - _TAIL))
        tail = file.read(_TAIL)
        length = int.from_bytes(tail[-8:-4], "little") + 8
        return pq.read_metadata(file if length > len(tail) else pa.BufferReader(tail))
