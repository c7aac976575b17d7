"""The plan of a job: the input's shards, cut and grouped into units, without the units that are already done."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from types import MappingProxyType

from lake.core.errors import InputError
from lake.core.records import Unit
from lake.formats import FORMATS
from lake.formats.common.cuts import Cuts, Giant
from lake.inputs.discover import Found
from lake.inputs.expected import Expected
from lake.inputs.giants import find_cuts
from lake.inputs.reference import CleanShards, with_clean
from lake.inputs.sampled import sampled_units
from lake.inputs.units import all_units, input_bytes, record_count, split_path, stem, strip_slice
from pipeline.config import JobConfig, fingerprint, options_digest
from pipeline.job.unchanged import find_unchanged
from pipeline.options.job_options import Scope
from pipeline.output.commit.companions import with_companions
from pipeline.output.layout import Layout
from pipeline.output.manifest.manifest import Manifest
from pipeline.output.manifest.name_set import NameSet
from pipeline.output.state.cuts_file import read_cuts
from pipeline.output.units.finished import is_done
from pipeline.output.units.receipts import Receipt, sum_counts

_PART = re.compile(r"part-[0-9a-f-]+")
_ALL = Scope()
_FEW_REJECTS = 1000  # for which no run is stopped


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All units of an output, and which of them are to be run.

    Attributes:
      units: every unit of the input.
      todo: the units to run: new ones, and those whose input or options have changed.
      obsolete: ids of finished units that the commit drops: their shards are now cut into other units, were made with
        other options, or were pruned.
      vanished: ids of finished units whose shards the input no longer has; those among ``obsolete`` are dropped.
    """

    units: Sequence[Unit]
    todo: Sequence[Unit]
    obsolete: Sequence[str]
    vanished: Sequence[str] = ()

    @property
    def todo_bytes(self) -> int:
        """Size of the input that is to be read, in bytes."""
        return sum(map(input_bytes, self.todo))


def plan_cuts(found: Found, config: JobConfig, receipts: Mapping[str, Receipt]) -> Mapping[Giant, Cuts]:
    """Cut the giants of an input, as an earlier run did if there was one.

    Args:
      found: the input's shards.
      config: the job.
      receipts: receipts of the units that are done, by unit.

    Raises:
      UnreadableError: the store failed.
      VerifyError: what the output knows of earlier cuts is damaged.
    """

    def is_done_whole(unit: Unit) -> bool:
        receipt = receipts.get(unit.id)
        return receipt is not None and is_done(unit, config, receipt)

    if config.sampling is not None or _is_never_cut(config):
        return {}
    return find_cuts(found, lambda: read_cuts(Layout(config.output)), is_done_whole)


def make_plan(
    found: Found,
    config: JobConfig,
    receipts: Mapping[str, Receipt],
    scope: Scope = _ALL,
    expected: Expected | None = None,
    clean: CleanShards | None = None,
    cuts: Mapping[Giant, Cuts] = MappingProxyType({}),
    retried: Mapping[str, str] = MappingProxyType({}),
) -> Plan:
    """Cut the input into units and select those that are to be run.

    Args:
      found: the input's shards.
      config: the job.
      receipts: receipts of the units that are done, by unit. One with the fingerprint of its unit makes the unit done.
      scope: units to run or to drop in addition.
      expected: how many records the input must have; None if it is not known.
      clean: the clean shards, if the job has a reference.
      cuts: of ``plan_cuts``.
      retried: of ``earlier_retries``.

    Raises:
      InputError: two units would have the same name.
    """
    units = _units(found, config, expected, clean, cuts)
    # Outputs are named after units, so two of one name would replace each other's files.
    if NameSet(unit.id for unit in units).may_repeat:
        _check_names(units)
    # What else than its fingerprint has a unit run again, the root of a manifest does not tell.
    plain = expected is None and not scope.redo and not scope.retry_rejects
    unchanged = find_unchanged(units if plain else (), config, receipts)
    others = unchanged.others
    if config.sampling is not None:
        obsolete, vanished = sorted(_gone(units, others)), list[str]()
    else:
        obsolete, vanished = _obsolete(units, found, others, config, scope)
    all_done = len(receipts) - len(others) == len(units)
    left = () if all_done else (unit for unit in units if unit.id not in unchanged)
    todo = [task for unit in left if (task := _todo(unit, config, others.get(unit.id), scope))] if receipts else units
    if retried:
        todo = [replace(unit, retried=retried.get(fingerprint(unit, config), "")) for unit in todo]
    return Plan(units=units, todo=todo, obsolete=obsolete, vanished=vanished)


