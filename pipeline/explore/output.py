"""What a job wrote, as one object: its content, and the questions that people ask of it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lake.cli.check import check_place, check_values
from lake.cli.option import Option
from lake.core.errors import UsageError
from lake.core.records import Array
from pipeline.explore.committed import Committed
from pipeline.explore.drift import Drift, find_drift
from pipeline.explore.duplicates import Duplicates, Sameness, find_copies, find_duplicates
from pipeline.explore.nearest import Metric
from pipeline.explore.outliers import Outliers, Score, find_outliers
from pipeline.explore.output_content import OutputContent
from pipeline.explore.query_image import Name, encode_image, image_bytes, image_name
from pipeline.explore.similar import Similar, key_list, read_queries, similar_to, similar_to_keys
from pipeline.options.explore import COMPARE, DUPLICATES, EXPLORE_DEFAULTS, OUTLIERS, REPORT, SIMILAR

if TYPE_CHECKING:
    from pipeline.report.make_gallery import ExploreResult
    from pipeline.report.report import Report


class Output(OutputContent):
    """A finished output, as it was when this object was made. Nothing of it is changed, but that latents are cached.

    Args:
      output: URI or path of the output.
      cache: local directory that keeps the latents; None for ``_cache/`` in an output on a disk.
      latent: which of its latents to look at, where it has several; None for the first.
      stores: how to reach it, by the fields of ``lake.storage.StoreOptions``.

    Raises:
      OutputError: there is no output there, or no run over it has come to its end.
      VerifyError: its state is damaged.
      UsageError: an option of the stores is unknown, or it has no latents of this name.
    """

    def similar(
        self,
        key: str | Sequence[str] | None = None,
        *,
        image: Name | bytes | None = None,
        table: Name | None = None,
        latents: Array | None = None,
        k: int = EXPLORE_DEFAULTS.k,
        metric: str = EXPLORE_DEFAULTS.metric,
    ) -> Similar:
        """Find the records whose latents are nearest: exact, over all of them.

        Args:
          key: of a record of this output, or several; they are not among their own neighbours.
          image: file of an image, or its bytes, which the output's own model encodes.
          table: a Parquet table with a column ``latent``, or with keys in a column ``key``.
          latents: float ``[q, D]``.
          k: how many.
          metric: ``l2`` or ``cosine``.

        Returns:
          ``.table`` has a row for each neighbour: ``query``, ``rank`` from 1, ``key``, ``shard``, ``index`` and
          ``distance``.

        Raises:
          UsageError: not exactly one query is given, or it does not go with this output.
          InputError: no record has the key, or the image is none.
        """
        checked = _checked(SIMILAR, k=k, metric=metric)
        if sum(query is not None for query in (key, image, table, latents)) != 1:
            raise UsageError("give one of --key, --image and --table, or in Python of key, image, table and latents")
        count, chosen = checked["k"], Metric(checked["metric"])
        with self._reached():
            if table is not None:
                names, found = read_queries(check_place("table", table))
                key, latents = (names, None) if found is None else (None, found)
            elif image is not None:
                names = [image_name(image)]
                latents = encode_image(self._committed, image_bytes(image), names[0])
            elif latents is not None:
                latents = _rows(latents)
                names = [f"row {row}" for row in range(len(latents))]
            if latents is not None:
                return similar_to(self._latents, names, latents.astype("float32", copy=False), count, chosen)
            return similar_to_keys(self._latents, key_list(key), count, chosen)

    def outliers(
        self, *, top: int = EXPLORE_DEFAULTS.top, by: str | None = None, k: int = EXPLORE_DEFAULTS.outlier_k
    ) -> Outliers:
        """Find the records that are least like the others.

        Args:
          top: how many.
          by: ``error`` for the model's error, ``neighbours`` for the distance to the k-th nearest; None for the
            error where there is one.
          k: which neighbour. Outliers that are like each other are found while there are at most k of them.

        Raises:
          UsageError: the output has no such score.
        """
        checked = _checked(OUTLIERS, top=top, by=by, k=k)
        score = None if by is None else Score(checked["by"])
        with self._reached():
            return find_outliers(self._committed, checked["top"], score, checked["k"], self._cache)

    def duplicates(
        self,
        against: "Output | Name | None" = None,
        *,
        threshold: float | None = None,
        metric: str = EXPLORE_DEFAULTS.metric,
        phash_bits: int = EXPLORE_DEFAULTS.phash_bits,
    ) -> Duplicates:
        """Find records that are the same, or nearly: by their bytes and perceptual hashes, and by their latents.

        Bytes and perceptual hashes are compared where the jobs ran with ``--hash``.

        Args:
          against: another output: find the records of this one that it has, too. None to compare the records here.
          threshold: largest distance of two latents; None for a twentieth of the median distance of two records.
          metric: of this distance, ``l2`` or ``cosine``.
          phash_bits: most bits in which two perceptual hashes differ.

        Raises:
          UsageError: there is nothing to compare, or far too many records are within the threshold.
        """
        checked = _checked(DUPLICATES, threshold=threshold, metric=metric, phash_bits=phash_bits)
        sameness = Sameness(**{**checked, "metric": Metric(checked["metric"])})
        with self._reached():
            if against is None:
                return find_duplicates(self._committed, sameness, self._cache)
            return find_copies(self._committed, self._other(against), sameness, self._cache)

    def compare(self, other: "Output | Name", *, max_auc: float = EXPLORE_DEFAULTS.max_auc) -> Drift:
        """Tell whether the data of another output have drifted from those of this one.

        Args:
          other: an output of the same model.
          max_auc: the least AUC of a classifier that tells the two apart that counts as drift.

        Raises:
          UsageError: the outputs are of different models, or have too few records.
        """
        checked = _checked(COMPARE, max_auc=max_auc)
        with self._reached():
            return find_drift(self._committed, self._other(other), checked["max_auc"], self._cache)

    def report(
        self,
        file: Name = EXPLORE_DEFAULTS.output_file,
        *,
        against: "Output | Name | None" = None,
        map: str = EXPLORE_DEFAULTS.map,
        color_by: str | None = None,
        sample: int = EXPLORE_DEFAULTS.sample,
    ) -> "Report":
        """Write a page that says whether the run was good, and which images to look at.

        Needs the packages of ``pip install 'latentlake[report]'``. Memory is bounded, whatever the size of the output.

        Args:
          file: where to write the page: path, or URI in a store.
          against: an output to compare this one with; None for what this one held before its latest run.
          map: ``pca`` or ``pacmap``, which needs ``pip install 'latentlake[map]'``.
          color_by: column that the map is coloured by at first.
          sample: records that the map, the statistics of latents and drift are computed of.

        Returns:
          The page's file, and what its first screen says.

        Raises:
          UsageError: a package is missing, or the output has no such column.
          OSError: the page cannot be written.
        """
        from pipeline.report.make_facts import ReportChoices
        from pipeline.report.report import make_report

        checked = check_values({"map": map, "color_by": color_by, "sample": sample}, REPORT, optional=("color_by",))
        place = check_place("file", file)
        with self._reached():
            other = None if against is None else self._other(against)
            return make_report(self._committed, place, other, ReportChoices(**checked))

    def gallery(
        self,
        found: "ExploreResult",
        file: Name,
        *,
        other: "Output | Name | None" = None,
        image: Name | bytes | None = None,
    ) -> None:
        """Write an answer about this output as one page of HTML, with the images that it names.

        Needs the packages of ``pip install 'latentlake[report]'``.

        Args:
          found: what ``similar``, ``outliers``, ``duplicates`` or ``compare`` returned.
          file: where to write the page: path, or URI in a store.
          other: the other output, where the answer is about two.
          image: the image that was the query of ``similar``, where it was one.

        Raises:
          UsageError: a package is missing, or an answer about two outputs is given without the other one.
          OSError: the page cannot be written.
        """
        from pipeline.report.make_gallery import write_gallery

        place = check_place("file", file)
        with self._reached():
            against = None if other is None else self._other(other)
            query = None if image is None else image_bytes(image)
            write_gallery(self._committed, found, place, other=against, image=query, cache=self._cache)

    def _other(self, other: "Output | Name") -> Committed:
        if isinstance(other, Output):
            return other._committed
        return Committed.read(check_place("other output", other), self._latent)


def _rows(latents: Any) -> Array:
    try:
        rows = np.asarray(latents, np.float32)
    except (TypeError, ValueError) as error:
        raise UsageError(f"latents: {error}; give a row of numbers for each query: [q, D]") from error
    if rows.ndim != 2:
        raise UsageError(f"latents: numbers of shape {rows.shape}; give a row of them for each query: [q, D]")
    return rows


def _checked(table: Sequence[Option], **values: Any) -> dict[str, Any]:
    return check_values(values, table, optional=("by", "threshold"))
