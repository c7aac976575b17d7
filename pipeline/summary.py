"""A summary that a person can read."""

from collections.abc import Mapping
from typing import Any

from pipeline.errors import UnfinishedError

_SIZES = ((10**3, "kB"), (10**6, "MB"), (10**9, "GB"))  # bytes


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
        files = _counted(run["passed_over_files"], "file")
        lines.append(f"  passed over, since they are of no known format: {files} of the input")
    if run["store_retries"]:
        lines.append(f"  made again, since they failed: {_counted(run['store_retries'], 'request')} to the stores")
    return "\n".join(lines + _open(summary))


def _submitted(summary: Mapping[str, Any]) -> str:
    submitted, output = summary["submitted"], summary["output"]
    job = f" as {submitted['job']}" if submitted["job"] else ""
    return (
        f"submitted: run {submitted['run']}, {_counted(submitted['units'], 'unit')}, to {submitted['runner']}{job}\n"
        f"its pipeline ends with {output}/_SUCCESS, or fails and says why"
    )


def _run_line(run: Mapping[str, Any]) -> str:
    if not run["units"]:
        units = "the one unit is" if run["kept_units"] == 1 else f"all {run['kept_units']:,} units are"
        return f"nothing to do: {units} done and unchanged"
    kept = f", {run['kept_units']:,} kept" if run["kept_units"] else ""
    units, records = _counted(run["units"], "unit"), _counted(run["read"], "record")
    # Counts are of whole units; a retry takes most records of one as they are.
    what = f"tried again: {units} of {records}" if run.get("retry") else f"{records} in {units}"
    rate = "" if run.get("retry") else _rate(run)
    return f"{what}{kept}: {_outcome(run)}, in {run['seconds']:.1f} s{rate}"


def _outcome(run: Mapping[str, Any]) -> str:
    return f"{_counted(run['results'], 'result')}, {_counted(run['rejects'], 'reject')}"


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _size(count: int) -> str:
    """Bytes, in the unit in which there are 1 to 1,000; of the largest, more."""
    if count < 1000:
        return _counted(count, "byte")
    unit, name = next(((unit, name) for unit, name in _SIZES if round(count / unit, 1) < 1000), _SIZES[-1])
    return f"{count / unit:,.1f} {name}"


def _rate(run: Mapping[str, Any]) -> str:
    if run["first_result"] is None or run["ended"] - run["first_result"] < 1:
        return ""
    startup = run["first_result"] - run["started"]
    return f" ({run['read'] / (run['ended'] - run['first_result']):,.0f} records/s after {startup:.1f} s of start-up)"


def _total_line(summary: Mapping[str, Any]) -> str:
    total = summary["total"]
    state = "complete" if summary["complete"] else "NOT complete"
    return (
        f"{summary['output']}: {state}, {_counted(total['units'], 'unit')}, {_counted(total['results'], 'result')}, "
        f"{_size(total['output_bytes'])}"
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
    return lines + ([f"  and {_counted(more, 'more failed unit')}"] if more > 0 else [])


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
