"""From an output to all that its report shows: one pass over its tables, then the images that were chosen."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lake.core.errors import LatentlakeError
from lake.core.printable import printable
from lake.formats.common.vector_storage import FIRST
from pipeline.explore.committed import Committed
from pipeline.options.latent_form import PARQUET
from pipeline.output.units.receipts import sum_counts
from pipeline.report.choose import SHOWN, RowStrip, rows_to_look_at, strips_of
from pipeline.report.distributions import AgainstFacts, Histogram
from pipeline.report.drift_facts import against_before, against_output, error_histogram, partition_facts
from pipeline.report.facts import ReportFacts
from pipeline.report.headline import make_headline
from pipeline.report.latent_map import latent_facts
from pipeline.report.noise_facts import noise_facts
from pipeline.report.reject_facts import reject_facts
from pipeline.report.run_facts import latest_summary, night_summary, run_facts, time_text
from pipeline.report.shown import DuplicateFacts, OutlierFacts, Strip
from pipeline.report.shown_records import ShownRecords, shown_groups, wanted_rows
from pipeline.report.survey import Survey, survey
from pipeline.report.survey_rows import errors_of
from pipeline.report.tableless import facts_without_tables
from pipeline.report.unusual import FENCE, Copies, Unusual, find_repeated, find_unusual
from pipeline.worker.verbs import VERBS

_REFERENCE_ROWS = 200_000  # that are read of another output


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportChoices:
    """What a user chooses of a report.

    Attributes:
      map: "pca" or "pacmap".
      color_by: the column that the map is coloured by at first; None for the first carried one.
      sample: rows that latents, the map and drift are computed of.
    """

    map: str = "pca"
    color_by: str | None = None
    sample: int = 50_000


def make_facts(
    committed: Committed, against: Committed | None = None, choices: ReportChoices | None = None
) -> ReportFacts:
    """Gather all that a report shows. Memory is bounded, whatever the size of the output.

    Args:
      committed: the output.
      against: the output to compare it with; None to compare the units of its latest run with those before; a
        retry belongs to the run that it repaired.
      choices: of the user; None for the usual ones.

    Raises:
      UsageError: there is no such column to colour by, or PaCMAP is not installed.
      LatentlakeError: the tables are not those of the manifest.
    """
    choices = choices or ReportChoices()
    summary = latest_summary(committed.layout)
    if VERBS[committed.verb].table is None or committed.latent_format != PARQUET:
        asked = against is not None or choices.color_by is not None
        return facts_without_tables(committed, summary, tables_asked=asked)
    night = night_summary(committed.layout, summary)
    first = (night or {}).get("run", {}).get("sample", ())
    found = survey(committed, sample=choices.sample, first=first, color_by=choices.color_by)
    unusual, copies, partitions = find_unusual(found), find_repeated(found), partition_facts(found)
    strips = strips_of(found, unusual)
    look = rows_to_look_at(found, unusual, copies, partitions, strips)
    shown = ShownRecords.load(committed, found, wanted_rows(found, look, strips, unusual, copies))
    if against is not None:
        compared: AgainstFacts | None = _compared(committed, found, against)
    else:
        compared = None if night is None else against_before(found, night, partitions, _state_before(night, summary))
    rejects = reject_facts(committed)
    duplicates = _duplicates(committed, found, copies, shown)
    outliers = _outliers(committed, found, unusual, shown)
    latents, noise = (
        latent_facts(found, choices.map, choices.color_by, shown.thumbnails()),
        noise_facts(committed, found),
    )
    totals = sum_counts(committed.receipts)
    headline = make_headline(
        count=totals["read"],
        what=shown.what,
        summary=summary,
        look=[shown.image(row, why) for row, why in look.items()],
        rejects=rejects,
        against=compared,
        partitions=partitions,
        duplicates=duplicates,
        outliers=outliers,
        latents=latents,
        noise=noise,
    )
    return ReportFacts(
        output=committed.layout.output,
        headline=headline,
        run=run_facts(committed, summary),
        strips=[_strip(strip, shown) for strip in strips],
        error=_errors(found),
        noise=noise,
        latents=latents,
        rejects=rejects,
        against=compared,
        partitions=partitions,
        duplicates=duplicates,
        outliers=outliers,
        notes=_notes(found, shown.why_not),
    )


def _strip(strip: RowStrip, shown: ShownRecords) -> Strip:
    return Strip(name=strip.name, text=strip.text, images=[shown.image(row) for row in strip.rows])


def _state_before(night: Mapping[str, Any], latest: Mapping[str, Any] | None) -> str:
    when = "the latest run" if night is latest else f"the run of {time_text(night['run'].get('started'))}"
    return f"the state before {when}"


def _compared(committed: Committed, found: Survey, against: Committed) -> AgainstFacts:
    try:
        other = survey(against, most=_REFERENCE_ROWS, distances=False)
    except LatentlakeError as error:
        return AgainstFacts(name=against.layout.output, why_not=printable(str(error)))
    return against_output(found, committed, other, against)


def _errors(found: Survey) -> Histogram | None:
    errors, name = errors_of(found)
    return None if errors is None else error_histogram(name, errors)


def _duplicates(
    committed: Committed, found: Survey, copies: Copies | None, shown: ShownRecords
) -> DuplicateFacts | None:
    if copies is None:
        return None
    return DuplicateFacts(
        count=copies.count,
        look_alike=copies.look_alike,
        groups=len(copies.groups),
        by=copies.by,
        exact=found.whole,
        compared=len(found),
        examples=[[shown.image(row) for row in group] for group in shown_groups(copies)],
        command=_command("duplicates", committed),
    )


def _outliers(committed: Committed, found: Survey, unusual: Unusual | None, shown: ShownRecords) -> OutlierFacts | None:
    if unusual is None:
        return None
    return OutlierFacts(
        count=unusual.count,
        by=unusual.by,
        threshold=FENCE,
        exact=found.whole,
        compared=len(found),
        images=[shown.image(row, unusual.why(row)) for row in unusual.highest(SHOWN).tolist()],
        command=_command("outliers", committed),
    )


def _command(name: str, committed: Committed) -> str:
    chosen = [] if committed.latent == FIRST else ["--latent", committed.latent.removeprefix(f"{FIRST}_")]
    return shlex.join(["latentlake", name, committed.layout.output, *chosen])


def _notes(found: Survey, why_not: str) -> list[str]:
    notes = [f"Images: {why_not}."] if why_not else []
    notes += [f"Latents: {found.why_not}."] if found.why_not else []
    if not found.whole:
        notes.append(f"{len(found):,} of {found.total:,} results were read, in {len({*found.units()}):,} units.")
    return notes
