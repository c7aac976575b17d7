"""The job's own state beside the data: ``_SUCCESS``, ``_job.json`` and the copy of the model."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline import checked
from pipeline.errors import BundleError, VerifyError
from pipeline.layout import Layout
from pipeline.receipts import Receipt, counts
from pipeline.storage import join, measured, store_for

_LARGEST = 64 << 20  # bytes of a file of state
_COPY = "remove the directory and run the job again, which copies the bundle"
_COMMIT = "remove _SUCCESS and run the job again"
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What a whole output was made with, as its ``_job.json`` says.

    options: as ``JobConfig.options`` gave them, and ``options_digest`` their digest.
    """

    verb: str
    model_digest: str
    options_digest: str
    options: Mapping[str, Any]


def read_made(layout: Layout) -> Made:
    """What the output was made with.

    Raises:
      VerifyError: ``_job.json`` is missing or damaged.
    """
    held = _content(layout.job)
    try:
        options, digest = held["options"], held["options_digest"]
        made = Made(verb=options["verb"], model_digest=options["model_digest"], options_digest=digest, options=options)
    except (KeyError, TypeError) as error:
        raise VerifyError(f"{layout.job}: names no model and options; remove it and run the job again") from error
    if not _DIGEST.fullmatch(str(made.model_digest)):  # it becomes part of a URI
        raise VerifyError(f"{layout.job}: {made.model_digest!r} is no digest; remove it and run the job again")
    return made


def check_model(layout: Layout, made: Made) -> Iterator[str]:
    """Problems of the bundle's copy: all of its bytes are read."""
    from model.bundle import DESCRIPTION, Bundle

    uri = layout.model(made.model_digest)
    try:
        bundle = Bundle.open(uri)
        if bundle.digest != made.model_digest:
            yield f"it has the digest {bundle.digest[:12]}; {_COPY}"
        elif not _as_written(_bytes(join(uri, DESCRIPTION))):
            yield f"{DESCRIPTION} is not the text that was written; {_COPY}"
    except (BundleError, OSError) as error:
        yield f"{error}; {_COPY}"


def check_success(layout: Layout, manifest: Mapping[str, Receipt], made: Made | None) -> Iterator[str]:
    """Problems of ``_SUCCESS``: it must stand over this very manifest and say of it what is so.

    While it is there, a run with nothing to do takes the output for complete; hence it must go before another commit.

    Raises:
      VerifyError: it is damaged.
    """
    if store_for(layout.output).stat(layout.success) is None:
        yield "missing: the last run did not complete this output; run the job again"
        return
    summary = _content(layout.success)
    stated, found = summary.get("manifest", {}).get("crc32c"), checksum(layout.manifest)
    if stated != found:
        yield f"it stands over the manifest {stated}, but this one is {found}; {_COMMIT}"
    if not summary.get("complete"):
        yield f"it is of a run that did not complete this output; {_COMMIT}"
    total = summary.get("total", {})
    for name, fact in {"units": len(manifest), **counts(manifest.values())}.items():
        if total.get(name) != fact:
            yield f"{total.get(name)} {name}, but {fact} in fact; {_COMMIT}"
    if made is not None and summary.get("options") != made.options:
        yield f"it was made with other options than _job.json has; {_COMMIT}"


def checksum(uri: str) -> str:
    """CRC-32C of an object's bytes, as eight hexadecimal digits."""
    with store_for(uri).open(uri) as file:
        return measured(file)[1]


def _content(uri: str) -> dict[str, Any]:
    return checked.loads(_bytes(uri), uri)


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
    """The digest leaves the spelling out, so that a flipped bit may be left: ``1e-05`` is ``1E-05``."""
    return (json.dumps(json.loads(description), indent=2, ensure_ascii=False) + "\n").encode() == description
