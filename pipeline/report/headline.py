"""The first screen of a report: one sentence, what was found, and the images to look at."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lake.core.quantities import counted
from pipeline.report.distributions import AgainstFacts, GroupFacts, LatentFacts, NoiseFacts
from pipeline.report.facts import Finding, Headline, Section, Severity
from pipeline.report.shown import DuplicateFacts, ImageFacts, OutlierFacts, RejectFacts

_ORDER = (Severity.BAD, Severity.LOOK, Severity.GOOD)
_MANY_REJECTS = 0.01  # what the gate allows if nothing else is said
_CHANGE = 0.1  # of the mean error
_OUTSIDE = 0.01  # of the records
_DEAD = 0.5  # of the dimensions
_NAMED = 3  # parts that are told by name


def make_headline(
    *,
    count: int,
    what: str,
    summary: Mapping[str, Any] | None,
    look: Sequence[ImageFacts],
    rejects: RejectFacts | None,
    against: AgainstFacts | None,
    partitions: GroupFacts | None,
    duplicates: DuplicateFacts | None,
    outliers: OutlierFacts | None,
    latents: LatentFacts | None,
    noise: NoiseFacts | None,
) -> Headline:
    """Say whether the run was good.

    Args:
      count: results and rejects of the output.
      what: what they are, "images" or "records".
      summary: of the latest run; None if that is lost.
      look: the images to look at.
      rejects: as on the page, like all that follow.
      against: how it differs from what was before.
      partitions: how its parts differ.
      duplicates: what is there more than once.
      outliers: what is like nothing else.
      latents: what each dimension says.
      noise: the noise levels.
    """
    findings = [
        *_of_run(summary),
        *_of_nothing(count, what),
        *_of_rejects(rejects, what),
        *_of_against(against),
        *_of_partitions(partitions),
        *_of_duplicates(duplicates),
        *_of_outliers(outliers),
        *_of_latents(latents),
        *_of_noise(noise),
    ]
    findings.sort(key=lambda finding: _ORDER.index(finding.severity))
    parts = [
        f"{count_text(count)} {_noun(count, what)}",
        f"{share_text(rejects.share) if rejects else 'none'} rejected",
    ]
    parts += [*_short(against, partitions, duplicates, outliers)]
    unfinished = "not complete: " if summary is not None and not summary["complete"] else ""
    ending = f": look at these {len(look)}" if len(look) > 1 else ""
    return Headline(
        sentence=f"{unfinished}{', '.join(parts)}{ending}",
        severity=findings[0].severity if findings else Severity.GOOD,
        findings=tuple(findings),
        look=tuple(look),
    )


def _noun(count: int, what: str) -> str:
    return what.removesuffix("s") if count == 1 else what


def count_text(count: int) -> str:
    """A number as people say it.

    >>> count_text(1797), count_text(1_234_567), count_text(2_500_000_000)
    ('1,797', '1.2 M', '2.5 G')
    """
    for unit, name in ((10**9, "G"), (10**6, "M")):
        if count >= unit:
            return f"{count / unit:.1f} {name}"
    return f"{count:,}"


def share_text(share: float) -> str:
    """A share as people say it. What is not zero is not said as zero.

    >>> share_text(0.0), share_text(0.0001), share_text(0.25)
    ('0.0%', 'less than 0.1%', '25.0%')
    """
    return f"{share:.1%}" if share >= 0.001 or not share else "less than 0.1%"


def _short(
    against: AgainstFacts | None,
    partitions: GroupFacts | None,
    duplicates: DuplicateFacts | None,
    outliers: OutlierFacts | None,
) -> Iterator[str]:
    """What the sentence says beside counts."""
    if against is not None and not against.why_not:
        if against.error_change is not None:
            yield f"error {_change(against.error_change)} {against.name}"
        if against.drifted:
            yield f"drifted from {against.name}"
    if duplicates is not None and duplicates.count:
        yield counted(duplicates.count, "duplicate")
    if outliers is not None and outliers.count:
        yield counted(outliers.count, "outlier")
    drifted = _drifted(partitions)
    if partitions is not None and drifted:
        many = f"{len(drifted)} of {partitions.count:,} by {partitions.by} differ"
        yield f"{drifted[0]} differs" if len(drifted) == 1 else many


def without_text(parts: Sequence[str]) -> str:
    """Parts that are left out, as people say it.

    >>> without_text(["dt=3"]), without_text(["dt=1", "dt=2", "dt=3", "dt=4"])
    ('dt=3, which differs from the others', '4 parts, which differ from the others')
    """
    names = ", ".join(parts) if len(parts) <= _NAMED else f"{len(parts):,} parts"
    return f"{names}, which {'differs' if len(parts) == 1 else 'differ'} from the others"


def _drifted(groups: GroupFacts | None) -> list[str]:
    return [group.name for group in groups.groups if group.drifted] if groups is not None else []


def _change(change: float) -> str:
    return f"{abs(change):.0%} {'above' if change >= 0 else 'below'}"


def _of_run(summary: Mapping[str, Any] | None) -> Iterator[Finding]:
    if summary is None:
        yield Finding(severity=Severity.LOOK, text="The summary of its run is lost.", section=Section.RUN)
        return
    if not summary["complete"]:
        why = "; ".join(summary["refused"])
        yield Finding(severity=Severity.BAD, text=f"The output is not complete: {why}.", section=Section.RUN)
    failed = summary.get("run", {}).get("failed_units", 0)
    if failed:
        text = f"{counted(failed, 'unit')} failed in the latest run."
        yield Finding(severity=Severity.BAD, text=text, section=Section.RUN)
    if reused := summary.get("run", {}).get("reused", 0):
        text = f"The latest run kept {counted(reused, 'latent')} of records whose bytes were there before."
        yield Finding(severity=Severity.GOOD, text=text, section=Section.RUN)


def _of_nothing(count: int, what: str) -> Iterator[Finding]:
    if not count:
        text = f"There are no {what}: what the run read holds no records."
        yield Finding(severity=Severity.LOOK, text=text, section=Section.RUN)


def _of_rejects(rejects: RejectFacts | None, what: str) -> Iterator[Finding]:
    if rejects is None:
        yield Finding(severity=Severity.GOOD, text=f"No {what} were rejected.")
        return
    severity = Severity.BAD if rejects.share > _MANY_REJECTS else Severity.LOOK
    first = rejects.reasons[0]
    most = "most of them " if len(rejects.reasons) > 1 else ""
    text = (
        f"{rejects.total:,} {_noun(rejects.total, what)} {'was' if rejects.total == 1 else 'were'} rejected "
        f"({share_text(rejects.share)}), {most}for {first.reason}."
    )
    yield Finding(severity=severity, text=text, section=Section.REJECTS)


def _of_against(against: AgainstFacts | None) -> Iterator[Finding]:
    if against is None:
        return
    if against.why_not:
        text = f"It cannot be compared with {against.name}: {against.why_not}."
        yield Finding(severity=Severity.LOOK, text=text, section=Section.AGAINST)
        return
    verdict = f"a classifier tells the two apart with AUC {against.auc:.3f}"
    if against.drifted or not against.few:
        verdict += f", drift is from {against.threshold:.3g} on"
    else:
        rows = " and ".join(f"{count:,}" for count in against.rows)
        verdict += f", and of {rows} records all below {against.threshold:.3g} may be chance"
    severity = Severity.BAD if against.drifted else Severity.GOOD
    without = f" without {without_text(against.left_out)}" if against.left_out else ""
    text = f"{against.verdict} from {against.name}{without}: {verdict}."
    yield Finding(severity=severity, text=text, section=Section.AGAINST)
    if against.error_change is not None and abs(against.error_change) > _CHANGE:
        text = f"The mean error is {_change(against.error_change)} that of {against.name}."
        yield Finding(severity=Severity.LOOK, text=text, section=Section.AGAINST)


def _of_partitions(partitions: GroupFacts | None) -> Iterator[Finding]:
    if partitions is None:
        return
    drifted = _drifted(partitions)
    if not drifted:
        least = max(group.least for group in partitions.groups)
        text = f"No {partitions.by} differs from the others by AUC {least:.3g} or more ({partitions.count:,} of them)."
        yield Finding(severity=Severity.GOOD, text=text, section=Section.PARTITIONS)
        return
    most = partitions.groups[0]
    where = f", most in {most.most.name}" if most.most is not None else ""
    if len(drifted) == 1:
        text = f"{drifted[0]} differs from the others (AUC {most.auc:.3f}{where})."
    else:
        text = (
            f"{len(drifted)} of {partitions.count:,} parts (by {partitions.by}) differ from the others, most of all "
            f"{drifted[0]} (AUC {most.auc:.3f})."
        )
    yield Finding(severity=Severity.LOOK, text=text, section=Section.PARTITIONS)


def _of_duplicates(duplicates: DuplicateFacts | None) -> Iterator[Finding]:
    if duplicates is None:
        return
    among = "" if duplicates.exact else f" among {duplicates.compared:,} that were compared"
    if not duplicates.groups:
        text = f"No duplicates{among} (by {duplicates.by})."
        yield Finding(severity=Severity.GOOD, text=text, section=None)
        return
    alike = f" and {duplicates.look_alike:,} that look alike" if duplicates.look_alike else ""
    text = (
        f"{counted(duplicates.count, 'duplicate')}{alike}{among}, in {counted(duplicates.groups, 'group')} "
        f"(by {duplicates.by})."
    )
    yield Finding(severity=Severity.LOOK, text=text, section=Section.DUPLICATES)


def _of_outliers(outliers: OutlierFacts | None) -> Iterator[Finding]:
    if outliers is None:
        return
    among = "" if outliers.exact else f" among {outliers.compared:,} that were looked at"
    if not outliers.count:
        yield Finding(severity=Severity.GOOD, text=f"No outliers{among} (by {outliers.by}).", section=None)
        return
    text = f"{counted(outliers.count, 'outlier')}{among} (by {outliers.by})."
    yield Finding(severity=Severity.LOOK, text=text, section=Section.OUTLIERS)


def _of_latents(latents: LatentFacts | None) -> Iterator[Finding]:
    if latents is not None and len(latents.dead) > _DEAD * len(latents.mean):
        text = f"{len(latents.dead):,} of {len(latents.mean):,} dimensions of the latents do not vary."
        yield Finding(severity=Severity.LOOK, text=text, section=Section.LATENTS)


def _of_noise(noise: NoiseFacts | None) -> Iterator[Finding]:
    if noise is not None and noise.trained is not None and noise.outside > _OUTSIDE:
        low, high = noise.trained
        text = (
            f"{noise.outside:.1%} of the noise levels are outside of {low:g} to {high:g}, which the model was trained "
            f"for: {counted(noise.below, 'image')} below, {noise.above:,} above."
        )
        yield Finding(severity=Severity.LOOK, text=text, section=Section.NOISE)
