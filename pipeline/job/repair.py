"""Options of jobs that work on an existing output: retry what was rejected or failed, repair what is damaged."""

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from lake.cli.check import check_names
from lake.cli.options import STORES
from lake.core.errors import OutputError, UsageError
from lake.formats import FORMATS, MIXED
from lake.storage import configured
from lake.storage.buckets import check_bucket
from pipeline.config import Gate
from pipeline.options.job_options import JobOptions, Scope
from pipeline.options.kept_options import options_from_json
from pipeline.options.output_flags import RETRY
from pipeline.output.layout import MODELS, Layout
from pipeline.output.state.job_file import JobFile, read_job_file
from pipeline.output.state.state_file import check_state
from pipeline.output.state.state_values import (
    Rule,
    check_fields,
    list_of,
    natural,
    number,
    one_of,
    optional,
    sha256,
    truth,
    utf8,
)
from pipeline.worker.verbs import VERBS

if TYPE_CHECKING:
    from pipeline.output.verify import VerifyReport

RETRIED = frozenset(option.field for option in RETRY) - {option.field for option in STORES}  # what a retry may change
_RUN_FIELDS = (
    "input",
    "follow_links",
    "on_damage",
    "threads",
    "allow_code",
)  # if not given, the defaults of JobOptions apply
_POLICIES = ("resize", "decode", "color", "orientation", "max_pixels", "pages", "max_record_bytes")

_texts, _natural_or_none, _text_or_none = optional(list_of(utf8)), optional(natural), optional(utf8)
_GATE: Mapping[str, Rule] = {"max_reject_fraction": number, "max_failed_units": natural}
_NEEDED: Mapping[str, Rule] = {"verb": one_of(VERBS), "model": utf8, "input": list_of(utf8)}
_SETTINGS: Mapping[str, Rule] = {
    "format": one_of(("auto", MIXED, *FORMATS)),
    "white": number,
    **dict.fromkeys(("latent_scale", "latent_shift", "black_level"), number),
    "image_shape": optional(list_of(natural)),
    "gate": lambda value: check_fields(value, _GATE),
    **dict.fromkeys(("carry", "reference", "interpolate"), _texts),
    **dict.fromkeys(
        ("image", "key", "layout", "image_dtype", "resize", "pages", "output_format", "noise_level"), _text_or_none
    ),
    **dict.fromkeys(("decode", "orientation", "color", "image_format"), utf8),
    **dict.fromkeys(
        ("max_pixels", "max_record_bytes", "reject_bytes", "reject_budget", "quality", "seed", "ensemble"), natural
    ),
    **dict.fromkeys(("count", "sample"), _natural_or_none),
    **dict.fromkeys(("latent_quantization", "pool", "normalize", "partition_by"), _text_or_none),
    **dict.fromkeys(("latent_type", "latent_format"), utf8),
    **dict.fromkeys(("variance", "flip", "hash", "images", "error_map", "follow_links", "card", "croissant"), truth),
    **dict.fromkeys(("gain", "read_noise", "alpha"), _text_or_none),
    "noise": utf8,
    **dict.fromkeys(("table", "catalog", "table_name"), _text_or_none),
}


def retry_options(output: str, given: Mapping[str, Any]) -> JobOptions:
    """Return the options of a job that retries the rejected records and failed units of an output.

    Args:
      output: URI of the output.
      given: options that the user gave, by field, of those in ``RETRIED``. Decoding policies and limits of the gate
        that are not given stay as they were.

    Raises:
      OutputError: there is no output, or its record of its options is damaged.
      VerifyError: the same, for values that cannot be of any job.
      UsageError: an option has no such value, or is none of a retry; the text names it.
    """
    _check_retried(given)
    options = _options_of(output.rstrip("/"))
    policies = {name: given[name] for name in _POLICIES if given.get(name) is not None}
    run = {name: given[name] for name in _RUN_FIELDS if name in given}
    # Limits that are not given are those that the job ran with: by others the output would be refused anew.
    gate = replace(options.gate, **{field.name: given[field.name] for field in fields(Gate) if field.name in given})
    return replace(options, **run, gate=gate, scope=Scope(retry_rejects=True), retry_policies=policies)


def _check_retried(given: Mapping[str, Any]) -> None:
    others = [name for name in given if name not in RETRIED]
    if kept := sorted({field.name for field in fields(JobOptions)}.intersection(others)):
        raise UsageError(f"a retry does not change {kept[0]}; leave it out, or run the job anew with overwrite")
    check_names(given, RETRIED)


def repair_options(report: "VerifyReport", *, allow_code: bool = False) -> JobOptions:
    """Return the options of a job that repairs what a check found to be wrong.

    Args:
      report: what ``pipeline.output.verify.verify`` returned.
      allow_code: as in ``JobOptions``.

    Raises:
      OutputError: there is no output, or its record of its options is damaged.
      VerifyError: the same, for values that cannot be of any job.
    """
    output = report.output.rstrip("/")
    options = _options_of(output)
    # A damaged copy of the model is copied again from the bundle that the user named, which may be intact.
    if any(problem.name.startswith(f"{MODELS}/") for problem in report.lost):
        job_file = read_job_file(output)
        options = replace(options, model=job_file["settings"]["model"] if job_file else options.model)
    options = replace(options, allow_code=allow_code)
    return replace(options, scope=Scope(redo=frozenset(report.units_to_redo), tidy=True))


def _options_of(output: str) -> JobOptions:
    """Return the options that an output was made with."""
    job_file: JobFile | None = read_job_file(output)
    if job_file is None:
        check_bucket(output, OutputError)
        raise OutputError(f"{output}: not an output of latentlake; name a directory that a job wrote")
    layout = Layout(output)
    check_state(job_file["options"], {"model_digest": sha256}, layout.job)  # which becomes part of a URI
    check_state(job_file["settings"], _NEEDED, layout.job)
    check_state(job_file["settings"], _SETTINGS, layout.job, whole=False)
    options = options_from_json(job_file["settings"], output, layout.model(job_file["options"]["model_digest"]))
    return replace(options, stores=configured())
