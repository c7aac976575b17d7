"""The report of an output without tables: images alone, such as those of ``decode``, or latents for trainers."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np

from lake.core.errors import LatentlakeError
from pipeline.explore.committed import Committed
from pipeline.explore.image_places import image_files, writes_images
from pipeline.options.latent_form import PARQUET
from pipeline.output.units.receipts import Receipt, sum_counts
from pipeline.report.choose import SHOWN
from pipeline.report.facts import ReportFacts
from pipeline.report.headline import make_headline
from pipeline.report.load_images import ImageLoader, Wanted
from pipeline.report.pictures import Budget
from pipeline.report.reject_facts import reject_facts
from pipeline.report.run_facts import run_facts
from pipeline.report.shown import ImageFacts, RecordName, Strip
from pipeline.report.shown_records import PICTURE_BYTES
from pipeline.report.trainer_samples import first_identities

_KEY = 200  # characters
_UNITS = 1000  # whose images are drawn from


def facts_without_tables(
    committed: Committed, summary: Mapping[str, Any] | None, *, tables_asked: bool = False
) -> ReportFacts:
    """Gather what a report shows of records of which no table says anything.

    Args:
      committed: the output.
      summary: of its latest run; None if that is lost.
      tables_asked: whether something was asked for that only tables tell.
    """
    wanted = _written(committed) if writes_images(committed) else _read(committed)
    loader = ImageLoader(committed=committed, budget=Budget(PICTURE_BYTES))
    images = [
        ImageFacts(record=_name(wanted[at], loaded.key), picture=loaded.picture)
        for at, loaded in sorted(loader.load(wanted).items())
    ]
    rejects = reject_facts(committed)
    none = dict.fromkeys(("against", "partitions", "duplicates", "outliers", "latents", "noise"))
    count = sum_counts(committed.receipts)["read"]
    what = "images" if loader.has_images else "records"
    headline = make_headline(count=count, what=what, summary=summary, look=images, rejects=rejects, **none)
    return ReportFacts(
        output=committed.layout.output,
        headline=headline,
        run=run_facts(committed, summary),
        strips=[Strip(name="random", text="Drawn at random.", images=images)] if images else [],
        rejects=rejects,
        notes=[
            *([f"Images: {loader.why_not}."] if loader.why_not and not images else []),
            *_notes(committed, tables_asked=tables_asked),
        ],
    )


def _notes(committed: Committed, *, tables_asked: bool) -> list[str]:
    notes = ["Nothing is compared or coloured (--against, --color-by), for there is no table."] if tables_asked else []
    if committed.latent_format != PARQUET:
        notes.append(
            f"Latents: they are in {committed.latent_format}, for trainers, and are not shown. Those of a job with "
            "--latent-format parquet are, with duplicates, outliers, drift and a map."
        )
    return notes


def _written(committed: Committed) -> list[Wanted]:
    """Some of the images that the job wrote, drawn at random."""
    files = [(receipt, row) for receipt in committed.receipts[:_UNITS] for row in _some_rows(receipt)]
    drawn = np.sort(np.random.default_rng(2).permutation(len(files))[:SHOWN]).tolist()
    return [Wanted(receipt=files[at][0], row=files[at][1], shard="", index=0, key="") for at in drawn]


def _read(committed: Committed) -> list[Wanted]:
    """Some of the records that the job read: the first ones of units that are drawn at random."""
    receipts = [receipt for receipt in committed.receipts if receipt.results]
    drawn = np.sort(np.random.default_rng(2).permutation(len(receipts))[:SHOWN]).tolist()
    each, found = -(-SHOWN // max(1, len(drawn))), list[Wanted]()
    for receipt in (receipts[at] for at in drawn):
        with suppress(LatentlakeError, OSError, ValueError, EOFError):  # which verify tells
            names = first_identities(receipt, committed.layout, each)
            found += [Wanted(receipt=receipt, row=0, shard=one[1], index=one[2], key=one[0]) for one in names]
    return found[:SHOWN]


def _name(wanted: Wanted, key: str) -> RecordName:
    if wanted.shard:
        return RecordName(key=key[:_KEY], shard=wanted.shard, index=wanted.index)
    return RecordName(key=key[:_KEY], shard=wanted.receipt.unit, index=wanted.row)


def _some_rows(receipt: Receipt) -> list[int]:
    """Some images of a unit, by number."""
    count = sum(count for _, count in image_files(receipt))
    return np.unique(np.linspace(0, max(count - 1, 0), min(count, SHOWN)).astype(np.int64)).tolist() if count else []
