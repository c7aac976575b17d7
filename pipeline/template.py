"""The metadata of the Dataflow Flex Template, from the options of the command line: ``python -m pipeline.template``."""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from pipeline.option import Option, count, fraction, percent, positive, size
from pipeline.options import JOBS
from pipeline.parser import COMMANDS

_NUMBERS: Mapping[Callable[[str], Any], str] = {
    size: r"[1-9][0-9]*[KMGkmg]?",
    fraction: r"(0(\.[0-9]+)?|1(\.0+)?)",
    count: r"[0-9]+",
    positive: r"[1-9][0-9]*",
    percent: r"([1-9][0-9]?|100)",
}
_URI = r"(gs|s3)://[^,]+"  # workers reach no other
_URIS = ("input", "model", "output", "reference")
_ANYWAY = ("--detach",)  # what a template does without being told

_MODE = {
    "name": "mode",
    "label": "Mode",
    "helpText": "What to do: " + "; ".join(f"{verb}: {COMMANDS[verb][0]}" for verb in JOBS) + ".",
    "isOptional": False,
    "paramType": "ENUM",
    "enumOptions": [{"value": verb, "label": verb} for verb in JOBS],
    "regexes": ["^(" + "|".join(JOBS) + ")$"],
}
_OF_BEAM = (
    {
        "name": "sdk_container_image",
        "label": "Image of the workers",
        "helpText": "The image of this template: its workers need what its launcher needs.",
        "isOptional": False,
    },
    {
        "name": "dataflow_service_options",
        "label": "Service options",
        "helpText": "Of Dataflow, such as worker_accelerator=type:nvidia-l4;count:1;install-nvidia-driver for GPUs.",
        "isOptional": True,
    },
)


def metadata() -> dict[str, Any]:
    """What ``gcloud dataflow flex-template build --metadata-file`` takes.

    Parameters are named as options are, with underscores, which ``pipeline/main.py`` takes back.
    """
    options = {o.flag: o for options in JOBS.values() for o in options if o.flag not in _ANYWAY}
    return {
        "name": "latentlake",
        "description": "Runs a trained autoencoder over a lake of image shards: latent vectors, cleaner images.",
        "parameters": [_MODE, *(_parameter(option) for option in options.values()), *_OF_BEAM],
    }


def _parameter(option: Option) -> dict[str, Any]:
    verbs = [verb for verb, options in JOBS.items() if any(option.flag == other.flag for other in options)]
    value: dict[str, Any] = {
        "name": parameter(option),
        "label": parameter(option).replace("_", " ").capitalize(),
        "helpText": _help(option),
        "isOptional": not _always_required(option),
        "paramType": "ENUM" if option.choices else "BOOLEAN" if option.switch else "TEXT",
    }
    if option.choices:
        value["enumOptions"] = [{"value": choice, "label": choice} for choice in option.choices]
    if pattern := _pattern(option):
        value["regexes"] = [f"^{pattern}$"]
    if option.default is not None:
        value["defaultValue"] = "false" if option.switch else str(option.default)
    if len(verbs) < len(JOBS):
        value |= {"parentName": "mode", "parentTriggerValues": verbs}
    return value


def parameter(option: Option) -> str:
    """The name of an option as a parameter of the template."""
    return option.flag.lstrip("-").replace("-", "_")


def _help(option: Option) -> str:
    several = "; several are separated by commas" if option.many or option.arity else ""
    return option.help[0].upper() + option.help[1:] + several + "."


def _always_required(option: Option) -> bool:
    return all(any(other.flag == option.flag and other.required for other in options) for options in JOBS.values())


def _pattern(option: Option) -> str:
    """What a value looks like, as an expression; "" where it may be anything."""
    if option.choices:
        return "(" + "|".join(re.escape(choice) for choice in option.choices) + ")"
    if option.switch:
        return "(true|false)"
    several = option.many or option.arity
    one = _URI if option.field in _URIS else _NUMBERS.get(option.type, "[^,]+" if several else "")
    if not several:
        return one
    return f"{one}(,{one})" + (f"{{{option.arity - 1}}}" if option.arity else "*")


if __name__ == "__main__":
    print(json.dumps(metadata(), indent=2, ensure_ascii=False))
