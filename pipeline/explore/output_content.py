"""What a job wrote, as it is read: its tables, latents and images, and whether it is still what was written."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from lake.cli.check import check_names, check_place, check_values, optional_fields
from lake.cli.options import STORES
from lake.core.choices import did_you_mean, quoted
from lake.core.errors import LatentlakeError, OutputError, UsageError
from lake.storage import StoreOptions, configure, configured, store_for
from pipeline.explore.answer import frame_of
from pipeline.explore.committed import Committed
from pipeline.explore.latent_cache import LatentMatrix, load_latents
from pipeline.explore.query_image import Name
from pipeline.output.state.state_file import read_summary
from pipeline.output.units.tables import REJECT_SCHEMA
from pipeline.tables.table_file import read_table_record

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow.dataset as ds
    from PIL.Image import Image

    from lake.core.records import OutputFile
    from pipeline.output.units.receipts import Receipt
    from pipeline.output.verify import VerifyReport

_SHOWN = 12  # images of a strip


class OutputContent:
    """The content of a finished output: the part of ``pipeline.explore.output.Output`` that asks nothing of it."""

    def __init__(self, output: Name, *, cache: Name | None = None, latent: str | None = None, **stores: Any) -> None:
        check_names(stores, [option.field for option in STORES])
        checked = check_values(stores, STORES, optional=optional_fields(StoreOptions))
        self._stores = replace(configured(), **checked)
        place = check_place("output", output)
        self._cache = None if cache is None else check_place("cache", cache)
        with self._reached():
            self._committed = Committed.read(place, latent)
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

    def to_pandas(self, columns: str | Sequence[str] | None = None) -> "pd.DataFrame":
        """The rows of all results as a data frame of pandas.

        Args:
          columns: names of the columns, or one name; None for all.

        Raises:
          UsageError: pandas is not installed, or there is no such column.
        """
        from pipeline.explore.similar import key_list

        table = self.table
        names = None if columns is None else key_list(columns)
        for name in names or ():
            if name not in table.schema.names:
                known = ", ".join(table.schema.names)
                near = did_you_mean(str(name), table.schema.names)
                raise UsageError(f"{self.uri} has no column {quoted(name)}; it has {known}{near}")
        return frame_of(table.to_table(columns=names), ".table.to_table() needs none")

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
        from pipeline.explore.similar import key_list

        with self._reached():
            return images_of(self._committed, key_list(keys))

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

    @contextmanager
    def _reached(self) -> Iterator[None]:
        """Reach the stores as this output was opened, within the block."""
        before = configured()
        configure(self._stores)
        try:
            yield
        finally:
            configure(before)
