"""Jobs over an output that is there: what was rejected or failed once more, and what is damaged."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pipeline.commit import Gate
from pipeline.errors import OutputError
from pipeline.held import Held, read_held
from pipeline.layout import MODELS, Layout
from pipeline.plan import Scope
from pipeline.settings import Settings, kept_settings, typed
from pipeline.storage import configured

if TYPE_CHECKING:
    from pipeline.verify import Report

_SECOND = ("resize", "color", "orientation", "max_pixels", "max_record_bytes")


def retry_settings(output: str, given: Mapping[str, Any]) -> Settings:
    """The job that tries rejected records and failed units of an output again.

    Args:
      output: URI of the output.
      given: options by field; a policy that is None is as it was.

    Raises:
      OutputError: there is no output, or it does not know how it was made.
    """
    settings = _made_by(output.rstrip("/"))
    second = typed({name: given[name] for name in _SECOND if given[name] is not None})
    return replace(
        settings,
        input=given["input"] or settings.input,
        on_damage=given["on_damage"],
        threads=given["threads"],
        gate=Gate(max_reject_fraction=given["max_reject_fraction"], max_failed_units=given["max_failed_units"]),
        scope=Scope(again=True),
        second=second,
    )


def mend_settings(report: "Report") -> Settings:
    """The job that does again what a check found to be wrong.

    Raises:
      OutputError: there is no output, or it does not know how it was made.
    """
    output = report.output.rstrip("/")
    settings = _made_by(output)
    if any(problem.name.startswith(f"{MODELS}/") for problem in report.lost):  # the copy: the bundle itself may be well
        held = read_held(output)
        settings = replace(settings, model=held["settings"]["model"] if held else settings.model)
    return replace(settings, scope=Scope(redo=frozenset(report.units_to_redo), tidy=True))


def _made_by(output: str) -> Settings:
    held: Held | None = read_held(output)
    if held is None:
        raise OutputError(f"{output}: no output of this job; name the directory that one wrote")
    settings = kept_settings(held, output, Layout(output).model(held["options"]["model_digest"]))
    return replace(settings, stores=configured())
