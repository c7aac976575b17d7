"""The records that are most like some queries: records of the output, images, or rows of a table."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lake.core.choices import quoted
from lake.core.errors import InputError, UsageError
from lake.core.records import Array
from lake.formats.common.parquet_file import open_parquet
from lake.storage import store_for
from pipeline.explore.answer import TableAnswer
from pipeline.explore.committed import take_rows
from pipeline.explore.latent_cache import LatentMatrix
from pipeline.explore.latent_reader import LatentReader
from pipeline.explore.nearest import Metric, find_nearest


@dataclass(frozen=True, slots=True, kw_only=True)
class Similar(TableAnswer):
    """The records that are most like some queries.

    Whatever else a table of PyArrow has is its table's: ``similar.column("distance")``.

    Attributes:
      table: a row for each neighbour: ``query`` (its name), ``rank`` from 1, ``key``, ``shard``, ``index`` and
        ``distance``.
      metric: of the distances.
    """

    table: pa.Table
    metric: Metric

    def __getattr__(self, name: str) -> Any:
        # A copy asks for fields before there are any.
        if name.startswith("_") or name == "table":
            raise AttributeError(name)
        return getattr(self.table, name)

    def __getitem__(self, column: int | str) -> pa.ChunkedArray:
        return self.table[column]


def similar_to_keys(latents: LatentMatrix, keys: Sequence[str], k: int, metric: Metric) -> Similar:
    """Find what is nearest to some records of an output. They are not among their own neighbours.

    Args:
      latents: of the output.
      keys: of the records; of a key that several records have, the first is meant.
      k: how many for each.
      metric: of the distances.

    Raises:
      InputError: no record has one of the keys.
    """
    own = first_rows(latents.keys, keys)
    positions, distances = find_nearest(latents.values, latents.norms, latents.values[own], k + 1, metric)
    others = positions != own[:, None]
    # Where more than k records are equal to it, it may be missing itself.
    others[others.all(1), -1] = False
    shape = len(keys), positions.shape[1] - 1
    return _found(latents, keys, positions[others].reshape(shape), distances[others].reshape(shape), metric)


def similar_to(latents: LatentMatrix, names: Sequence[str], queries: Array, k: int, metric: Metric) -> Similar:
    """Find what is nearest to some latents.

    Args:
      latents: of the output.
      names: of the queries.
      queries: float32 ``[q, D]``.
      k: how many for each.
      metric: of the distances.

    Raises:
      UsageError: the queries are of another length, or not finite.
    """
    if queries.shape[1] != latents.values.shape[1]:
        raise UsageError(
            f"queries of {queries.shape[1]} numbers, and the output has latents of {latents.values.shape[1]}; "
            "make them with its model"
        )
    if not np.isfinite(queries).all():
        raise UsageError("queries with NaN or infinity have no distance to anything; leave them out")
    return _found(latents, names, *find_nearest(latents.values, latents.norms, queries, k, metric), metric)


def key_list(keys: Any) -> list[Any]:
    """One key, or several, as a list; also those of Arrow.

    >>> key_list("a"), key_list(("a", "b")), key_list(pa.array(["a"])), key_list(pa.scalar("a"))
    (['a'], ['a', 'b'], ['a'], ['a'])
    """
    if isinstance(keys, pa.Array | pa.ChunkedArray | pa.Scalar):
        keys = keys.as_py() if isinstance(keys, pa.Scalar) else keys.to_pylist()
    several = [keys] if isinstance(keys, str) or not hasattr(keys, "__iter__") else [*keys]
    return [str(key) if isinstance(key, str) else key for key in several]  # a text of NumPy is one of its own class


def first_rows(column: pa.ChunkedArray, keys: Sequence[str]) -> Array:
    """The first row with each key, int64 ``[q]``.

    Args:
      column: the keys of all rows.
      keys: those that are wanted.

    Raises:
      InputError: no row has one of them.
      UsageError: one of them is no text.

    >>> first_rows(pa.chunked_array([["a", "b", "a"]]), ["b", "a"]).tolist()
    [1, 0]
    """
    no_text = f"{quoted(keys)}: keys are text, such as '204'"
    try:
        wanted = pa.array(keys, pa.string())
    except pa.ArrowException as error:
        raise UsageError(no_text) from error
    if wanted.null_count:
        raise UsageError(no_text)
    found = pc.index_in(column, value_set=wanted)
    rows = np.flatnonzero(found.is_valid().to_numpy())
    first = dict(zip(reversed(found.drop_null().to_pylist()), reversed(rows.tolist()), strict=True))
    numbers = pc.index_in(wanted, value_set=wanted).to_pylist()  # a key may be asked for twice
    for key, number in zip(keys, numbers, strict=True):
        if number not in first:
            known = f"; keys are such as {quoted(column[0].as_py())}" if len(column) else ": there are no results"
            raise InputError(f"no record has the key {quoted(key)}{known}")
    return np.array([first[number] for number in numbers], np.int64)


def read_queries(uri: str) -> tuple[list[str], Array | None]:
    """Read a table of queries.

    Args:
      uri: of a Parquet file with a column ``latent``, or with keys in a column ``key``.

    Returns:
      Names of the queries, and their latents float32 ``[q, D]``; None for a table of keys.

    Raises:
      InputError: it is no such table.
    """
    try:
        with store_for(uri).open(uri) as stream:
            parquet = open_parquet(stream)
            names = [name for name in ("key", "latent") if name in parquet.schema_arrow.names]
            table = parquet.read(names, use_threads=False).replace_schema_metadata(parquet.metadata.metadata)
    except FileNotFoundError as error:
        raise InputError(f"{uri}: no such file") from error
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{uri}: no Parquet table ({error})") from error
    if not names:
        raise InputError(f"{uri} has neither a column latent nor a column key")
    keys = table.column("key").cast(pa.string()).to_pylist() if "key" in names else None
    if "latent" not in names:
        if keys is None or None in keys:
            raise InputError(f"{uri}: a key is null")
        return keys, None
    labels = [f"row {row}" if key is None else key for row, key in enumerate(keys or [None] * len(table))]
    return labels, _numbers(uri, table)


def _numbers(uri: str, table: pa.Table) -> Array:
    lists = table.column("latent").combine_chunks()
    if pa.types.is_list(lists.type) and len(lengths := set(pc.list_value_length(lists).to_pylist())) == 1:
        lists = lists.cast(pa.list_(pa.float32(), lengths.pop() or 0))
    if not pa.types.is_fixed_size_list(lists.type):
        raise InputError(f"{uri}: column latent is {lists.type}, not lists of one length")
    if lists.null_count or lists.flatten().null_count:
        raise InputError(f"{uri}: a latent is null, or a number of one")
    if lists.type.value_type == pa.float64():
        lists = lists.cast(pa.list_(pa.float32(), lists.type.list_size))
    schema = pa.schema([("latent", lists.type)], metadata=table.schema.metadata)
    return LatentReader.of(schema, uri).read(lists)


def _found(latents: LatentMatrix, names: Sequence[str], positions: Array, distances: Array, metric: Metric) -> Similar:
    found = take_rows(latents.rows, positions.ravel())
    count = positions.shape[1]
    found = found.add_column(0, "query", pa.array(np.repeat(np.array([*names], object), count), pa.string()))
    found = found.add_column(1, "rank", pa.array(np.tile(np.arange(1, count + 1, dtype=np.int32), len(names))))
    return Similar(table=found.append_column("distance", pa.array(distances.ravel())), metric=metric)
