"""The report of an output that has images alone, such as one of ``decode``: no table says anything of them."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from pipeline.explore.committed import Committed
from pipeline.explore.image_places import image_files
from pipeline.output.receipts import Receipt, sum_counts
from pipeline.report.choose import SHOWN
from pipeline.report.facts import ReportFacts
from pipeline.report.headline import make_headline
from pipeline.report.load_images import ImageLoader, Wanted
from pipeline.report.pictures import Budget
from pipeline.report.reject_facts import reject_facts
from pipeline.report.run_facts import run_facts
from pipeline.report.shown import ImageFacts, RecordName, Strip
from pipeline.report.shown_records import PICTURE_BYTES

_KEY = 200  # characters
_UNITS = 1000  # whose images are drawn from


def facts_of_images(committed: Committed, summary: Mapping[str, Any] | None) -> ReportFacts:
    """Gather what a report shows of images of which no table says anything.

    Args:
      committed: the output.
      summary: of its latest run; None if that is lost.
    """
    files = [(receipt, row) for receipt in committed.receipts[:_UNITS] for row in _some_rows(receipt)]
    drawn = np.sort(np.random.default_rng(2).permutation(len(files))[:SHOWN]).tolist()
    wanted = [Wanted(receipt=files[at][0], row=files[at][1], shard="", index=0, key="") for at in drawn]
    loader = ImageLoader(committed=committed, budget=Budget(PICTURE_BYTES))
    images = [
        ImageFacts(
            record=RecordName(key=loaded.key[:_KEY], shard=wanted[at].receipt.unit, index=wanted[at].row),
            picture=loaded.picture,
        )
        for at, loaded in sorted(loader.load(wanted).items())
    ]
    rejects = reject_facts(committed)
    none = dict.fromkeys(("against", "partitions", "duplicates", "outliers", "latents", "noise"))
    count = sum_counts(committed.receipts)["read"]
    headline = make_headline(count=count, what="images", summary=summary, look=images, rejects=rejects, **none)
    return ReportFacts(
        output=committed.layout.output,
        headline=headline,
        run=run_facts(committed, summary),
        strips=[Strip(name="random", text="Drawn at random.", images=images)] if images else [],
        rejects=rejects,
        notes=[f"Images: {loader.why_not}."] if loader.why_not and not images else [],
    )


def _some_rows(receipt: Receipt) -> list[int]:
    """Some images of a unit, by number."""
    count = sum(count for _, count in image_files(receipt))
    return np.unique(np.linspace(0, max(count - 1, 0), min(count, SHOWN)).astype(np.int64)).tolist() if count else []
