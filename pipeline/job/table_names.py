"""The columns of the tables that a job writes, whose names no directory of the output may have."""

from collections.abc import Container, Iterable

import pyarrow as pa

from lake.core.errors import InputError, UsageError
from lake.core.records import Unit
from lake.formats.common.identity_columns import carried_fields
from pipeline.config import JobConfig
from pipeline.job.checks import NEW_FORMAT
from pipeline.output.layout import LATENTS, METRICS
from pipeline.output.units.latent_columns import LatentColumns
from pipeline.output.units.tables import REJECT_SCHEMA, latent_schema, metrics_schema, size_columns
from pipeline.worker.verbs import VERBS

_NEW_IMAGE = "image"  # the column of images in new shards


def check_directories(config: JobConfig, units: Iterable[Unit]) -> None:
    """Check that no directory is named like a column of the tables below it, as ``label=0/`` is.

    DuckDB, pandas, Polars and Spark take such a directory for a partition, whose value they read over the table's, or
    which they refuse to read.

    Args:
      config: the job.
      units: all units of the output.

    Raises:
      InputError: a directory of the input is.
      UsageError: one in the output's own name is.
    """
    columns = {name.casefold() for name in _table_columns(config)}
    remedy = "would be read from the path instead of the table"
    if found := _partition(config.output, columns):
        raise UsageError(f"--output {config.output}: {found!r} is named like a column, which {remedy}; name another")
    for unit in units:
        if "=" in unit.id and (found := _partition(unit.id.rpartition("/")[0], columns)):
            raise InputError(
                f"{unit.shards[0].uri}: the directory {found!r} is named like a column of the output, which {remedy}; "
                "rename it, give it as the --input of a job of its own, or if the column is carried leave it out "
                "with --carry"
            )


def _partition(directory: str, columns: Container[str]) -> str | None:
    """The first part of a path that readers take for a column of this name."""
    parts = (part for part in directory.split("/") if "=" in part)
    return next((part for part in parts if part.partition("=")[0].casefold() in columns), None)


def latent_table_schema(config: JobConfig) -> pa.Schema:
    """The columns of a job's latent table, but for the lengths of latents.

    Args:
      config: the job.
    """
    errors = VERBS[config.verb].function == "reconstruct"
    columns, sizes = LatentColumns.of(config, 1), size_columns(config.target)
    return latent_schema(columns, errors, config.columns.carry, hashes=config.hashes, sizes=sizes)


def _table_columns(config: JobConfig) -> list[str]:
    """The columns of all tables that a job writes."""
    verb, carry = VERBS[config.verb], config.columns.carry
    names = list(REJECT_SCHEMA.names)
    if verb.table == LATENTS:
        names += latent_table_schema(config).names
    elif verb.table == METRICS:
        names += metrics_schema(carry, config.reference is not None, config.hashes, config.noise).names
    # A shard that is written again keeps the columns of the input, whose directories are the same.
    if config.images is not None and not config.images.rewrite and config.images.format == NEW_FORMAT:
        names += [_NEW_IMAGE, *(field.name for field in carried_fields(carry, [_NEW_IMAGE]))]
    return names
