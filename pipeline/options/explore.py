"""The options of the commands that look at outputs: their values, and the table of flags."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lake.cli.option import Option, count, fraction, level, positive
from lake.cli.options import STORES


@dataclass(frozen=True, slots=True, kw_only=True)
class ExploreOptions:
    """What the options are that a user does not give.

    Attributes:
      k: nearest records.
      outlier_k: which of the nearest neighbours of an outlier is far away.
      metric: how far latents are from each other.
      top: outliers.
      phash_bits: most bits in which the perceptual hashes of duplicates differ.
      max_auc: the least AUC of a classifier that tells two outputs apart that counts as drift.
      output_file: where the page of a report is written.
      map: how latents become points of a report's map.
      sample: records that a report's map, statistics of latents and drift are computed of.
    """

    k: int = 10
    outlier_k: int = 30
    metric: str = "l2"
    top: int = 20
    phash_bits: int = 2
    max_auc: float = 0.52
    output_file: str = "report.html"
    map: str = "pca"
    sample: int = 50_000


EXPLORE_DEFAULTS = ExploreOptions()


def _option(flag: str, help: str, type: Callable[[Any], Any] = str, **more: Any) -> Option:
    return Option(flag=flag, field=flag.removeprefix("--").replace("-", "_"), help=help, type=type, **more)


_K = _option("--k", "how many neighbours (default {default})", positive, metavar="N")
_METRIC = _option("--metric", "distance of latents (default {default})", choices=("cosine", "l2"))
_LATENT = _option(
    "--latent", "which latent to look at, of an output that has several (default: the first)", metavar="NAME"
)
_WRITTEN = (
    _LATENT,
    _option("--output-table", "also write the result as a Parquet table", metavar="FILE"),
    _option("--gallery", "also write the result as a page of HTML, with the images", metavar="FILE"),
    _option(
        "--cache",
        "local directory that keeps the latents (default: _cache/ in the output, if that is on a disk)",
        metavar="DIR",
    ),
    *STORES,
)
SIMILAR = (
    _option("--key", "the record with this key; the first one if several have it", metavar="KEY"),
    _option("--image", "a file of an image, which the output's own model encodes", metavar="FILE"),
    _option("--table", "a Parquet table of latents (column latent), or of keys (column key)", metavar="QUERIES"),
    _K,
    _METRIC,
    *_WRITTEN,
)
OUTLIERS = (
    _option("--top", "how many records (default {default})", positive, metavar="N"),
    _option(
        "--by",
        "the model's error, or the distance to the nearest neighbours (default: the error, where there is one)",
        choices=("error", "neighbours"),
    ),
    _option(
        "--k",
        "which of the nearest neighbours is far away; fewer outliers that are alike are found too "
        f"(default {EXPLORE_DEFAULTS.outlier_k})",
        positive,
        metavar="N",
    ),
    *_WRITTEN,
)
DUPLICATES = (
    _option(
        "--threshold",
        "largest distance of the latents of duplicates (default: a twentieth of the median distance of two records)",
        level,
        metavar="D",
    ),
    _METRIC,
    _option(
        "--phash-bits", "most bits in which their perceptual hashes differ (default {default})", count, metavar="N"
    ),
    _option("--write-list", "write what to drop: a line of JSON with shard, index and key for each", metavar="FILE"),
    *_WRITTEN,
)
COMPARE = (
    _option(
        "--max-auc",
        "the least AUC of a classifier that tells the two apart that counts as drift (default {default})",
        fraction,
        metavar="AUC",
    ),
    *_WRITTEN,
)
REPORT = (
    _option(
        "--against", "an output to compare with (default: the state of this one before its latest run)", metavar="URI"
    ),
    _option("--output-file", "where to write the page (default {default})", metavar="FILE"),
    _option(
        "--map",
        "how latents become points in two dimensions; pacmap needs the extra 'map' (default {default})",
        choices=("pca", "pacmap"),
    ),
    _LATENT,
    _option("--color-by", "column that the points are coloured by at first", metavar="COLUMN"),
    _option(
        "--sample",
        "records that the map, the statistics of latents and drift are computed of (default {default})",
        positive,
        metavar="N",
    ),
    *STORES,
)
