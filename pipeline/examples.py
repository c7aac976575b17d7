"""Examples of rejects, for the summary: a person sees at once what the records look like that a reason is about."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.layout import Layout, rejects_name
from pipeline.receipts import Receipt
from pipeline.storage import store_for

_EACH = 3
_TEXT = 200  # characters of a key or detail: both come from data


def examples(layout: Layout, receipts: Iterable[Receipt], reasons: Sequence[str]) -> Mapping[str, list[dict[str, Any]]]:
    """A few rejects of each of some reasons: shard, index, key and detail."""
    known = list(receipts)
    return {reason: list(islice(_of(layout, known, reason), _EACH)) for reason in reasons}


def _of(layout: Layout, receipts: Iterable[Receipt], reason: str) -> Iterator[dict[str, Any]]:
    for receipt in sorted((r for r in receipts if reason in r.rejects), key=lambda receipt: receipt.unit):
        name = rejects_name(receipt.unit)
        try:
            yield from _rows(layout.at(name), reason)
        except (OSError, pa.ArrowException) as error:  # of an earlier run's file: verify says more of it
            yield {"detail": f"{name} cannot be read: {error}"[:_TEXT]}


def _rows(uri: str, reason: str) -> Iterator[dict[str, Any]]:
    with store_for(uri).open(uri) as file:
        columns = ["shard", "index", "key", "detail", "reason"]
        for batch in pq.ParquetFile(file).iter_batches(1024, columns=columns, use_threads=False):
            for row in batch.to_pylist():
                if row.pop("reason") == reason:
                    yield {name: value[:_TEXT] if isinstance(value, str) else value for name, value in row.items()}
