"""Which receipts make a unit done: for the plan of a run, and for an engine that runs a unit once more."""

from lake.core.records import Reason, Unit
from pipeline.config import JobConfig, fingerprint
from pipeline.output.layout import Layout
from pipeline.output.units.receipts import Receipt, read_receipt


def is_done(unit: Unit, config: JobConfig, receipt: Receipt) -> bool:
    """Whether a receipt says that a unit needs not be run.

    Args:
      unit: the unit, as it is planned now.
      config: the job.
      receipt: what the unit left earlier.
    """
    if receipt.error is not None or receipt.fingerprint != fingerprint(unit, config):
        return False
    # A damaged shard has fewer records than expected. Its unit has said so; running it again would not help.
    return unit.expected in (None, receipt.read) or Reason.DAMAGED_SHARD in receipt.rejects


def finished_before(unit: Unit, config: JobConfig) -> Receipt | None:
    """The receipt that an earlier start of this run has left for a unit; None if the unit is to be run.

    It takes one request. The plan left out every unit that was done, so a receipt that makes this one done is newer
    than the plan, and its files were published before it.

    Args:
      unit: a unit of the plan.
      config: the job.

    Raises:
      OSError: the store failed.
    """
    # A retry of rejects does not change the fingerprint, so the receipt may be the one that is to be bettered.
    if unit.retry_rejects:
        return None
    receipt = read_receipt(Layout(config.output), unit.id)
    # One of another run may have arrived late, after this run has replaced the files that it speaks of.
    own = receipt is not None and receipt.run == config.run
    return receipt if receipt is not None and own and is_done(unit, config, receipt) else None
