"""Tell the lineage of a run: who waits for its end tells the end, else its commit does."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any
from uuid import NAMESPACE_URL, UUID, uuid5

import pyarrow as pa

from lake.core.printable import printable
from pipeline.config import table_version
from pipeline.lineage.events import EventType, Lineage, Parent, event
from pipeline.lineage.transport import is_told, send
from pipeline.output.layout import IMAGES, Layout, table_name
from pipeline.output.units.tables import schema_of
from pipeline.worker.verbs import VERBS

if TYPE_CHECKING:
    from pipeline.job.prepare import Job

_INPUTS = 20  # most inputs that an event names one by one
_MESSAGE = 2_000  # most characters of an error
_TABLES = 3  # most tables that are asked for their columns


def lineage_of(job: "Job") -> Lineage | None:
    """What is told of a job; None if the environment names nobody to tell.

    Args:
      job: a staged job.
    """
    if not is_told():
        return None
    config, table = job.config, VERBS[job.config.verb].table
    # Of partitions, only the receipts know the names.
    single = config.writes_tables and config.partition_by is None
    tables = tuple(islice(_tables(job, table), _TABLES)) if table is not None and single else ()
    shards = {shard.uri: shard.size for unit in job.plan.todo for shard in unit.shards}
    inputs = tuple(job.options.input)
    return Lineage(
        run=str(uuid5(NAMESPACE_URL, f"{config.output}#{config.run}")),
        namespace=os.environ.get("OPENLINEAGE_NAMESPACE") or "default",
        verb=config.verb,
        output=config.output,
        directories=tuple(name for name in (table, IMAGES if config.images else None) if name),
        inputs=inputs if len(inputs) <= _INPUTS else (job.found.root,),
        files=len(shards),
        size=sum(shards.values()),
        # A retry and a repair run the output's own copy.
        model="" if job.options.model.startswith(f"{config.output}/") else job.options.model,
        tables=tables,
        parent=_parent(os.environ.get("OPENLINEAGE_PARENT_ID", "")),
    )


@contextmanager
def telling(lineage: Lineage | None) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Tell of a run that begins with the block, and of how it ends if the block fails.

    Args:
      lineage: what is told; None for nothing.

    Yields:
      What tells of its end, given its summary.
    """
    if lineage is None:
        yield lambda _: None
        return
    send(event(EventType.START, lineage))
    try:
        yield lambda summary: tell_end(lineage, summary)
    except Exception as error:
        send(event(EventType.FAIL, lineage, error=printable(str(error), _MESSAGE) or type(error).__name__))
        raise
    except BaseException:
        send(event(EventType.ABORT, lineage))
        raise


def tell_end(lineage: Lineage, summary: Mapping[str, Any]) -> None:
    """Tell how a run has ended.

    Args:
      lineage: what is told of it.
      summary: of its commit, or of what stopped it.
    """
    if "stopped" in summary:
        send(event(EventType.FAIL, lineage, error=str(summary["stopped"]["stop"])))
    elif summary["refused"]:
        send(event(EventType.FAIL, lineage, summary=summary, error=f"no _SUCCESS: {'; '.join(summary['refused'])}"))
    else:
        send(event(EventType.COMPLETE, lineage, summary=summary, schema=_schema(lineage.tables)))


def _tables(job: "Job", table: str) -> Iterator[str]:
    layout = Layout(job.config.output)
    return (layout.at(table_name(table, unit.id, table_version(unit, job.config))) for unit in job.plan.todo)


def _schema(tables: Sequence[str]) -> Any:
    """The columns of the first table that there is; None for none. They are an ornament, so no error counts."""
    for uri in tables:
        try:
            return schema_of(uri)
        except (OSError, ValueError, pa.ArrowException):
            continue
    return None


def _parent(text: str) -> Parent | None:
    """The parent that a scheduler names as ``NAMESPACE/JOB/RUN``; None if it names none."""
    namespace, _, rest = text.partition("/")
    name, _, run = rest.rpartition("/")
    try:
        return Parent(namespace=namespace, name=name, run=str(UUID(run))) if namespace and name else None
    except ValueError:
        return None
