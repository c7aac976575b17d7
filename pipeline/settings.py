"""What a user asks for, and how an output keeps it for those who mend or retry it later."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from pipeline.commit import Gate
from pipeline.config import Verb
from pipeline.errors import OutputError
from pipeline.images.base import Color, Orientation, Resize, Target
from pipeline.plan import Scope
from pipeline.readers import Request
from pipeline.storage.options import DEFAULTS, StoreOptions

# Fields that say how a run goes, not what the output holds.
_OF_THE_RUN = ("output", "overwrite", "threads", "scope", "second", "on_damage", "expect_records", "stores")
_URIS = ("input", "reference")
_KINDS: dict[str, Callable[[str], Any]] = {"verb": Verb, "resize": Resize, "orientation": Orientation, "color": Color}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a user asks for. See ``pipeline.options`` for the meaning of each.

    scope: units that are done again, for ``retry`` and ``verify --repair``.
    stores: how they are reached.
    second: of a retry the policies that differ: fields of ``Target``, and ``max_record_bytes``.
    """

    verb: Verb
    model: str
    output: str
    input: Sequence[str] = ()
    format: str = "auto"
    image: str | None = None
    key: str | None = None
    carry: Sequence[str] | None = None
    resize: Resize | None = None
    orientation: Orientation = Orientation.APPLY
    color: Color = Color.STRICT
    max_pixels: int = Target(shape=()).max_pixels
    max_record_bytes: int = Request().max_record_bytes
    reject_bytes: int = 1 << 20
    overwrite: bool = False
    threads: int | None = None
    gate: Gate = field(default_factory=Gate)
    variance: bool = False
    images: bool = True
    output_format: str | None = None
    image_format: str = "lossless"
    quality: int = 90
    error_map: bool = False
    noise_level: str | None = None
    reference: Sequence[str] | None = None
    count: int | None = None
    seed: int = 0
    interpolate: Sequence[str] | None = None
    on_damage: str = "fail"
    expect_records: str | None = None
    scope: Scope = field(default_factory=Scope)
    second: Mapping[str, Any] | None = None
    stores: StoreOptions = DEFAULTS


def typed(values: Mapping[str, Any]) -> dict[str, Any]:
    """Fields by name whose values came as text, with the values that they stand for."""
    return {name: _KINDS[name](value) if name in _KINDS and value else value for name, value in values.items()}


def kept(settings: Settings) -> dict[str, Any]:
    """The settings as JSON values that an output keeps; relative paths become absolute."""
    value: dict[str, Any] = json.loads(json.dumps(asdict(replace(settings, scope=Scope())), default=str))
    for name in _OF_THE_RUN:
        del value[name]
    for name in _URIS:
        value[name] = None if value[name] is None else [_absolute(uri) for uri in value[name]]
    value["model"] = _absolute(value["model"])
    return value


def kept_settings(held: Mapping[str, Any], output: str, model: str) -> Settings:
    """The settings that an output was made by.

    Raises:
      OutputError: it does not know them.
    """
    try:
        named = typed(held["settings"])
        return Settings(**{**named, "gate": Gate(**named["gate"]), "output": output, "model": model})
    except (KeyError, TypeError, ValueError) as error:
        raise OutputError(
            f"{output} does not say how it was made ({error}); run the command that made it again, with --overwrite"
        ) from error


def _absolute(uri: str) -> str:
    return uri if "://" in uri else str(Path(uri).absolute())
