"""What a commit checks before it publishes: receipts, the names of files, the gate."""

from collections.abc import Iterable, Mapping
from typing import Any

from lake.core.errors import LatentlakeError
from lake.core.quantities import plain_share
from pipeline.config import Gate
from pipeline.output.manifest.manifest import Manifest
from pipeline.output.manifest.name_set import NameSet
from pipeline.output.units.receipts import Receipt


def check_number(found: int, todo: int) -> None:
    """Check that every unit of the plan left a receipt.

    Args:
      found: how many did.
      todo: how many there are.

    Raises:
      LatentlakeError: another number did.
    """
    if found != todo:
        raise LatentlakeError(f"{todo} units were planned and {found} left a receipt; run the job again")


def check_balance(receipts: Iterable[Receipt]) -> None:
    """Check the invariant of every job: no record is lost silently.

    Args:
      receipts: of some units.

    Raises:
      LatentlakeError: a receipt contradicts itself.
    """
    for receipt in receipts:
        if receipt.error is None and receipt.read != receipt.results + receipt.rejected:
            raise LatentlakeError(
                f"unit {receipt.unit}: {receipt.read} records read, but {receipt.results} results and "
                f"{receipt.rejected} rejects; this is a defect of the job, please report it"
            )


def check_owners(state: Manifest, names: NameSet) -> None:
    """Check that no two units wrote the same file: the second would have replaced the records of the first.

    Args:
      state: receipts of all units.
      names: of all their files.

    Raises:
      LatentlakeError: two did.
    """
    if not names.may_repeat:
        return
    repeated, owner = names.repeated, dict[str, str]()
    for receipt in state.receipts():
        for output in (output for output in receipt.outputs if output.name in repeated):
            if owner.setdefault(output.name, receipt.unit) != receipt.unit:
                raise LatentlakeError(
                    f"units {owner[output.name]!r} and {receipt.unit!r} both wrote {output.name}; run one job for each"
                )


def judge(gate: Gate, expected: int | None, total: Mapping[str, Any], failed: int) -> list[str]:
    """Return the reasons why ``_SUCCESS`` is not written; none if the output is within the limits.

    Args:
      gate: the limits.
      expected: number of records that the whole input must have; None if it is not known.
      total: what ``sum_counts`` says of all units.
      failed: number of units that have failed.
    """
    refused = []
    if failed > gate.max_failed_units:
        refused.append(f"{failed} failed units, {gate.max_failed_units} allowed (--max-failed-units)")
    read = total["read"]
    # An output without records has no rejects either.
    share = total["rejects"] / max(read, 1)
    if share > gate.max_reject_fraction:
        allowed = f"{plain_share(gate.max_reject_fraction)} allowed (--max-reject-fraction)"
        refused.append(f"{share:.2%} of the records were rejected, {allowed}")
    if expected not in (None, read):
        refused.append(f"{read} records, and {expected} are expected (--expect-records)")
    return refused
