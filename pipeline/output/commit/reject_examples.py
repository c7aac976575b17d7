"""Examples of rejected records for the summary, so that a person sees at once what kind of records they are."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import pyarrow as pa

from lake.formats.common.parquet_file import open_parquet
from lake.storage import store_for
from pipeline.output.layout import Layout, rejects_name
from pipeline.output.manifest.manifest import Manifest
from pipeline.output.units.receipts import Receipt

_EACH = 3  # examples of a reason
_TEXT = 200  # most characters of a key or detail; both come from data and may be of any length


def examples(layout: Layout, manifest: Manifest, reasons: Sequence[str]) -> Mapping[str, list[dict[str, Any]]]:
    """Return up to three rejects for each of some reasons.

    Args:
      layout: the output.
      manifest: receipts of its units.
      reasons: the reasons.

    Returns:
      Reason -> rejects, each with shard, index, key and detail.
    """
    return {reason: list(islice(_of(layout, manifest.rejected(reason), reason), _EACH)) for reason in reasons}


def _of(layout: Layout, receipts: Iterable[Receipt], reason: str) -> Iterator[dict[str, Any]]:
    for receipt in receipts:
        name = rejects_name(receipt.unit)
        try:
            yield from _rows(layout.at(name), reason)
        except (OSError, pa.ArrowException) as error:
            # Damage to an earlier run's file must not fail this commit; verify reports it.
            yield {"detail": f"{name} cannot be read: {error}"[:_TEXT]}


def _rows(uri: str, reason: str) -> Iterator[dict[str, Any]]:
    with store_for(uri).open(uri) as file:
        columns = ["shard", "index", "key", "detail", "reason"]
        for batch in open_parquet(file).iter_batches(1024, columns=columns, use_threads=False):
            for row in batch.to_pylist():
                if row.pop("reason") == reason:
                    yield {name: value[:_TEXT] if isinstance(value, str) else value for name, value in row.items()}