def _is_never_cut(config: JobConfig) -> bool:
    """Whether shards stay whole, however large they are."""
    # A shard that is copied becomes one object, so it cannot be cut into slices; nor can one with a reference,
    # because the two are read side by side from their first records.
    return config.columns.whole or config.reference is not None


def _units(
    found: Found,
    config: JobConfig,
    expected: Expected | None,
    clean: CleanShards | None,
    cuts: Mapping[Giant, Cuts],
) -> Sequence[Unit]:
    """All units of the input."""
    if config.sampling is not None:
        units: Sequence[Unit] = list(sampled_units(config.sampling.count))
    else:
        units = all_units(found, whole=_is_never_cut(config), cuts=cuts)
    if clean is not None:
        units = [with_clean(unit, clean) for unit in units]
    if config.images is not None and config.images.rewrite and found.companions:
        units = with_companions(units, found.companions)
    return units if expected is None else expected.tell(units)


def reject_limit(plan: Plan, receipts: Mapping[str, Receipt], most: float, expected: int | None) -> int | None:
    """Return how many records a run may reject before its output can no longer be complete.

    Args:
      plan: the plan.
      receipts: receipts of the units that are done, by unit.
      most: largest share of rejected records with which the output is complete.
      expected: number of records that the input must have; None if it is not known.

    Returns:
      The number; None if the number of records is not known before they are read.
    """
    read, rejected = _kept(plan, receipts)
    if (total := expected) is None:
        total = read
        for unit in plan.todo:
            if (count := record_count(unit)) is None:
                return None
            total += count
    # Fewer cost little, and a run that ends tells more about them than one that stops.
    return max(_FEW_REJECTS, int(most * total) - rejected)


def _kept(plan: Plan, receipts: Mapping[str, Receipt]) -> tuple[int, int]:
    """Records and rejects of the units that stay as they are."""
    total = receipts.counts() if isinstance(receipts, Manifest) else sum_counts(receipts.values())
    read, rejected = int(total["read"]), int(total["rejects"])
    for unit in chain((unit.id for unit in plan.todo), plan.obsolete) if receipts else ():
        if (receipt := receipts.get(unit)) is not None:
            read, rejected = read - receipt.read, rejected - receipt.rejected
    return read, rejected


def _todo(unit: Unit, config: JobConfig, receipt: Receipt | None, scope: Scope) -> Unit | None:
    """Return the unit, as it is to be run; None if it is done."""
    if receipt is None or unit.id in scope.redo or not is_done(unit, config, receipt):
        return unit
    return replace(unit, retry_rejects=True) if scope.retry_rejects and receipt.rejects else None


def _obsolete(
    units: Iterable[Unit], found: Found, receipts: Mapping[str, Receipt], config: JobConfig, scope: Scope
) -> tuple[list[str], list[str]]:
    """Return the ids of finished units that must not stay in the output, and of those whose shards have vanished.

    The first are units whose records other units hold now. Of units whose shards have vanished, they are those that are
    pruned or that were made with other options. The results of other vanished shards stay.
    """
    gone = _gone(units, receipts)
    # An output holds results of one set of options only.
    others = {unit for unit in gone if receipts[unit].options != options_digest(config)}
    # Groups of small files are called part-00000 and so on. Their borders move when a directory gains or loses files.
    covered = {split_path(unit.id)[0] for unit in units if FORMATS[unit.format].reader.grouped} if gone else set()
    moved = {unit for unit in gone if _PART.fullmatch(split_path(unit)[1]) and split_path(unit)[0] in covered}
    stems = set(_stems(found)) if gone else set()
    cut_anew = moved | {unit for unit in gone if unit in stems or strip_slice(unit) in stems}
    return sorted(gone if scope.prune else others | cut_anew), sorted(gone - cut_anew)


def _gone(units: Iterable[Unit], receipts: Mapping[str, Receipt]) -> set[str]:
    """Finished units that the input no longer has."""
    gone = set(receipts)
    for unit in units if gone else ():
        gone.discard(unit.id)
    return gone


def _stems(found: Found) -> Iterator[str]:
    """The paths of all shards that are units by themselves, without the suffixes of their formats."""
    for format, shards in found.by_format.items():
        if not FORMATS[format].reader.grouped:
            yield from (stem(shard.path, format) for shard in shards)


def _check_names(units: Iterable[Unit]) -> None:
    seen: dict[str, Unit] = {}
    for unit in units:
        if other := seen.get(unit.id):
            one, two = other.shards[0].uri, unit.shards[0].uri
            raise InputError(f"{one} and {two} would both be written as {unit.id!r}; run one job for each")
        seen[unit.id] = unit
