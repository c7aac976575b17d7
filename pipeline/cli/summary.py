"""The summary of a run as text for a person."""

from collections.abc import Mapping
from typing import Any

from lake.cli.lines import line_of
from lake.core.printable import printable
from lake.core.quantities import counted, size_text
from lake.formats import MIXED
from lake.inputs.passed_over import listed
from pipeline.options.latent_form import PARQUET
from pipeline.report.headline import count_text, share_text
from pipeline.worker.verbs import VERBS

_TEXT = 1000  # most characters of an example and of an error


def describe(summary: Mapping[str, Any]) -> str:
    """Describe what a run did, what the output holds and how to open it.

    Args:
      summary: what ``pipeline.beam.launch.launch`` returned; for a detached launcher the text names the submitted job.
    """
    if "submitted" in summary:
        return _submitted(summary)
    run = summary["run"]
    lines = [headline(summary), _run_line(run), _total_line(summary), *_reasons(summary), *_failed(summary)]
    lines += describe_passed_over(run["passed_over"])
    if several := run.get("several_pages"):
        what = "a file" if several == 1 else "files"
        lines.append(f"  the first page of {what} with several (--pages): {counted(several, 'result')}")
    if clipped := run.get("clipped"):
        lines.append(f"  clipped to the range of their type (--latent-type): {counted(clipped, 'number')} of latents")
    if reused := run.get("reused"):
        lines.append(f"  reused, since their bytes were there before (--reuse): {counted(reused, 'latent')}")
    if below := run.get("noise_below"):
        lines.append(
            f"  less noise than the model learned: {counted(below, 'image')}, changed less for it, or not at all"
        )
    if above := run.get("noise_above"):
        lines.append(f"  more noise than the model learned: {counted(above, 'image')}; compare some by eye")
    if run["store_retries"]:
        lines.append(f"  made again, since they failed: {counted(run['store_retries'], 'request')} to the stores")
    return "\n".join(map(line_of, lines + _open(summary)))


def headline(summary: Mapping[str, Any]) -> str:
    """Say in one sentence what an output is, after a run.

    Args:
      summary: what ``pipeline.beam.launch.launch`` returned, unless its launcher was detached.

    >>> total = {"read": 1_234_567, "rejects": 3704}
    >>> headline({"complete": True, "total": total, "run": {"failed_units": 0}})
    '1.2 M records, 0.3% rejected: complete'
    """
    total, failed = summary["total"], summary["run"]["failed_units"]
    rejected = f"{share_text(total['rejects'] / total['read'])} rejected" if total["rejects"] else "none rejected"
    parts = [f"{count_text(total['read'])} record{'' if total['read'] == 1 else 's'}", rejected]
    reused = summary["run"].get("reused", 0)
    parts += [f"{count_text(reused)} reused"] if reused else []
    parts += [f"{counted(failed, 'unit')} failed"] if failed else []
    return f"{', '.join(parts)}: {'complete' if summary['complete'] else 'NOT complete'}"


_PASSED_OVER = {
    "unknown_format": "passed over, since they are of no known format",
    "description": "passed over, since they describe the records of other shards (img2dataset)",
    "hidden": "passed over, since their names begin with '.' or '_'",
    "link_outside": "passed over, since they are links that lead out of the input (--follow-links reads them)",
    "link_loop": "passed over, since they are links to a directory above them",
    "link_missing": "failed, since they are links to files that do not exist (git annex get or dvc pull fetches them)",
}


def describe_passed_over(found: Mapping[str, Any]) -> list[str]:
    """Describe what an input has and a job does not read, one line for each reason.

    Args:
      found: by reason, ``count`` and ``examples``.
    """
    return [
        f"  {_PASSED_OVER[why]}: {met['count']:,}, {printable(listed(met['examples'], met['count']), _TEXT)}"
        for why, met in found.items()
    ]


