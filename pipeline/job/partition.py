"""Settle by which column the tables of a job are partitioned."""

from typing import TYPE_CHECKING

from lake.core.choices import quoted
from lake.core.errors import InputError, UsageError
from lake.formats.common.hive import is_partition_column, partition_type
from lake.formats.reader import ColumnSelection, RecordSchema
from lake.inputs.discover import Found
from pipeline.job.columns import carrying
from pipeline.options.latent_form import PARQUET
from pipeline.worker.verbs import VERBS

if TYPE_CHECKING:
    from pipeline.options.job_options import JobOptions


def check_partition_by(options: "JobOptions") -> None:
    """Check that a job writes tables that can be partitioned.

    Args:
      options: the options of the job.

    Raises:
      UsageError: it writes none, or the column's name is none of a directory.
    """
    if (name := options.partition_by) is None:
        return
    if VERBS[options.verb].table is None:
        raise UsageError(f"{options.verb} writes no tables; leave out --partition-by")
    if options.latent_format != PARQUET:
        raise UsageError(
            f"--partition-by is of tables, and {options.latent_format} keeps the samples of a shard together; leave it "
            "out, or use --latent-format parquet"
        )
    if not is_partition_column(name):
        raise UsageError(
            f"--partition-by {quoted(name)}: a directory is named after it, so its name begins with a letter or digit "
            "and has only those, - and _; name another column"
        )


def with_partition_column(
    found: Found, selection: ColumnSelection, columns: RecordSchema, name: str | None
) -> RecordSchema:
    """Settled columns, with the one of partitions among the carried ones.

    Args:
      found: the input's shards.
      selection: what the user and the model ask of each record.
      columns: the same, settled.
      name: of the column; None for no partitions.

    Raises:
      InputError: the first shard has no such column, or its values cannot be names.
    """
    if name is None or not columns.settled:
        return columns
    columns = carrying(found, selection, columns, [name], "--partition-by")
    kind = columns.carry.field(name).type
    if partition_type(kind) is None:
        raise InputError(
            f"--partition-by {quoted(name)}: the column is {kind}, and directories are named after texts, integers, "
            "truth values and dates; name another column"
        )
    return columns
