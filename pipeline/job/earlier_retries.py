"""What earlier retries of an output have achieved, for one that decodes all records of a unit again."""

from collections.abc import Mapping
from dataclasses import replace

from lake.core.errors import VerifyError
from pipeline.config import JobConfig
from pipeline.options.reject_retry import RejectRetry, retries_of
from pipeline.output.layout import Layout
from pipeline.output.manifest.manifest import read_manifest
from pipeline.output.units.receipts import Receipt


def with_earlier_retries(config: JobConfig, receipts: Mapping[str, Receipt]) -> JobConfig:
    """Give a retry the policies of those before it, so that rows which these made are made again.

    A retry that merges its rows into tables leaves the others as they are, and needs none.

    Args:
      config: the job.
      receipts: of the output's units that are done.

    Raises:
      VerifyError: a receipt says nothing of the kind.
    """
    if config.retry is None or config.merges_rejects:
        return config
    # A unit whose retry died is not done, and the manifest has what it was before.
    known = (*receipts.values(), *read_manifest(Layout(config.output)).values())
    texts = sorted({receipt.retried for receipt in known}, key=lambda text: (len(text), text))
    found = dict.fromkeys(one for text in texts for one in _said(text, config))
    found.pop(replace(config.retry, earlier=()), None)
    most = max(one.max_record_bytes for one in (config.retry, *found))
    return replace(config, retry=replace(config.retry, earlier=tuple(found), max_record_bytes=most))


def _said(text: str, config: JobConfig) -> tuple[RejectRetry, ...]:
    try:
        return retries_of(text, config.target)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise VerifyError(
            f"{Layout(config.output).manifest}: {text[:80]!a} says nothing of a retry; run the job with --overwrite"
        ) from error
