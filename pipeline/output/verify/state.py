"""Check the job's own state beside the data: ``_SUCCESS``, ``_job.json`` and the copy of the model."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lake.core import sealed_json
from lake.core.errors import BundleError, VerifyError
from lake.storage import join, measured, store_for
from pipeline.output.layout import Layout
from pipeline.output.state.state_file import check_state
from pipeline.output.state.state_values import mapping_of, sha256, utf8
from pipeline.output.units.receipts import Receipt, sum_counts

_LARGEST = 64 << 20  # most bytes of a file of state; it is read into memory
_COPY = "remove the directory and run the job again, which copies the bundle"
_COMMIT = "remove _SUCCESS and run the job again"


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What an output was made with, by its ``_job.json``.

    Attributes:
      verb: name of the verb.
      model_digest: digest of the bundle.
      options_digest: hash of ``options``.
      options: what ``JobConfig.options`` returned.
    """

    verb: str
    model_digest: str
    options_digest: str
    options: Mapping[str, Any]


def read_origin(layout: Layout) -> Origin:
    """Read what the output was made with.

    Raises:
      VerifyError: ``_job.json`` is missing or damaged.
    """
    job_file = _content(layout.job)
    check_state(job_file, {"options": mapping_of(lambda _: None), "options_digest": utf8}, layout.job)
    options = job_file["options"]
    check_state(options, {"verb": utf8, "model_digest": sha256}, layout.job)
    return Origin(
        verb=options["verb"],
        model_digest=options["model_digest"],
        options_digest=job_file["options_digest"],
        options=options,
    )


def check_model(layout: Layout, origin: Origin) -> Iterator[str]:
    """Yield the problems of the copy of the bundle. All of its bytes are read."""
    from model.bundle import SPEC_FILE, Bundle

    uri = layout.model(origin.model_digest)
    try:
        bundle = Bundle.open(uri)
        if bundle.digest != origin.model_digest:
            yield f"it has the digest {bundle.digest[:12]}; {_COPY}"
        elif not _as_written(_bytes(join(uri, SPEC_FILE))):
            yield f"{SPEC_FILE} is not the text that was written; {_COPY}"
    except (BundleError, OSError) as error:
        yield f"{error}; {_COPY}"


def check_success(layout: Layout, manifest: Mapping[str, Receipt], origin: Origin | None) -> Iterator[str]:
    """Yield the problems of ``_SUCCESS``: its manifest, totals and options must be those of the output.

    Args:
      layout: the output.
      manifest: receipts of the committed units.
      origin: what the output was made with; None if that is not known.

    Raises:
      VerifyError: it is damaged.
    """
    if store_for(layout.output).stat(layout.success) is None:
        yield "missing: the last run did not complete this output; run the job again"
        return
    summary = _content(layout.success)
    check_state(summary, {"manifest": mapping_of(lambda _: None), "total": mapping_of(lambda _: None)}, layout.success)
    stated, found = summary["manifest"].get("crc32c"), checksum(layout.manifest)
    if stated != found:
        yield f"it stands over the manifest {stated}, but this one is {found}; {_COMMIT}"
    if not summary.get("complete"):
        yield f"it is of a run that did not complete this output; {_COMMIT}"
    total = summary["total"]
    for name, fact in {"units": len(manifest), **sum_counts(manifest.values())}.items():
        if total.get(name) != fact:
            yield f"{total.get(name)} {name}, but {fact} in fact; {_COMMIT}"
    if origin is not None and summary.get("options") != origin.options:
        yield f"it was made with other options than _job.json has; {_COMMIT}"
    if summary.get("table") and store_for(layout.output).stat(layout.table) is None:
        yield "it names the snapshot of a table, but _table.json is missing; run the job again"


def checksum(uri: str) -> str:
    """Return the CRC-32C of a file's bytes as eight hexadecimal digits."""
    with store_for(uri).open(uri) as file:
        return measured(file)[1]


def _content(uri: str) -> dict[str, Any]:
    return sealed_json.loads(_bytes(uri), uri)


def _bytes(uri: str) -> bytes:
    store = store_for(uri)
    stat = store.stat(uri)
    if stat is None:
        raise VerifyError(f"{uri}: missing; run the job again")
    if stat.size > _LARGEST:
        raise VerifyError(f"{uri}: {stat.size} bytes, more than it may have; remove it and run the job again")
    with store.open(uri) as file:
        return file.read()


def _as_written(description: bytes) -> bool:
    """Whether ``model.json`` is spelled as it was written.

    The bundle's digest does not depend on spelling, so some flipped bits leave it unchanged: ``1e-05`` is ``1E-05``.
    """
    return (json.dumps(json.loads(description), indent=2, ensure_ascii=False) + "\n").encode() == description
