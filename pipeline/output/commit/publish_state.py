"""Publish a state of an output: its manifest, what it says of itself, and ``_SUCCESS``; and the summary of the run."""

import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from lake import __version__
from lake.core import sealed_json
from lake.core.counters import RETRIES
from lake.core.errors import UnfinishedError
from lake.core.records import OutputFile
from lake.core.retry import retry
from lake.storage import Guard, put
from pipeline.config import JobConfig
from pipeline.output.commit.reject_examples import examples
from pipeline.output.commit.run import Run
from pipeline.output.commit.run_sums import RunSums
from pipeline.output.describe.description import write_description
from pipeline.output.fencing.heartbeat import guard_of
from pipeline.output.layout import Layout
from pipeline.output.manifest.manifest import (
    Manifest,
    publish_manifest,
)
from pipeline.output.state.state_file import read_summary
from pipeline.tables.publishing import Publishing

_REASONS = 3  # most reasons that the summary has examples of


def publish_state(
    config: JobConfig,
    run: Run,
    state: Manifest,
    sums: RunSums,
    timing: Mapping[str, Any],
    refused: Sequence[str],
    table: Publishing | None = None,
) -> dict[str, Any]:
    """Write the manifest of a state, and with it whatever says that the run has ended.

    Args:
      config: the job.
      run: facts of the run.
      state: the new state, whose parts are there.
      sums: of the receipts of the run.
      timing: what ``timing_of`` says of them.
      refused: why ``_SUCCESS`` is not written; empty if it is.
      table: the table of the output, if it has one.

    Returns:
      The summary.
    """
    layout, guard = Layout(config.output), guard_of(config.output, config.run)
    manifest = retry("the manifest", lambda _: publish_manifest(layout, state, guard))
    summary = _summary(config, run, state, sums, timing, manifest, refused)
    if (description := run.description) is not None:
        retry("the description", lambda _: write_description(layout, description, state.values(), summary, guard))
    # After the manifest, which says what the snapshot has; before _SUCCESS, which says that all is there.
    if table is not None and not refused:
        summary["table"] = table.publish(state.receipts())
    _publish(layout, config, summary, guard)
    return summary


def _summary(
    config: JobConfig,
    run: Run,
    state: Manifest,
    sums: RunSums,
    timing: Mapping[str, Any],
    manifest: OutputFile,
    refused: Sequence[str],
) -> dict[str, Any]:
    total = state.counts()
    return {
        "complete": not refused,
        "refused": refused,
        "verb": config.verb,
        "output": config.output,
        "model_digest": config.model_digest,
        "latent_layer": config.latent_layer,
        "total": {"units": len(state), **total},
        "run": {
            "id": config.run,
            "retry": config.retry is not None,
            "units": run.todo,
            "kept_units": run.units - run.todo,
            **_passed_over(run),
            "failed_units": sums.failed_units,
            **sums.counts,
            "written": sums.written,
            **sums.rare,
            "store_retries": RETRIES.take() + sums.store_retries,
            "started": run.started,
            "first_result": sums.first,
            "ended": time.time(),
            "seconds": round(time.time() - run.started, 3),
            **timing,
        },
        "failed": sums.failed,
        "examples": examples(Layout(config.output), state, list(total["reasons"])[:_REASONS]),
        "manifest": asdict(manifest),
        "options": config.options(),
        "version": __version__,
        "python": platform.python_version(),
    }


def _publish(layout: Layout, config: JobConfig, summary: Mapping[str, Any], guard: Guard) -> None:
    text = sealed_json.dumps(summary)
    if summary["complete"]:
        put(layout.success, text, guard.strict)
    # After _SUCCESS: a summary says that the run has ended, also to a second attempt at this commit, and that plans
    # before it are of no account.
    put(layout.summary(config.run), text, guard.strict)


def nothing_done(output: str, run: Run) -> dict[str, Any]:
    """The summary of a run that found its output complete: what ``_SUCCESS`` says, and that this run did nothing."""
    summary = read_summary(Layout(output).success)
    zero = {"units": 0, "kept_units": run.units, "failed_units": 0, "read": 0, "results": 0, "rejects": 0}
    zero |= {**_passed_over(run), "store_retries": RETRIES.take()}
    now = {"started": run.started, "ended": time.time(), "seconds": round(time.time() - run.started, 3)}
    return {**summary, "failed": [], "run": {**zero, **now}}


def _passed_over(run: Run) -> dict[str, Any]:
    unknown = run.passed_over.get("unknown_format", {"count": 0})
    return {"passed_over_files": unknown["count"], "passed_over": dict(run.passed_over)}


def check_complete(summary: Mapping[str, Any]) -> None:
    """Check that a run completed its output.

    Args:
      summary: the summary of the run.

    Raises:
      UnfinishedError: ``_SUCCESS`` was not written; the text says why.
    """
    if summary["complete"] is False:
        raise UnfinishedError(f"{summary['output']} has no _SUCCESS: {'; '.join(summary['refused'])}")
