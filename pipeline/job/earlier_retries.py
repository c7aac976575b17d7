"""What earlier retries of its rejects have made of each unit, for a run that makes it anew."""

from collections.abc import Collection, Mapping

from lake.core.errors import VerifyError
from pipeline.config import JobConfig
from pipeline.options.job_options import Scope
from pipeline.options.reject_retry import retries_of
from pipeline.output.layout import Layout
from pipeline.output.manifest.manifest import read_manifest
from pipeline.output.units.receipts import Receipt


def earlier_retries(
    config: JobConfig, scope: Scope, receipts: Mapping[str, Receipt], doubtful: Collection[str]
) -> Mapping[str, str]:
    """What receipts say of retries, by the fingerprints of their units.

    A retry and a repair ask, and a run that finds units which one of these, or another run, has left half-done. All may
    make a unit anew that was done already, and must not take back what earlier retries have made.

    Args:
      config: the job.
      scope: of the run.
      receipts: of the output's units that are done.
      doubtful: units that the manifest calls done, and whose files a run may have replaced.

    Raises:
      VerifyError: a receipt says nothing of the kind.
    """
    if not (scope.redo or scope.retry_rejects or doubtful):
        return {}
    found = dict[str, str]()
    # A unit whose retry or repair died is not done, and the manifest has what it was before.
    for known in (read_manifest(Layout(config.output)), receipts):
        for receipt in known.values():
            found.pop(receipt.fingerprint, None)
            if receipt.retried:
                found[receipt.fingerprint] = receipt.retried
    for text in set(found.values()):
        _check(text, config)
    return found


def _check(text: str, config: JobConfig) -> None:
    try:
        retries_of(text, config.target)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise VerifyError(
            f"{Layout(config.output).manifest}: {text[:80]!a} says nothing of a retry; run the job with --overwrite"
        ) from error
