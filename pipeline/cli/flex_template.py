"""The metadata of the Dataflow Flex Template, generated from the table of flags.

``python -m pipeline.cli.flex_template`` prints it. The format is that of ``TemplateMetadata`` in Google's documentation
of Flex Templates.
"""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from lake.cli.option import (
    Option,
    area,
    count,
    ensemble,
    finite_number,
    fraction,
    level,
    percent,
    positive,
    size,
)
from pipeline.cli.parser import JOB_DEFAULTS
from pipeline.worker.verbs import VERBS

_FLAGS = {name: verb.flags for name, verb in VERBS.items()}

_ABOVE_0 = r"([1-9][0-9]*(\.[0-9]*)?|0?\.[0-9]*[1-9][0-9]*)([eE][+-]?[0-9]+)?"
_BELOW_1 = r"0?\.[0-9]+|[1-9](\.[0-9]*)?[eE]-[0-9]*[1-9][0-9]*"
_NUMBERS: Mapping[Callable[[str], Any], str] = {
    size: rf" *([1-9][0-9]* *[Bb]?|{_ABOVE_0} *[KMGTkmgt]([Ii]?[Bb])?) *",
    area: rf" *([1-9][0-9]*( *x *[1-9][0-9]*)?|{_ABOVE_0} *[KMGTkmgt]) *",
    fraction: rf" *(0|{_BELOW_1}|1(\.0*)?|(100|[0-9]{{1,2}}(\.[0-9]*)?|\.[0-9]+) *%) *",
    count: r"[0-9]+",
    level: r"[0-9.eE+-]+",
    finite_number: r"[0-9.eE+-]+",
    positive: r"[1-9][0-9]*",
    ensemble: r"[148]",
    percent: r"([1-9][0-9]?|100)",
}
_URI = r"(gs|s3)://[^,]+"  # workers cannot reach the files of another machine
_URIS = ("input", "output", "reference")
_MODEL = rf"({_URI}|zoo:[a-z0-9-]+)"
_IMPLIED = ("--detach",)  # the launcher of a template always detaches

_MODE = {
    "name": "mode",
    "label": "Mode",
    "helpText": "What to do: " + "; ".join(f"{name}: {verb.help}" for name, verb in VERBS.items()) + ".",
    "isOptional": False,
    "paramType": "ENUM",
    "enumOptions": [{"value": verb, "label": verb} for verb in _FLAGS],
    "regexes": ["^(" + "|".join(_FLAGS) + ")$"],
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
    """Return the metadata, as ``gcloud dataflow flex-template build --metadata-file`` takes it.

    Parameters are named like options, with underscores. ``pipeline/main.py`` converts them back.
    """
    options = {o.flag: o for options in _FLAGS.values() for o in options if o.flag not in _IMPLIED}
    return {
        "name": "latentlake",
        "description": "Runs a trained autoencoder over a lake of image shards: latent vectors, cleaner images.",
        "parameters": [_MODE, *(_parameter(option) for option in options.values()), *_OF_BEAM],
    }


def _parameter(option: Option) -> dict[str, Any]:
    verbs = [verb for verb, options in _FLAGS.items() if any(option.flag == other.flag for other in options)]
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
    default = JOB_DEFAULTS.get(option.field)
    if default is not None and default != ():
        value["defaultValue"] = "false" if option.switch else str(default)
    if len(verbs) < len(_FLAGS):
        # The console shows the field only for the modes that it applies to.
        value |= {"parentName": "mode", "parentTriggerValues": verbs}
    return value


def parameter(option: Option) -> str:
    """Return the name of an option as a parameter of the template.

    >>> from lake.cli.option import Option
    >>> parameter(Option(flag="--max-pixels", field="max_pixels", help="largest image"))
    'max_pixels'
    """
    return option.flag.lstrip("-").replace("-", "_")


def _help(option: Option) -> str:
    several = "; several are separated by commas" if option.several else ""
    text = option.described(JOB_DEFAULTS.get(option.field))
    return text[0].upper() + text[1:] + several + "."


def _always_required(option: Option) -> bool:
    return all(any(other.flag == option.flag and other.required for other in options) for options in _FLAGS.values())


def _pattern(option: Option) -> str:
    """Return a regular expression for the values of an option; "" if any text is allowed."""
    if option.choices:
        return "(" + "|".join(re.escape(choice) for choice in option.choices) + ")"
    if option.switch:
        return "(true|false)"
    if option.field == "model":
        return _MODEL
    several = option.several
    one = _URI if option.field in _URIS else _NUMBERS.get(option.type, "[^,]+" if several else "")
    if not several:
        return one
    return f"{one}(,{one})" + (f"{{{option.arity - 1}}}" if option.arity else "*")


if __name__ == "__main__":
    print(json.dumps(metadata(), indent=2, ensure_ascii=False))
