"""The commands that look at outputs: ``similar``, ``outliers``, ``duplicates``, ``compare`` and ``report``."""

import json
from argparse import Namespace
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from lake.cli.lines import line_of
from lake.cli.option import Option
from lake.core.printable import printable
from lake.core.quantities import counted
from pipeline.options.explore import COMPARE, DUPLICATES, OUTLIERS, REPORT, SIMILAR

if TYPE_CHECKING:
    from pipeline.explore.drift import Drift
    from pipeline.explore.output import Output
    from pipeline.report.make_gallery import ExploreResult

DRIFTED = 5  # exit status of ``compare`` where the data have drifted
_SHOWN = 40  # most lines of a result
_DIMENSIONS = 10  # most of them that are printed
_KEY = 60  # characters

# As JSON, as it was found, as lines of text, and the exit status.
Answer = tuple[dict[str, Any], "ExploreResult | None", list[str], int]

# Of each command: its positional arguments (name and help; one in brackets may be left out), and its options.
EXPLORE: Mapping[str, tuple[Mapping[str, str], tuple[Option, ...]]] = {
    "similar": ({"OUTPUT": "directory that a job wrote"}, SIMILAR),
    "outliers": ({"OUTPUT": "directory that a job wrote"}, OUTLIERS),
    "duplicates": (
        {
            "OUTPUT": "directory that a job wrote",
            "[AGAINST]": "another one: find what OUTPUT has of it (default: what OUTPUT has twice)",
        },
        DUPLICATES,
    ),
    "compare": ({"A": "directory that a job wrote, the reference", "B": "the one to compare with it"}, COMPARE),
    "report": ({"OUTPUT": "directory that a job wrote"}, REPORT),
}


def explore(options: Namespace) -> int:
    """Run one of the commands and print its result.

    Args:
      options: the parsed command line.

    Returns:
      The exit status: 0, or ``DRIFTED``.
    """
    from pipeline.explore.output import Output
    from pipeline.explore.result_files import write_result

    if hasattr(options, "gallery"):
        from pipeline.report.page.document import check_installed

        check_installed(figures=False)
    place = options.a if options.command == "compare" else options.output
    output = Output(place, cache=_of(options, "cache"), latent=_of(options, "latent"))
    value, found, lines, status = _ANSWERS[options.command](output, options)
    if hasattr(options, "output_table"):
        assert found is not None
        write_result(found.table, options.output_table)
    if hasattr(options, "gallery"):
        other = _of(options, "b" if options.command == "compare" else "against")
        output.gallery(found, options.gallery, other=other, image=_of(options, "image"))
    if options.json:
        print(json.dumps(value, indent=2), flush=True)
        return status
    hidden = len(lines) - _SHOWN - 1
    more = [f"  and {hidden:,} more; --json or --output-table FILE has all"] if hidden > 0 else []
    print("\n".join(map(line_of, [*lines[: _SHOWN + 1], *more])), flush=True)
    return status


def _similar(output: "Output", options: Namespace) -> Answer:
    found = output.similar(**_given(options, "key", "image", "table", "k", "metric"))
    rows = found.to_pylist()
    queries = len({row["query"] for row in rows})
    lines = [f"the nearest of {len(output):,} records, for {queries:,} {'query' if queries == 1 else 'queries'}"]
    lines = lines if rows else [_alone(output)]
    lines += [f"  {_short(row['query'])}  {row['rank']:>3}  {row['distance']:.6g}  {_record(row)}" for row in rows]
    return {"output": output.uri, "neighbours": rows}, found, lines, 0


def _alone(output: "Output") -> str:
    return f"{output.uri} has {counted(len(output), 'record')}: there is nothing to compare"


def _outliers(output: "Output", options: Namespace) -> Answer:
    found = output.outliers(**_given(options, "top", "by", "k"))
    rows = found.table.to_pylist()
    what = "error (mse)" if found.by == "error" else "distance to the nearest neighbours"
    lines = [f"the highest {what} of {len(output):,} records{'' if found.exact else ', among 10,000 candidates'}"]
    lines = lines if rows else [_alone(output)]
    lines += [f"  {row['score']:.6g}  {_record(row)}" for row in rows]
    return {"output": output.uri, "by": str(found.by), "exact": found.exact, "outliers": rows}, found, lines, 0


