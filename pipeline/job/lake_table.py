"""The table of a lake's catalog that a job publishes to: what the user says of it, and whether it takes the rows."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace

from lake.core.choices import quoted
from lake.core.errors import OutputError, UsageError
from lake.core.records import Unit
from lake.formats.common.hive import partition_name
from lake.formats.common.identity_columns import carried_name
from lake.storage.location import local_path
from pipeline.config import JobConfig, table_version
from pipeline.job.table_names import latent_table_schema
from pipeline.options.job_options import JobOptions
from pipeline.options.latent_form import PARQUET
from pipeline.output.layout import LATENTS, Layout, table_name
from pipeline.output.state.job_file import JobFile
from pipeline.output.units.receipts import Receipt
from pipeline.tables.publishing import check_table, table_files
from pipeline.tables.table import TableSpec, is_path

_NAME = re.compile(r"\w+(\.\w+)+", re.ASCII)
_FIELDS = ("table", "catalog", "table_name")


def with_kept_table(options: JobOptions, job_file: JobFile | None) -> JobOptions:
    """Go on with the table that an output has: what readers of it see would grow old, and its files be replaced.

    Args:
      options: the options of the job.
      job_file: what ``read_job_file`` returned.

    Raises:
      OutputError: another table is asked for.
    """
    kept = {} if job_file is None else {name: job_file["settings"].get(name) for name in _FIELDS}
    if not kept.get("table"):
        return options
    before = replace(options, **kept)
    if options.table is not None and table_spec(options) != table_spec(before):
        raise OutputError(
            f"{options.output} is published to the table {table_spec(before)}; leave out --table, --catalog and "
            "--table-name, or name another --output"
        )
    return before


def table_spec(options: JobOptions) -> TableSpec | None:
    """Settle which table the latents of a job are published to.

    Args:
      options: the options of the job.

    Returns:
      The table; None for none.

    Raises:
      UsageError: what is said of it does not go together, or the job writes no tables of latents.
    """
    if options.table is None:
        if options.catalog is not None or options.table_name is not None:
            raise UsageError(
                "--catalog and --table-name say where a table is; add --table iceberg or ducklake, or leave them out"
            )
        return None
    if options.latent_format != PARQUET:
        raise UsageError(f"--table is of Parquet, not of --latent-format {options.latent_format}; leave one out")
    if options.table_name is not None and not _NAME.fullmatch(options.table_name):
        raise UsageError(f"--table-name {quoted(options.table_name)} is no NAMESPACE.NAME of letters, digits and _")
    if options.catalog is None:
        return TableSpec(kind=options.table, **_given(name=options.table_name))
    if "://" in options.catalog:
        raise UsageError(
            "--catalog is a name or the path of a SQLite file; where it is goes into ~/.pyiceberg.yaml, or into a "
            "secret of DuckDB"
        )
    if options.table_name is None:
        raise UsageError(f"--catalog {options.catalog} may have tables of others: add --table-name NAMESPACE.NAME")
    catalog = str(local_path(options.catalog).absolute()) if is_path(options.catalog) else options.catalog
    return TableSpec(kind=options.table, catalog=catalog, name=options.table_name)


def _given(**values: str | None) -> dict[str, str]:
    return {name: value for name, value in values.items() if value is not None}


def table_due(config: JobConfig, units: Iterable[Unit], receipts: Mapping[str, Receipt]) -> bool:
    """Check that the table of a job takes its rows, and tell whether a commit is due for it alone.

    Args:
      config: the job.
      units: all units of the output.
      receipts: of those that are done, by unit.

    Raises:
      UsageError: the catalog cannot be reached, or the table cannot take the rows.
    """
    if config.table is None:
        return False
    schema, directory = latent_table_schema(config), LATENTS
    if config.partition_by is not None:
        column = carried_name(schema, config.columns.carry, config.partition_by)
        directory = f"{LATENTS}/{partition_name(column, None)}"  # which values there are, is known once all are read
    names = [table_name(directory, unit.id, table_version(unit, config)) for unit in units]
    names += [file.name for file in table_files(receipts.values())]
    return check_table(config.table, Layout(config.output), schema, names, receipts.values())
