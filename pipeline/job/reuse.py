"""Which latents of earlier runs a job may keep, and what is staged so that its workers find them."""

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from lake.core.errors import OutputError, UsageError
from lake.core.ordered_map import requested
from lake.storage import Guard, store_for
from lake.storage.buckets import check_bucket
from lake.storage.redact import check_no_user
from pipeline.config import JobConfig
from pipeline.options.job_options import JobOptions
from pipeline.output.commit.recovery import Leavings
from pipeline.output.layout import LATENTS, Layout, files_below
from pipeline.output.manifest.manifest import read_manifest
from pipeline.output.reuse.digest_index import write_index
from pipeline.output.reuse.reusable import ReusableTable, read_reusable
from pipeline.output.state.job_file import JobFile, differences, read_job_file
from pipeline.output.state.state_values import sha256
from pipeline.output.units.receipts import Receipt

CONTENT = "content"  # of the output itself
# What of a job's options has no part in a latent of an image file.
_APART = ("columns", "partition_by", "reject_bytes", "reject_budget")


def check_reuse(options: JobOptions, config: JobConfig) -> None:
    """Check that equal bytes have equal latents in a job that reuses them.

    Args:
      options: the options of the job.
      config: the job.

    Raises:
      UsageError: they need not, or a user's value does not fit; the text names what is in the way.
    """
    if options.reuse is None:
        return
    check_no_user(options.reuse)
    if problem := next(_problems(config), None):
        raise UsageError(f"--reuse {options.reuse}: {problem}; leave out --reuse")


def _problems(config: JobConfig) -> Iterator[str]:
    columns = [config.columns, *dict(config.columns.formats).values()]
    if config.verb != "encode":
        yield f"{config.verb} makes more than latents, which alone are reused"
    if config.latents is not None and config.latents.seed is not None:
        yield "with --sample the noise of a latent depends on the record's shard and index"
    if config.condition is not None:
        yield f"what the model gives depends on the column {config.condition.name!r} besides the image"
    if config.target.any_size:
        yield "the model takes images of any size, whose latents are not looked up"
    if not config.writes_tables:
        yield "latents are looked up in tables, which --latent-format does not write"
    if any(one.numeric for one in columns):
        yield "the records are numbers, whose bytes do not say their shape"


def find_reusable(
    options: JobOptions,
    config: JobConfig,
    job_file: JobFile | None,
    receipts: Mapping[str, Receipt],
    left: Leavings,
) -> tuple[ReusableTable, ...]:
    """Find the tables whose latents a job may keep.

    Args:
      options: the options of the job.
      config: the job.
      job_file: of the output; None for a first run.
      receipts: of the output's units that are done, by unit.
      left: what runs of the output left that did not come to their end.

    Raises:
      OutputError: the other output is none, or its latents were made otherwise; the text names the difference.
      VerifyError: its state, or that of the output, is damaged.
    """
    if options.reuse is None:
        return ()
    layout, own = Layout(config.output), list[ReusableTable]()
    if job_file is not None and not _differences(job_file, config):
        # A run that died has perhaps replaced tables of the manifest. Their fingerprints tell, and it kept copies.
        before = read_manifest(layout).values() if left.unfinished else ()
        kept = {stat.uri for stat in files_below(layout.kept_tables)} if left.unfinished else set[str]()
        own = [_kept_or(table, layout, kept) for table in _tables(layout, job_file, [*receipts.values(), *before])]
    return (*dict.fromkeys([*own, *_of_other(options.reuse, config)]),)


def _of_other(uri: str, config: JobConfig) -> Sequence[ReusableTable]:
    layout = Layout(uri.rstrip("/"))
    if uri == CONTENT or layout.output == config.output:
        return ()
    job_file = read_job_file(layout.output)
    if job_file is None:
        check_bucket(uri, OutputError)
        raise OutputError(f"--reuse {uri}: not an output of latentlake; give 'content', or what encode wrote")
    if found := _differences(job_file, config):
        raise OutputError(
            f"--reuse {uri}: its latents were made with other options ({', '.join(found)}); give one of the same model "
            "and options"
        )
    return [replace(table, unit="") for table in _tables(layout, job_file, read_manifest(layout).values())]


def _differences(job_file: JobFile, config: JobConfig) -> list[str]:
    """What determines a latent, or whether it can be looked up, and is not as in a job."""
    before, now = _determining(job_file["options"]), _determining(config.options())
    return differences({**before, "numeric": _numeric(job_file["options"])}, {**now, "numeric": False})


def _determining(options: Mapping[str, Any]) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(json.dumps(options))
    return {name: said for name, said in value.items() if name not in _APART}


def _numeric(options: Mapping[str, Any]) -> bool:
    columns = options.get("columns")
    return bool(isinstance(columns, Mapping) and columns.get("numeric"))


def _tables(layout: Layout, job_file: JobFile, receipts: Iterable[Receipt]) -> Iterator[ReusableTable]:
    """The tables of an output's units. Of one whose rejects were tried again, some rows are of other policies."""
    for receipt in receipts:
        if receipt.options == job_file["options_digest"] and not receipt.retried and _is_digest(receipt.fingerprint):
            for number, output in enumerate(receipt.outputs):
                if output.name.startswith(f"{LATENTS}/") and output.rows:
                    yield ReusableTable(
                        uri=layout.at(output.name),
                        fingerprint=receipt.fingerprint,
                        rows=output.rows,
                        number=number,
                        unit=receipt.unit,
                    )


def _is_digest(fingerprint: str) -> bool:
    """Whether it may become part of a URI."""
    try:
        sha256(fingerprint)
    except ValueError:
        return False
    return True


def _kept_or(table: ReusableTable, layout: Layout, kept: set[str]) -> ReusableTable:
    """The copy of a table that a run has kept, or else the table."""
    copy = layout.kept_table(table.fingerprint, table.number)
    return replace(table, uri=copy, unit="") if copy in kept else table


def stage_reuse(config: JobConfig, tables: Sequence[ReusableTable], todo: set[str], guard: Guard) -> None:
    """Copy the tables that the run is about to replace, and write the index of all of them.

    Args:
      config: the job.
      tables: what ``find_reusable`` returned.
      todo: ids of the units that are to be run.
      guard: the right to write it.
    """
    keep = partial(_keep, Layout(config.output), todo, guard)
    write_index(config.reuse, [*requested(keep, tables)], guard)


def _keep(layout: Layout, todo: set[str], guard: Guard, table: ReusableTable) -> ReusableTable:
    if table.unit not in todo or read_reusable(table, lambda file: file.num_row_groups) is None:
        return table
    copy = layout.kept_table(table.fingerprint, table.number)
    # Not durable: without it, or with other bytes, its records are encoded anew.
    with store_for(table.uri).open(table.uri) as source, store_for(copy).create(copy, guard, durable=False) as sink:
        shutil.copyfileobj(source, sink, 1 << 20)
    return replace(table, uri=copy)
