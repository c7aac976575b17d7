"""Decide which columns a job reads, by looking at the first shards of the input."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import islice

import pyarrow as pa

from lake.core.errors import InputError, NoRecordsError, ShardError, UnreadableError
from lake.core.records import Shard
from lake.formats import FORMATS, MIXED
from lake.formats.common.shard_errors import as_shard_error, missing_link
from lake.formats.reader import ColumnSelection, Reader, RecordSchema
from lake.inputs.discover import Found
from lake.inputs.mixed import settle_mixed

_LOOKED_AT = 10  # shards that are tried
_EMPTY_AT_MOST = 1000  # shards that are looked at, since some have no records


def settle(found: Found, selection: ColumnSelection, before: RecordSchema | None = None) -> RecordSchema:
    """Resolve a selection against the first shard that has the columns.

    A damaged shard is passed over here; it fails its own unit later. So is one without records. If no shard has any,
    the result is not ``settled``: a later run, over shards with records, decides. Carried columns get types that hold
    the values of the next shards too, where these differ only by writer.

    Args:
      found: the shards of the input.
      selection: what the user and the model ask for.
      before: of an input of several formats, the columns that an earlier run settled; None for a first run.

    Raises:
      InputError: none of the first ten shards with records has what is asked for.
    """
    if found.format == MIXED:
        return settle_mixed(found.mixed, selection, _settle_one_of_several, before)
    if (selection.image_shape or selection.image_dtype) and not FORMATS[found.format].reader.bare:
        takers = ", ".join(name for name, known in FORMATS.items() if known.reader.bare)
        problem = f"{found.format} shards say of what shape and type their images are"
        raise InputError(f"{problem}; leave out --image-shape and --image-dtype, which are for {takers}")
    return _settle(found.format, found.shards, selection)


def _settle_one_of_several(format: str, shards: Sequence[Shard], selection: ColumnSelection) -> RecordSchema:
    """As ``_settle``. Where all shards of one format are damaged, those of the others can be read all the same."""
    try:
        return _settle(format, shards, selection)
    except InputError as error:
        if isinstance(error.__cause__, ShardError):
            return _unsettled(selection)
        raise


def _settle(format: str, some: Sequence[Shard], selection: ColumnSelection) -> RecordSchema:
    wrong: list[InputError | ShardError] = []
    reader = FORMATS[format].reader
    shards = iter(some[:_EMPTY_AT_MOST])
    for shard in shards:
        try:
            check_there(shard, reader)
            columns = settle_shard(format, shard, selection)
        except NoRecordsError:
            continue
        except (InputError, ShardError) as error:
            wrong.append(error)
        else:
            return _widened(format, islice(shards, _LOOKED_AT - 1 - len(wrong)), columns)
        if len(wrong) == _LOOKED_AT:
            break
    if not wrong:
        return _unsettled(selection)
    first = wrong[0]
    if isinstance(first, InputError):
        raise first
    raise InputError(f"none of the first {len(wrong)} shards can be read: {first}") from first


def _unsettled(selection: ColumnSelection) -> RecordSchema:
    """What is read of shards without records."""
    columns = selection.resolved(
        image=selection.image or "", key=selection.key, carry=pa.schema([]), length=selection.length
    )
    return replace(columns, settled=False)


def _widened(format: str, shards: Iterable[Shard], columns: RecordSchema) -> RecordSchema:
    for shard in shards:
        with suppress(ShardError, NoRecordsError), as_shard_error(shard):
            columns = FORMATS[format].reader.widen(shard, columns)
    return columns


def settle_shard(format: str, shard: Shard, selection: ColumnSelection) -> RecordSchema:
    """Resolve a selection against one shard, which may be damaged in a way that its reader did not foresee.

    Args:
      format: of the shard.
      shard: the one to look at.
      selection: what the user and the model ask for.

    Raises:
      InputError: it lacks what is asked for.
      ShardError: it cannot be read.
    """
    with as_shard_error(shard):
        return FORMATS[format].reader.settle(shard, selection)


def check_there(shard: Shard, reader: Reader) -> None:
    """Check that a shard is no link to a file that does not exist. Of a folder such a file is a reject instead.

    Args:
      shard: the shard.
      reader: of its format.

    Raises:
      UnreadableError: it is; the text says what to do.
    """
    if not reader.grouped and (missing := missing_link(shard)):
        raise UnreadableError(shard.path, missing)
