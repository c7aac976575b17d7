"""The options of a job as an output keeps them, in the JSON of its ``_job.json``."""

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from lake.core.errors import OutputError, UsageError
from model.zoo import in_zoo
from pipeline.options.job_options import JobOptions, Scope
from pipeline.options.latent_flags import DIMENSION, TABLE
from pipeline.tables.table import is_path

# These fields say how a run goes, not what the output holds, so an output does not keep them.
_RUN_FIELDS = (
    "output",
    "overwrite",
    "threads",
    "scope",
    "retry_policies",
    "on_damage",
    "expect_records",
    "stores",
    "allow_code",
    "reuse",
)
_LATER_FIELDS = (
    "hash",
    "partition_by",
    "condition",
    "condition_column",
    "latent",
    "latent_format",
    "card",
    "croissant",
    "table",
    "catalog",
    "table_name",
    "ensemble",
    "noise",
    "gain",
    "read_noise",
    "black_level",
    "alpha",
)  # left out where they have their default, as in outputs from before there were any
_URI_FIELDS = ("input", "reference")


def options_to_json(options: JobOptions) -> dict[str, Any]:
    """Convert options to the JSON values that an output keeps.

    Relative paths become absolute, because a later retry may start in another directory; ``zoo:NAME`` stays. Fields
    that only say how a run goes are left out.

    >>> options = JobOptions(verb="encode", model="/models/m", output="out", input=["s3://lake/images/"], threads=4)
    >>> value = options_to_json(options)
    >>> value["input"], "threads" in value
    (['s3://lake/images/'], False)
    """
    value: dict[str, Any] = json.loads(json.dumps(asdict(replace(options, scope=Scope())), default=str))
    for name in _RUN_FIELDS:
        del value[name]
    for name in _LATER_FIELDS:
        if getattr(options, name) == JobOptions.__dataclass_fields__[name].default:
            del value[name]
    for name in _URI_FIELDS:
        value[name] = None if value[name] is None else [_absolute(uri) for uri in value[name]]
    if value["latent_quantization"] not in (None, DIMENSION, TABLE):
        value["latent_quantization"] = _absolute(value["latent_quantization"])
    if options.catalog is not None and is_path(options.catalog):
        value["catalog"] = _absolute(value["catalog"])
    if not in_zoo(value["model"]):  # which is found wherever the package is installed
        value["model"] = _absolute(value["model"])
    return value


def options_from_json(kept: Mapping[str, Any], output: str, model: str) -> JobOptions:
    """Rebuild the options that an output was made with.

    Args:
      kept: what ``options_to_json`` returned.
      output: URI of the output, which may have moved since.
      model: URI of the bundle that made it.

    Raises:
      OutputError: the output's record of its options is damaged or incomplete.
    """
    try:
        return JobOptions(**{**kept, "output": output, "model": model})
    except (KeyError, TypeError, ValueError, UsageError) as error:
        raise OutputError(
            f"{output} does not say how it was made ({error}); run the command that made it again, with --overwrite"
        ) from error


def _absolute(uri: str) -> str:
    return uri if "://" in uri else str(Path(uri).absolute())