def _submitted(summary: Mapping[str, Any]) -> str:
    submitted, output = summary["submitted"], summary["output"]
    job = f" as {submitted['job']}" if submitted["job"] else ""
    lines = [
        f"submitted: run {submitted['run']}, {counted(submitted['units'], 'unit')}, to {submitted['runner']}{job}",
        *([f"its page: {page}"] if (page := submitted.get("page")) else []),
        f"its pipeline ends with {output}/_SUCCESS, or fails and says why; how far it is: latentlake status {output}",
    ]
    return "\n".join(map(line_of, lines))


def _run_line(run: Mapping[str, Any]) -> str:
    if not run["units"]:
        units = "the one unit is" if run["kept_units"] == 1 else f"all {run['kept_units']:,} units are"
        return f"nothing to do: {units} done and unchanged"
    kept = f", {run['kept_units']:,} kept" if run["kept_units"] else ""
    units, records = counted(run["units"], "unit"), counted(run["read"], "record")
    # Counts are of whole units. A retry copies most records of a unit, so its rate would say nothing.
    what = f"tried again: {units} of {records}" if run.get("retry") else f"{records} in {units}"
    rate = "" if run.get("retry") else _rate(run)
    return f"{what}{kept}: {_outcome(run)}, in {run['seconds']:.1f} s{rate}"


def _outcome(run: Mapping[str, Any]) -> str:
    return f"{counted(run['results'], 'result')}, {counted(run['rejects'], 'reject')}"


def _rate(run: Mapping[str, Any]) -> str:
    if run["first_result"] is None or run["ended"] - run["first_result"] < 1:
        return ""
    startup = run["first_result"] - run["started"]
    return f" ({run['read'] / (run['ended'] - run['first_result']):,.0f} records/s after {startup:.1f} s of start-up)"


def _total_line(summary: Mapping[str, Any]) -> str:
    total = summary["total"]
    state = "complete" if summary["complete"] else "NOT complete"
    return (
        f"{summary['output']}: {state}, {counted(total['units'], 'unit')}, {counted(total['results'], 'result')}, "
        f"{size_text(total['output_bytes'])}"
    )


def _reasons(summary: Mapping[str, Any]) -> list[str]:
    lines = []
    for reason, count in summary["total"]["reasons"].items():
        lines.append(f"  rejected: {count:,} {reason}")
        lines += [f"    {_example(example)}" for example in summary["examples"].get(reason, [])[:1]]
    return lines


def _example(example: Mapping[str, Any]) -> str:
    where = f"{example['shard']}[{example['index']}] {example['key']!r}: " if "shard" in example else ""
    return f"such as {printable(where + example['detail'], _TEXT)}"


def _failed(summary: Mapping[str, Any]) -> list[str]:
    lines = [f"  failed: {printable(failed['error'], _TEXT)}" for failed in summary["failed"]]
    more = summary["run"]["failed_units"] - len(lines)
    return lines + ([f"  and {counted(more, 'more failed unit')}"] if more > 0 else [])


def _open(summary: Mapping[str, Any]) -> list[str]:
    output = summary["output"]
    lines = ["open it:"]
    # A summary may be of a version with other verbs.
    latents = (summary["options"].get("latents") or {}).get("format", PARQUET)
    if latents != PARQUET:
        lines.append(f"  latents {output}/latents ({latents})")
    elif summary["verb"] in VERBS and (table := VERBS[summary["verb"]].table):
        lines += [
            f"  duckdb  SELECT * FROM '{output}/{table}/**/*.parquet'",
            f"  python  pyarrow.dataset.dataset('{output}/{table}').to_table()",
        ]
    if images := summary["options"].get("images"):
        format = "the formats of the input" if images["format"] == MIXED else images["format"]
        lines.append(f"  images  {output}/images ({format})")
    if summary["total"]["rejects"]:
        lines.append(f"  rejects SELECT shard, index, reason, detail FROM '{output}/rejects/**/*.parquet'")
    return [*lines, f"look at it: latentlake report {output}", f"check it: latentlake verify {output}"]
