"""The command ``plan``: what a job would do, as JSON values and as text for a person."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from lake.cli.lines import line_of
from lake.core.quantities import counted, size_text
from pipeline.cli.progress_text import in_words
from pipeline.cli.summary import describe_passed_over

if TYPE_CHECKING:
    from pipeline.job.prepare import Job
    from pipeline.options.job_options import JobOptions

_FIRST = 10  # units that are named
_HEAD = ("", "units", "shards", "records", "size")
# Of each row that there may be: what it is called, and what becomes of it.
_ROWS = {
    "todo": ("to do", ""),
    "new": ("  new", ""),
    "changed": ("  changed", "shards, model or options have changed"),
    "retried": ("  retried", "only their rejected records"),
    "unchanged": ("unchanged", ""),
    "all": ("all", ""),
    "vanished": ("vanished", "kept; --prune drops them"),
    "dropped": ("dropped", "with the commit"),
}


def plan_value(options: "JobOptions") -> dict[str, Any]:
    """Plan a job and tell what it would do, as JSON values. Writes nothing.

    Args:
      options: the options of the job.

    Raises:
      LatentlakeError: as of ``pipeline.job.prepare.prepare``.
    """
    from pipeline.job.forecast import forecast
    from pipeline.job.noise_sample import sample_noise
    from pipeline.job.prepare import prepare_with_receipts
    from pipeline.job.trial import try_records

    job, receipts = prepare_with_receipts(options)
    found = forecast(job, receipts)
    noise = sample_noise(job.plan.units, job.config, job.bundle.spec.noise_range)
    return {
        "root": job.found.root,
        "format": job.found.format,
        "shards": len(job.found.shards),
        **({"formats": {name: len(some) for name, some in job.found.mixed.items()}} if job.found.mixed else {}),
        "passed_over": job.run.passed_over,
        "units": len(job.plan.units),
        "todo": len(job.plan.todo),
        "todo_bytes": found.todo.bytes,
        "done": len(job.plan.units) - len(job.plan.todo),
        "first": [unit.id for unit in job.plan.todo[:_FIRST]],
        **found.to_value(),
        "probe": asdict(try_records(job.plan.units, job.config)),
        **({} if noise is None else {"noise": noise.to_value()}),
        **({} if options.reuse is None else {"reuse": _reusable(job)}),
        "options": job.config.options(),
    }


def _reusable(job: "Job") -> dict[str, int]:
    return {"tables": len(job.reusable), "records": sum(table.rows for table in job.reusable)}


def describe_plan(value: Mapping[str, Any]) -> str:
    """Describe a plan.

    Args:
      value: what ``plan_value`` returned.
    """
    lines = [
        f"{_shards(value)} below {value['root']}",
        "",
        *_table(value["table"]),
        "",
        *_first(value),
        *_estimate(value),
        *_reuse(value),
        *_probe(value["probe"]),
        *_noise(value.get("noise")),
        *describe_passed_over(value["passed_over"]),
    ]
    return "\n".join(map(line_of, lines))


def _shards(value: Mapping[str, Any]) -> str:
    """Number and format of the shards."""
    if "formats" not in value:
        return counted(value["shards"], f"{value['format']} shard")
    counts = ", ".join(f"{count:,} {format}" for format, count in value["formats"].items())
    return f"{counted(value['shards'], 'shard')} ({counts})"


def _table(table: Mapping[str, Mapping[str, Any]]) -> list[str]:
    shown = [name for name in _ROWS if name in ("todo", "unchanged", "all") or table[name]["units"]]
    cells = [_HEAD, *((_ROWS[name][0], *_cells(table[name])) for name in shown)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(_HEAD))]
    notes = ["", *(_ROWS[name][1] for name in shown)]
    return [_line(row, widths, note) for row, note in zip(cells, notes, strict=True)]


def _line(row: tuple[str, ...], widths: list[int], note: str) -> str:
    numbers = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
    return "  ".join([row[0].ljust(widths[0]), *numbers, note]).rstrip()


def _cells(row: Mapping[str, Any]) -> tuple[str, str, str, str]:
    about = "" if row["exact"] else "about "
    return (
        f"{row['units']:,}",
        "-" if row["shards"] is None else f"{row['shards']:,}",
        "unknown" if row["records"] is None else f"{about}{row['records']:,}",
        "-" if row["bytes"] is None else size_text(row["bytes"]),
    )


def _first(value: Mapping[str, Any]) -> Iterator[str]:
    if value["first"]:
        more = value["todo"] - len(value["first"])
        yield f"to do: {', '.join(value['first'])}{f' and {more:,} more' if more else ''}"


def _estimate(value: Mapping[str, Any]) -> Iterator[str]:
    if not value["todo"]:
        return
    if (found := value["estimate"]) is None:
        yield "time and size of the output: unknown, since no run with this model has been committed here"
        return
    when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(found["ended"]))
    how = f"{found['startup']:.1f} s of start-up and {found['rate']:,.0f} records a second, as in the run of {when}"
    yield f"time: about {in_words(found['seconds'])} ({how})"
    yield f"output: about {size_text(found['output_bytes'])}"


def _reuse(value: Mapping[str, Any]) -> Iterator[str]:
    if (found := value.get("reuse")) is not None and value["todo"]:
        known = f"{counted(found['records'], 'record')} of {counted(found['tables'], 'table')}"
        yield f"reuse: what has the bytes of one of {known} keeps its latent, and takes less time"


def _probe(found: Mapping[str, Any]) -> Iterator[str]:
    if not found["records"]:
        return
    bad = sum(found["rejects"].values())
    what = "all good" if not bad else f"{found['records'] - bad:,} good, {bad:,} would be rejected"
    yield f"tried: {counted(found['records'], 'record')} of {counted(found['units'], 'unit')}, {what}"
    for reason, count in found["rejects"].items():
        yield f"  {count:,} {reason}, such as {found['examples'][reason]}"


def _noise(found: Mapping[str, Any] | None) -> Iterator[str]:
    """The noise levels of a few images, and how many are outside of what the model learned."""
    if found is None or not found["quartiles"]:
        return
    least, low, median, high, most = (f"{level:.3g}" for level in found["quartiles"])
    given = found["how"] == "given"
    of = f"noise of {counted(found['images'], 'image')}, {found['how']}, where white is 255"
    yield f"noise: {median}" if given else f"{of}: {least} to {most}, half of them from {low} to {high}"
    if found["learned"] is None or not (found["below"] or found["above"]):
        return
    learned = "{:g} to {:g}".format(*found["learned"])
    if given:
        yield f"  warning: {'less' if found['below'] else 'more'} than the model learned, {learned}"
        return
    yield f"  warning: the model learned {learned}; {found['below']:,} of them are below, {found['above']:,} above"
    if found["narrow"]:
        yield (
            f"  {found['narrow']:,} of those below use few of the values of their type, as 12 bits in 16 do: "
            "--noise poisson-gaussian measures each image on its own scale"
        )
