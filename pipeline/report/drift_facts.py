"""How an output differs from another one or from what it was before, and its partitions from one another."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lake.core.printable import printable
from lake.core.records import Array
from pipeline.explore.committed import Committed
from pipeline.explore.drift import FEWEST, THRESHOLD, Drift, drift_between
from pipeline.output.commit.run_timing import unit_order
from pipeline.report.distributions import AgainstFacts, DimensionDrift, GroupDrift, GroupFacts, Histogram
from pipeline.report.latent_map import principal_components
from pipeline.report.survey import Survey
from pipeline.report.survey_rows import errors_of, number_matrix, partitions_of

_MOST_LATENTS = 256  # dimensions that are compared one by one; of more, principal components
_COMPONENTS = 64
_PER_SIDE = 20_000  # rows
_PER_GROUP = 1000
_DIMENSIONS, _GROUPS = 200, 24
_BINS = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedSides:
    """Two samples that are compared.

    Attributes:
      name: of the reference, for people.
      reference: numbers there, float64 ``[n, F]``.
      here: numbers here, float64 ``[m, F]``.
      names: of the numbers, ``[F]``.
      units: the unit of each row here, ``[m]``.
      errors: errors there and here; None without any.
    """

    name: str
    reference: Array
    here: Array
    names: Sequence[str]
    units: Sequence[str]
    errors: tuple[Array, Array] | None


def against_output(survey: Survey, own: Committed, other: Survey, reference: Committed) -> AgainstFacts:
    """Compare an output with another one.

    Args:
      survey: of the output.
      own: the output.
      other: survey of the other one.
      reference: the other one.
    """
    name = reference.layout.output
    if (digest := _model(own)) != _model(reference):
        return AgainstFacts(
            name=name,
            why_not=f"it was made by another model ({_model(reference)[:8]}, this one by {digest[:8]}), whose latents "
            "have nothing to do with these",
        )
    if own.latent_name != reference.latent_name:
        return AgainstFacts(name=name, why_not="its latents are of another layer; choose one that both have: --latent")
    rows, here, names = number_matrix(survey)
    _, there, others = number_matrix(other)
    shared = [column for column in names if column in others]
    here = here[:, [names.index(column) for column in shared]]
    there = there[:, [others.index(column) for column in shared]]
    errors = (errors_of(other)[0], errors_of(survey)[0])
    units = survey.units()
    sides = ComparedSides(
        name=name,
        reference=there,
        here=here,
        names=shared,
        units=[units[table] for table in survey.table[rows].tolist()],
        errors=None if errors[0] is None or errors[1] is None else (errors[0], errors[1]),
    )
    return _against(sides)


def against_before(
    survey: Survey, summary: Mapping[str, Any], partitions: GroupFacts | None, name: str
) -> AgainstFacts | None:
    """Compare the units that a run wrote with those that it kept; None where it kept or wrote none.

    Args:
      survey: of the output.
      summary: of that run.
      partitions: how its parts differ. One that it kept and that differs from the others is no yardstick: after a
        broken night every right one would drift from it.
      name: of what it kept, for people.
    """
    new = units_of_run(summary, survey.units())
    if not new or len(new) == len({*survey.units()}):
        return None
    units = survey.units()
    known = _known_units(summary, units)
    written = np.array([unit in new for unit in units])[survey.table]
    kept = np.array([unit in known and unit not in new for unit in units])[survey.table]
    odd = _odd_parts(partitions, units, new)
    usual = kept & np.array([unit not in odd for unit in units])[survey.table]
    if 2 * usual.sum() > kept.sum():
        kept = usual
    else:
        odd = {}
    rows, numbers, names = number_matrix(survey)
    errors, _ = errors_of(survey)
    sides = ComparedSides(
        name=name,
        reference=numbers[kept[rows]],
        here=numbers[written[rows]],
        names=names,
        units=[units[table] for table in survey.table[rows[written[rows]]].tolist()],
        errors=None if errors is None else (errors[kept], errors[written]),
    )
    return replace(_against(sides), left_out=tuple(dict.fromkeys(odd.values())))


def _odd_parts(partitions: GroupFacts | None, units: Sequence[str], new: frozenset[str]) -> Mapping[str, str]:
    """The part of each unit whose part differs from the others, and of which the latest run wrote nothing."""
    drifted = {group.name for group in partitions.groups if group.drifted} if partitions is not None else set()
    parts = {unit: printable(part) for unit, part in zip(units, partitions_of([*units])[1], strict=True)}
    drifted -= {parts[unit] for unit in new}
    return {unit: part for unit, part in sorted(parts.items()) if part in drifted}


def units_of_run(summary: Mapping[str, Any], units: Sequence[str]) -> frozenset[str]:
    """Those of some units that the run of a summary wrote, as far as it says so.

    Args:
      summary: of the run.
      units: of the output.
    """
    sample = summary.get("run", {}).get("sample")
    named = frozenset(sample) if isinstance(sample, list) else frozenset[str]()
    return named.intersection(units)


def _known_units(summary: Mapping[str, Any], units: Sequence[str]) -> frozenset[str]:
    """Units of which the summary says whether the run wrote them: it names the first of them in a fixed order."""
    sample = summary["run"]["sample"]
    if summary["run"].get("units", 0) - summary["run"].get("failed_units", 0) <= len(sample):
        return frozenset(units)
    last = max(map(unit_order, sample))
    return frozenset(unit for unit in units if unit_order(unit) <= last)


def _against(sides: ComparedSides) -> AgainstFacts:
    if min(len(sides.reference), len(sides.here)) < FEWEST:
        few = f"{len(sides.reference)} and {len(sides.here)} records are too few; each side needs {FEWEST}"
        return AgainstFacts(name=sides.name, why_not=few)
    if not sides.names:
        return AgainstFacts(name=sides.name, why_not="there are no numbers of its records to compare")
    reference, here, names = _reduced(sides.reference, sides.here, sides.names)
    drift = drift_between(_some(reference, _PER_SIDE), _some(here, _PER_SIDE), names)
    groups = _groups(sides.units, here, names, reference, None if sides.errors is None else "mse")
    facts = AgainstFacts(
        name=sides.name,
        drifted=drift.drifted,
        auc=drift.auc,
        standard_error=drift.error,
        threshold=drift.least,
        few=drift.few,
        rows=drift.rows,
        dimensions=_dimensions(drift)[:_DIMENSIONS],
        groups=groups if groups is not None and groups.count > 1 else None,
    )
    if sides.errors is None:
        return facts
    before, now = (side[np.isfinite(side)] for side in sides.errors)
    mean = float(before.mean()) if len(before) else 0.0
    change = float(now.mean()) / mean - 1 if mean > 0 and len(now) else None
    return replace(facts, error_change=change, error=error_histogram("error", now, before))


def partition_facts(survey: Survey) -> GroupFacts | None:
    """Compare each partition, or each unit, with all others; None where there is only one.

    Args:
      survey: of the output.
    """
    rows, numbers, names = number_matrix(survey)
    if not names or len(rows) < 2 * FEWEST:
        return None
    units = survey.units()
    numbers, _, names = _reduced(numbers, numbers[:0], names)
    return _groups([units[table] for table in survey.table[rows].tolist()], numbers, names, None, "mse")


def _groups(
    units: Sequence[str], numbers: Array, names: Sequence[str], reference: Array | None, error: str | None
) -> GroupFacts | None:
    """Compare each part of some rows with a reference, or with the rows of all other parts."""
    distinct = sorted(set(units))
    by, values = partitions_of(distinct)
    part = dict(zip(distinct, values, strict=True))
    own = np.array([part[unit] for unit in units], object)
    parts = {name: np.flatnonzero(own == name) for name in sorted(set(values))} if len(set(values)) <= 2000 else {}
    parts = {name: rows for name, rows in parts.items() if len(rows) >= FEWEST}
    if not parts or (reference is None and len(parts) < 2):
        return None
    suspicious = sorted(parts, key=lambda name: -_moved(numbers, parts[name], reference))[:_GROUPS]
    # What differs most is found first, and is no yardstick for those that come after it.
    usual, found = np.ones(len(numbers), bool), list[GroupDrift]()
    for name in suspicious:
        others = reference if reference is not None else numbers[usual & (own != name)]
        if len(others) < FEWEST:
            continue
        drift = drift_between(_some(others, _PER_GROUP), _some(numbers[parts[name]], _PER_GROUP), names)
        found.append(_group(name, len(parts[name]), drift, numbers[parts[name]], names, error))
        if drift.drifted and usual.sum() - len(parts[name]) > len(numbers) / 2:
            usual[parts[name]] = False
    found.sort(key=lambda group: (not group.drifted, -group.auc))
    return GroupFacts(by=by, groups=tuple(found), count=len(parts), threshold=THRESHOLD)


def _group(name: str, rows: int, drift: Drift, numbers: Array, names: Sequence[str], error: str | None) -> GroupDrift:
    dimensions = _dimensions(drift)
    return GroupDrift(
        name=printable(name),
        rows=rows,
        auc=drift.auc,
        least=drift.least,
        drifted=drift.drifted,
        most=dimensions[0] if dimensions else None,
        error=float(numbers[:, names.index(error)].mean()) if error in names else None,
    )


def _moved(numbers: Array, rows: Array, reference: Array | None) -> float:
    """How far the mean of some rows is from that of all, in standard errors, of the number where it is farthest."""
    whole = numbers if reference is None else reference
    deviation = whole.std(0)
    apart = np.abs(numbers[rows].mean(0) - whole.mean(0)) / np.where(deviation > 0, deviation, 1)
    return float(apart.max(initial=0) * np.sqrt(len(rows)))


def _reduced(reference: Array, here: Array, names: Sequence[str]) -> tuple[Array, Array, list[str]]:
    """Principal components in place of latents of very many dimensions; everything else as it is."""
    latents = [at for at, name in enumerate(names) if name.startswith("latent[")]
    if len(latents) <= _MOST_LATENTS:
        return reference, here, [*names]
    others = [at for at in range(len(names)) if at not in set(latents)]
    mean, axes, _ = principal_components(reference[:, latents], _COMPONENTS)
    sides = [np.concatenate([(side[:, latents] - mean) @ axes, side[:, others]], axis=1) for side in (reference, here)]
    made = [f"component {number + 1}" for number in range(axes.shape[1])]
    return sides[0], sides[1], [*made, *(names[at] for at in others)]


def _some(values: Array, most: int) -> Array:
    if len(values) <= most:
        return values
    return values[np.sort(np.random.default_rng(0).permutation(len(values))[:most])]


def _dimensions(drift: Drift) -> list[DimensionDrift]:
    return [
        DimensionDrift(
            name=row["name"],
            ks=row["ks"],
            wasserstein=row["wasserstein"],
            mean=row["mean_b"],
            reference=row["mean_a"],
        )
        for row in drift.table.to_pylist()
    ]


def error_histogram(name: str, errors: Array, reference: Array | None = None) -> Histogram | None:
    """A histogram of errors with bins of one ratio; None where there are none that are above zero.

    Args:
      name: of the numbers.
      errors: float64 ``[n]``.
      reference: of the other side; None without one.
    """
    every = np.concatenate([errors, errors[:0] if reference is None else reference])
    every = every[np.isfinite(every) & (every > 0)]
    if not len(every):
        return None
    low, high = float(every.min()), float(every.max())
    edges = np.geomspace(low, max(high, low * (1 + 1e-6)), _BINS + 1)
    edges[0], edges[-1] = low, max(high, edges[-1])
    counts, _ = np.histogram(errors, edges)
    shares = None if reference is None else np.histogram(reference, edges)[0] / max(len(reference), 1)
    return Histogram(name=name, edges=edges, counts=counts, reference=shares)


def _model(committed: Committed) -> str:
    return str(committed.job["options"].get("model_digest", ""))
