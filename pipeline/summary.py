"""A summary that a person can read."""

from collections.abc import Mapping
from typing import Any

from pipeline.errors import UnfinishedError


def check_complete(summary: Mapping[str, Any]) -> None:
    """Refuse an output without ``_SUCCESS``.

    Raises:
      UnfinishedError: it says why.
    """
    if summary["complete"] is False:
        raise UnfinishedError(f"{summary['output']} has no _SUCCESS: {'; '.join(summary['refused'])}")


def describe(summary: Mapping[str, Any]) -> str:
    """What the run did, what the output holds, and how to open it; or which job goes on without this process."""
    if "submitted" in summary:
        return _submitted(summary)
    run = summary["run"]
    lines = [_run_line(run), _total_line(summary), *_reasons(summary), *_failed(summary)]
    if run["passed_over_files"]:
        lines.append(f"  passed over: {run['passed_over_files']:,} files of the input are of no known format")
    if run["store_retries"]:
        lines.append(f"  {run['store_retries']:,} requests to the stores failed and were made again")
    return "\n".join(lines + _open(summary))


def _submitted(summary: Mapping[str, Any]) -> str:
    submitted, output = summary["submitted"], summary["output"]
    job = f" as {submitted['job']}" if submitted["job"] else ""
    return (
        f"submitted: run {submitted['run']}, {submitted['units']:,} units, to {submitted['runner']}{job}\n"
        f"its pipeline ends with {output}/_SUCCESS, or fails and says why"
    )


def _run_line(run: Mapping[str, Any]) -> str:
    if not run["units"]:
        return f"nothing to do: all {run['kept_units']:,} units are done and unchanged"
    kept = f", {run['kept_units']:,} kept" if run["kept_units"] else ""
    return (
        f"{run['read']:,} records in {run['units']:,} units{kept}: {run['results']:,} results, "
        f"{run['rejects']:,} rejects, in {run['seconds']:.1f} s{_rate(run)}"
    )


def _rate(run: Mapping[str, Any]) -> str:
    if run["first_result"] is None or run["ended"] - run["first_result"] < 1:
        return ""
    startup = run["first_result"] - run["started"]
    return f" ({run['read'] / (run['ended'] - run['first_result']):,.0f} records/s after {startup:.1f} s of start-up)"


def _total_line(summary: Mapping[str, Any]) -> str:
    total = summary["total"]
    state = "complete" if summary["complete"] else "NOT complete"
    return (
        f"{summary['output']}: {state}, {total['units']:,} units, {total['results']:,} results, "
        f"{total['output_bytes'] / 1e6:,.1f} MB"
    )


def _reasons(summary: Mapping[str, Any]) -> list[str]:
    lines = []
    for reason, count in summary["total"]["reasons"].items():
        lines.append(f"  rejected: {count:,} {reason}")
        lines += [f"    {_example(example)}" for example in summary["examples"].get(reason, [])[:1]]
    return lines


def _example(example: Mapping[str, Any]) -> str:
    where = f"{example['shard']}[{example['index']}] {example['key']!r}: " if "shard" in example else ""
    return f"such as {_printable(where + example['detail'])}"


def _printable(text: str) -> str:
    """Text from data on one line: what would move the cursor, or turn the direction of writing, is spelt out."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text)


def _failed(summary: Mapping[str, Any]) -> list[str]:
    lines = [f"  failed: {_printable(failed['error'])}" for failed in summary["failed"]]
    more = summary["run"]["failed_units"] - len(lines)
    return lines + ([f"  and {more:,} more failed units"] if more > 0 else [])


def _open(summary: Mapping[str, Any]) -> list[str]:
    output = summary["output"]
    lines = ["open it:"]
    if table := {"encode": "latents", "reconstruct": "latents", "denoise": "metrics"}.get(summary["verb"]):
        lines += [
            f"  duckdb  SELECT * FROM '{output}/{table}/**/*.parquet'",
            f"  python  pyarrow.dataset.dataset('{output}/{table}').to_table()",
        ]
    if images := summary["options"].get("images"):
        lines.append(f"  images  {output}/images ({images['format']})")
    if summary["total"]["rejects"]:
        lines.append(f"  rejects SELECT shard, index, reason, detail FROM '{output}/rejects/**/*.parquet'")
    return [*lines, f"check it: python -m pipeline verify {output}"]
