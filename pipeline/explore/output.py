"""What a job wrote, as one object: its tables, latents and images, and the questions that people ask of them."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from os import fspath
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from lake.cli.check import check_names, check_values, optional_fields
from lake.cli.option import Option
from lake.cli.options import STORES
from lake.core.errors import LatentlakeError, OutputError, UsageError
from lake.core.records import Array
from lake.storage import StoreOptions, configure, configured, store_for
from pipeline.explore.committed import Committed
from pipeline.explore.drift import Drift, find_drift
from pipeline.explore.duplicates import Duplicates, Sameness, find_copies, find_duplicates
from pipeline.explore.latent_cache import LatentMatrix, load_latents
from pipeline.explore.nearest import Metric
from pipeline.explore.outliers import Outliers, Score, find_outliers
from pipeline.explore.query_image import Name, encode_image, image_bytes, image_name
from pipeline.explore.similar import Similar, read_queries, similar_to, similar_to_keys
from pipeline.options.explore import COMPARE, DUPLICATES, EXPLORE_DEFAULTS, OUTLIERS, REPORT, SIMILAR
from pipeline.output.state_file import read_summary
from pipeline.output.tables import REJECT_SCHEMA
from pipeline.tables.table_file import read_table_record

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow.dataset as ds
    from PIL.Image import Image

    from lake.core.records import OutputFile
    from pipeline.output.receipts import Receipt
    from pipeline.output.verify import VerifyReport
    from pipeline.report.make_gallery import ExploreResult
    from pipeline.report.report import Report

_SHOWN = 12  # images of a strip


class Output:
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

    def __init__(self, output: Name, *, cache: Name | None = None, latent: str | None = None, **stores: Any) -> None:
        check_names(stores, [option.field for option in STORES])
        checked = check_values(stores, STORES, optional=optional_fields(StoreOptions))
        self._stores = replace(configured(), **checked)
        self._cache = None if cache is None else fspath(cache)
        with self._reached():
            self._committed = Committed.read(fspath(output), latent)
        self._latent = latent

    @property
    def uri(self) -> str:
        """Where it is."""
        return self._committed.layout.output

    @property
    def verb(self) -> str:
        """What the job computed, such as ``encode``."""
        return self._committed.verb

    @property
    def table(self) -> "ds.Dataset":
        """The rows of all results, as a dataset of PyArrow: of the committed tables, whatever lies beside them."""
        return self._dataset(self._committed.tables, self._committed.schema)

    @property
    def rejects(self) -> "ds.Dataset":
        """The rejected records, as a dataset of PyArrow."""
        return self._dataset(self._committed.reject_tables, lambda: REJECT_SCHEMA)

    def _dataset(self, files: "Sequence[tuple[Receipt, OutputFile]]", schema: Callable[[], pa.Schema]) -> "ds.Dataset":
        # With PyArrow's datasets pandas is imported, if there is one, and commands need neither.
        from pipeline.explore.dataset import open_dataset

        with self._reached():
            return open_dataset(self._committed, files, schema())

    @property
    def summary(self) -> dict[str, Any]:
        """What ``_SUCCESS`` says.

        Raises:
          OutputError: the output is not complete, so that it has none.
        """
        with self._reached():
            uri = self._committed.layout.success
            if store_for(uri).stat(uri) is None:
                raise OutputError(f"{self.uri} is not complete: no _SUCCESS; see 'latentlake status {self.uri}'")
            return read_summary(uri)

    @property
    def snapshot(self) -> str | None:
        """Id of the last snapshot of the table of a lake's catalog that has the latents; None where there is none."""
        with self._reached():
            record = read_table_record(self._committed.layout)
            return record.snapshot or None if record else None

    def to_pandas(self, columns: Sequence[str] | None = None) -> "pd.DataFrame":
        """The rows of all results as a data frame of pandas.

        Args:
          columns: names of the columns; None for all.

        Raises:
          UsageError: pandas is not installed.
        """
        try:
            import pandas  # noqa: F401
        except ImportError as error:
            raise UsageError("to_pandas needs pandas, which is not installed; .table.to_table() needs none") from error
        return self.table.to_table(columns=None if columns is None else [*columns]).to_pandas()

    def latents(self) -> LatentMatrix:
        """All latents, memory-mapped: ``values`` float32 ``[n, D]``, ``keys`` and ``rows`` (key, shard, index).

        The first call fills the cache, in one pass over the tables; later ones, of other processes too, open it.

        Raises:
          UsageError: the output has none, or no place for the cache.
        """
        return self._latents

    @cached_property
    def _latents(self) -> LatentMatrix:
        with self._reached():
            return load_latents(self._committed, self._cache)

    def images(self, keys: str | Sequence[str]) -> "dict[str, Image]":
        """Images of some records: what the job made of them if it wrote images, else what it read.

        Args:
          keys: of the records; of a key that several records have, the first is meant.

        Returns:
          Images of Pillow by key, in 8 bits.

        Raises:
          InputError: no record has one of the keys, or the input is no longer what it was.
        """
        from pipeline.explore.pictures import images_of

        with self._reached():
            return images_of(self._committed, [keys] if isinstance(keys, str) else keys)

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
                names, found = read_queries(fspath(table))
                key, latents = (names, None) if found is None else (None, found)
            elif image is not None:
                names = [image_name(image)]
                latents = encode_image(self._committed, image_bytes(image), names[0])
            elif latents is not None:
                names = [f"row {row}" for row in range(len(latents))]
            if latents is not None:
                return similar_to(self._latents, names, latents.astype("float32", copy=False), count, chosen)
            assert key is not None
            return similar_to_keys(self._latents, [key] if isinstance(key, str) else key, count, chosen)

    def outliers(
        self, *, top: int = EXPLORE_DEFAULTS.top, by: str | None = None, k: int = EXPLORE_DEFAULTS.k
    ) -> Outliers:
        """Find the records that are least like the others.

        Args:
          top: how many.
          by: ``error`` for the model's error, ``neighbours`` for the mean distance to the nearest ones; None for the
            error where there is one.
          k: how many neighbours count.

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
        with self._reached():
            other = None if against is None else self._other(against)
            return make_report(self._committed, fspath(file), other, ReportChoices(**checked))

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

        with self._reached():
            against = None if other is None else self._other(other)
            query = None if image is None else image_bytes(image)
            write_gallery(self._committed, found, fspath(file), other=against, image=query, cache=self._cache)

    def verify(self, *, deep: bool = False) -> "VerifyReport":
        """Compare the output, as it is now, with its manifest.

        Args:
          deep: also read every byte and every row.
        """
        from pipeline.output.verify import verify

        with self._reached():
            return verify(self.uri, deep=deep)

    def __len__(self) -> int:
        return self._committed.rows

    def __repr__(self) -> str:
        return f"Output({self.uri!r}: {self._committed.headline})"

    def _repr_html_(self) -> str:
        from pipeline.explore.html import strip_of
        from pipeline.explore.pictures import first_images

        with self._reached():
            try:
                images = first_images(self._committed, _SHOWN)
            except (LatentlakeError, OSError):  # the input may be gone, and the headline is right without it
                images = []
        return strip_of(f"{self.uri}: {self._committed.headline}", images)

    def _other(self, other: "Output | Name") -> Committed:
        return other._committed if isinstance(other, Output) else Committed.read(fspath(other), self._latent)

    @contextmanager
    def _reached(self) -> Iterator[None]:
        """Reach the stores as this output was opened, within the block."""
        before = configured()
        configure(self._stores)
        try:
            yield
        finally:
            configure(before)


def _checked(table: Sequence[Option], **values: Any) -> dict[str, Any]:
    return check_values(values, table, optional=("by", "threshold"))