def _duplicates(output: "Output", options: Namespace) -> Answer:
    from pipeline.explore.result_files import write_dropped

    against = _of(options, "against")
    found = output.duplicates(against, **_given(options, "threshold", "metric", "phash_bits"))
    if hasattr(options, "write_list"):
        write_dropped(found.dropped, options.write_list)
    rows = found.table.to_pylist()
    how = ", ".join(f"latent within {found.threshold:.4g}" if name == "latent" else name for name in found.compared)
    count = len(found.dropped)
    if against is None:
        groups = sum(row["keep"] for row in rows)
        lines = [f"{count:,} of {len(output):,} records are duplicates; groups: {groups:,} (by {how})"]
        lines += [f"  {row['group']:>4}  {_reason(row)}  {_record(row)}" for row in rows]
    else:
        lines = [f"{count:,} of {len(output):,} records are in {against}, too (by {how})"]
        lines += [f"  {_reason(row)}  {_record(row)}  is  {_record(row, 'against_')}" for row in rows]
    value = {"output": output.uri, "against": against, "threshold": found.threshold, "compared": [*found.compared]}
    return {**value, "dropped": count, "duplicates": rows}, found, lines, 0


def _report(output: "Output", options: Namespace) -> Answer:
    given = _given(options, "against", "map", "color_by", "sample")
    report = output.report(**given, **({"file": options.output_file} if hasattr(options, "output_file") else {}))
    return {"output": output.uri, **report.to_value()}, None, report.describe(), 0


def _verdict(drift: "Drift") -> tuple[str, str]:
    """The verdict, and from which AUC on it is drift; of few records with how much they could have shown."""
    chance, error = "0.5 is chance", f"standard error {drift.error:.4f}"
    if drift.few and not drift.drifted:
        rows = " and ".join(f"{count:,}" for count in drift.rows)
        below = f"{drift.least:.4g}"
        return f"no drift above AUC {below}", f"{chance}, and of {rows} records all below {below} may be; {error}"
    few = ", of so few records" if drift.few else ""
    return "drift" if drift.drifted else "no drift", f"{chance}, {error}; drift from {drift.least:.4g} on{few}"


def _compare(output: "Output", options: Namespace) -> Answer:
    drift = output.compare(options.b, **_given(options, "max_auc"))
    rows = drift.table.to_pylist()
    verdict, least = _verdict(drift)
    lines = [f"{verdict}: a classifier tells {options.b} from {output.uri} with AUC {drift.auc:.4f} ({least})"]
    apart = [row for row in rows if row["ks"] > 0][:_DIMENSIONS]
    lines += [f"  {row['name']}  KS {row['ks']:.4f}  Wasserstein {row['wasserstein']:.4f} sd" for row in apart]
    if hidden := len(rows) - len(apart):
        lines.append(f"  {hidden:,} dimensions differ less or not at all; --json or --output-table FILE has all")
    value = {
        "a": output.uri,
        "b": options.b,
        "drifted": drift.drifted,
        "auc": drift.auc,
        "standard_error": drift.error,
        "threshold": drift.threshold,
        "least_auc": drift.least,
        "rows": [*drift.rows],
        "dimensions": rows,
    }
    return value, drift, lines, DRIFTED if drift.drifted else 0


_ANSWERS: Mapping[str, Callable[["Output", Namespace], Answer]] = {
    "similar": _similar,
    "outliers": _outliers,
    "duplicates": _duplicates,
    "compare": _compare,
    "report": _report,
}


def _given(options: Namespace, *names: str) -> dict[str, Any]:
    return {name: getattr(options, name) for name in names if hasattr(options, name)}


def _of(options: Namespace, name: str) -> Any:
    return getattr(options, name, None)


def _short(text: str) -> str:
    return printable(text, _KEY)


def _record(row: Mapping[str, Any], prefix: str = "") -> str:
    key, shard = (_short(row[f"{prefix}{name}"]) for name in ("key", "shard"))
    return f"{key}  ({shard}[{row[f'{prefix}index']}])"


def _reason(row: Mapping[str, Any]) -> str:
    return "keep" if row.get("keep") else str(row["by"])
