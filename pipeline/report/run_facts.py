"""How an output was made: its run, the card of its model, options, versions, lineage, and where the time went."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from datetime import UTC, datetime
from typing import Any

import numpy as np

from lake import __version__
from lake.core.errors import LatentlakeError
from lake.core.printable import printable
from lake.core.quantities import size_text
from lake.storage import store_for
from pipeline.explore.committed import Committed
from pipeline.options.job_options import JobOptions
from pipeline.output.layout import Layout, files_below
from pipeline.output.state.state_file import read_summary
from pipeline.output.units.receipts import sum_counts
from pipeline.report.facts import ModelFacts, RunFacts, TimingFacts, UnitTime
from pipeline.report.shown import Fact

_TEXT = 300  # characters of a value
_RUNS = 10  # earlier runs that are named
_PARTS = ("read", "decode", "model", "write", "publish")
_NOT_SHOWN = ("verb", "model", "output", "input", "stores", "gate", "retry_policies", "scope")


def latest_summary(layout: Layout) -> dict[str, Any] | None:
    """The summary of the latest run that came to its commit; None where there is none, or it is damaged.

    Args:
      layout: the output.
    """
    for uri in (layout.success, *(layout.summary(run) for run in _runs(layout)[:1])):
        try:
            if store_for(uri).stat(uri) is not None:
                return read_summary(uri)
        except (LatentlakeError, OSError):
            continue
    return None


def night_summary(layout: Layout, latest: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """The summary of the run whose units a report compares with those before: the latest that was new work.

    What a retry makes of a reject belongs to the run that read its unit first, and a run that found nothing to do left
    the output as it was.

    Args:
      layout: the output.
      latest: of its latest run; None if that is lost.

    Returns:
      That of the latest run itself where it did something; None where no other can be read.
    """
    if latest is None or _is_night(latest):
        return latest
    for run in _runs(layout):
        try:
            summary = read_summary(layout.summary(run))
        except (LatentlakeError, OSError):
            return None  # what this run wrote would count as kept
        if _is_night(summary):
            return summary
    return None


def _is_night(summary: Mapping[str, Any]) -> bool:
    run = summary.get("run", {})
    return bool(run.get("units")) and not run.get("retry")


def _runs(layout: Layout) -> list[str]:
    """The runs that left a summary, the latest first: their ids begin with the time of their start."""
    names = [stat.uri[len(layout.plans) + 1 :] for stat in files_below(layout.plans)]
    return sorted((name.partition("/")[0] for name in names if name.endswith("/summary.json")), reverse=True)


def run_facts(committed: Committed, summary: Mapping[str, Any] | None) -> RunFacts:
    """What the page shows of the run.

    Args:
      committed: the output.
      summary: of its latest run; None if that is lost.
    """
    return RunFacts(
        facts=_run(committed, summary),
        model=_model(committed),
        options=_options(committed),
        versions=_versions(summary, committed),
        lineage=_lineage(committed, summary),
        timing=_timing(summary),
        failed=tuple(
            Fact(name=printable(str(one.get("unit", ""))), value=printable(str(one.get("error", "")), _TEXT))
            for one in (summary or {}).get("failed", [])[:20]
        ),
    )


def _facts(**values: object) -> list[Fact]:
    """Facts of what is known; an underscore of a name is a space."""
    return [
        Fact(name=name.replace("_", " "), value=printable(str(value), _TEXT))
        for name, value in values.items()
        if value not in (None, "", (), [])
    ]


def _run(committed: Committed, summary: Mapping[str, Any] | None) -> list[Fact]:
    totals = sum_counts(committed.receipts)
    run = (summary or {}).get("run", {})
    known = summary is not None
    kept = f" ({run['kept_units']:,} of them kept by the latest run)" if run.get("kept_units") else ""
    return _facts(
        verb=committed.job["options"]["verb"],
        complete=("yes" if summary and summary["complete"] else "no") if known else None,
        why_it_is_not="; ".join(summary["refused"]) if summary and not summary["complete"] else None,
        started=time_text(run.get("started")),
        duration=f"{run['seconds']:,.1f} s" if "seconds" in run else None,
        records_read=f"{totals['read']:,}",
        results=f"{totals['results']:,}",
        rejects=f"{totals['rejects']:,}",
        latents_reused_by_the_latest_run=f"{run['reused']:,}" if run.get("reused") else None,
        units=f"{len(committed.receipts):,}{kept}",
        size=size_text(totals["output_bytes"]),
        rate_of_the_latest_run=_rate(run),
    )


def _rate(run: Mapping[str, Any]) -> str | None:
    first, ended = run.get("first_result"), run.get("ended")
    if not first or not ended or ended - first <= 0 or not run.get("read"):
        return None
    return f"{run['read'] / (ended - first):,.0f} records/s after {first - run['started']:.1f} s of start-up"


def time_text(seconds: float | None) -> str | None:
    """A time since 1970, for people.

    >>> time_text(0.0)
    '1970-01-01 00:00:00 UTC'
    """
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _model(committed: Committed) -> ModelFacts:
    name = printable(str(committed.job["settings"].get("model", "")), _TEXT) or "unknown"
    digest = str(committed.job["options"].get("model_digest", ""))
    try:
        from model.bundle import Bundle

        spec = Bundle.open(committed.layout.model(digest)).spec
    except (LatentlakeError, OSError, ValueError) as error:
        return ModelFacts(name=name, facts=_facts(digest=digest, not_readable=error), figures=())
    latent = spec.latents.get(committed.latent_name) if committed.latent_name else spec.latent
    facts = _facts(
        kind=spec.kind,
        input=f"{' x '.join(map(str, spec.input.shape))}, {spec.input.color or 'vectors or bands'}"
        f"{', any size' if spec.input.any_size else ''}",
        values=f"{spec.input.value_range[0]:g} to {spec.input.value_range[1]:g}",
        latent=f"{latent.layer}: {' x '.join(map(str, latent.shape))}" if latent else None,
        functions=", ".join(spec.functions),
        precision=spec.quantization.precision if spec.quantization else None,
        digest=digest,
    )
    return ModelFacts(name=name, facts=facts, figures=[*_zoo(name), *_training(spec.training)])


def _training(training: Mapping[str, Any]) -> list[Fact]:
    """What training measured: its numbers, also one level down."""
    found = list[Fact]()
    for name, value in training.items():
        flat = {f"{name} {inner}": one for inner, one in value.items()} if isinstance(value, dict) else {name: value}
        if name != "versions":
            found += [
                Fact(name=printable(key.replace("_", " ")), value=f"{one:g}")
                for key, one in flat.items()
                if isinstance(one, (int, float)) and not isinstance(one, bool)
            ]
    return found[:20]


_BULLET = re.compile(r"^- \*\*(\w[\w ]*)\*\*:? ?(.*?)(?=^- \*\*|\Z)", re.MULTILINE | re.DOTALL)
_CARD = ("Measured", "Data", "For", "Not for")


def _zoo(name: str) -> list[Fact]:
    """What the card of a model of the zoo says it reaches, and what it is for."""
    from model.zoo import in_zoo, read_card

    if not in_zoo(name):
        return []
    try:
        card = read_card(name)
    except (LatentlakeError, OSError):  # of another version's zoo
        return []
    bullets = {title: " ".join(text.split()) for title, text in _BULLET.findall(card)}
    return [Fact(name=title.lower(), value=_plain(bullets[title])) for title in _CARD if title in bullets]


def _plain(text: str) -> str:
    """Markdown without its marks: no links, code or tables."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text).replace("`", "")
    text = re.sub(r"\|(?:-+\|)+", "", text)
    return " ".join(text.replace("|", " ").split())


def _options(committed: Committed) -> list[Fact]:
    """The options that are not the usual ones."""
    settings = committed.job["settings"]
    usual = {field.name: field.default for field in fields(JobOptions) if field.default is not MISSING}
    found = []
    for name, value in settings.items():
        if name in _NOT_SHOWN or value is None or (name in usual and str(usual[name]) == str(value)):
            continue
        found.append(Fact(name=f"--{name.replace('_', '-')}", value=printable(_as_given(value), _TEXT)))
    return found


def _as_given(value: object) -> str:
    """The value of an option as it is given on the command line.

    >>> _as_given(["label", "caption"]), _as_given(25.0)
    ('label caption', '25.0')
    """
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _versions(summary: Mapping[str, Any] | None, committed: Committed) -> list[Fact]:
    options = committed.job["options"]
    return _facts(
        latentlake=(summary or {}).get("version"),
        python=(summary or {}).get("python"),
        executor=options.get("executor"),
        output_format=options.get("output_version"),
        report_by=__version__,
    )


def _lineage(committed: Committed, summary: Mapping[str, Any] | None) -> list[Fact]:
    settings = committed.job["settings"]
    facts = _facts(
        input=", ".join(map(str, settings.get("input") or ())),
        model=settings.get("model"),
        model_digest=committed.job["options"].get("model_digest"),
        options_digest=committed.job.get("options_digest"),
        manifest=(summary or {}).get("manifest", {}).get("crc32c"),
        run=(summary or {}).get("run", {}).get("id"),
    )
    return [*facts, *earlier_runs(committed.layout, (summary or {}).get("run", {}).get("id", ""))]


def earlier_runs(layout: Layout, latest: str) -> list[Fact]:
    """What earlier runs of an output did, the latest first.

    Args:
      layout: the output.
      latest: id of the run that is not to be named.
    """
    found = list[Fact]()
    for run in [run for run in _runs(layout) if run != latest][:_RUNS]:
        try:
            summary = read_summary(layout.summary(run))
        except (LatentlakeError, OSError):
            continue
        counts, total = summary.get("run", {}), summary["total"]
        share = total["rejects"] / max(total["read"], 1)
        text = f"{counts.get('read', 0):,} records read; {total['results']:,} results in all, {share:.2%} rejected"
        found.append(Fact(name=f"earlier run, {time_text(counts.get('started')) or printable(run)}", value=text))
    return found


def _timing(summary: Mapping[str, Any] | None) -> TimingFacts | None:
    """Of what the commit kept; None of an earlier version."""
    timing = (summary or {}).get("run", {}).get("timing")
    if not isinstance(timing, dict) or not timing.get("records"):
        return None
    records, step = np.array(timing["records"], np.float64), float(timing["step"])
    slowest: Sequence[Mapping[str, Any]] = timing["slowest"]
    return TimingFacts(
        seconds=float(timing["start"]) + step * np.arange(len(records) + 1),
        rates=records / step,
        slowest=tuple(
            UnitTime(unit=printable(str(unit["unit"])), seconds=float(unit["seconds"]), read=int(unit["read"]))
            for unit in slowest
        ),
        parts={name: float(timing["spent"][name]) for name in _PARTS if name in timing.get("spent", {})},
    )
