"""Checks of options that are given as values of Python, by the table of the command line, and together."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import fields
from functools import wraps
from typing import Any, TypeVar

from lake.cli.option import Option
from lake.core.choices import did_you_mean, quoted
from lake.core.errors import UsageError
from lake.images.types import DecodeMode, Resize, Target

C = TypeVar("C")


def check_values(
    values: Mapping[str, Any], options: Iterable[Option], *, optional: Collection[str] = ()
) -> dict[str, Any]:
    """Check values that are given by the names of their fields, as the command line checks them.

    Args:
      values: by field.
      options: the table. Fields without an option are returned as they are.
      optional: fields that may be None.

    Raises:
      UsageError: an option takes no such value; the text names the field.

    >>> from lake.cli.option import positive
    >>> check_values({"n": "5"}, [Option(flag="--n", field="n", help="how many", type=positive)])
    {'n': 5}
    """
    table = {option.field: option for option in options}
    return {
        name: value if name not in table or (value is None and name in optional) else _checked(table[name], value)
        for name, value in values.items()
    }


def check_place(name: str, value: Any) -> str:
    """Check that a value is text, or a path, that is not empty; returns the text.

    Args:
      name: what messages call it.
      value: of a caller.

    Raises:
      UsageError: it is none.

    >>> from pathlib import Path
    >>> check_place("output", Path("latents"))
    'latents'
    """
    return str(_checked(Option(flag=name, field=name, help=""), value))


def check_names(names: Iterable[str], known: Collection[str]) -> None:
    """Check that options have known names.

    Raises:
      UsageError: one has not; the text names the nearest.
    """
    for name in names:
        if name not in known:
            raise UsageError(f"unknown option {quoted(name)}{did_you_mean(name, known)}")


def check_decode(target: Target) -> None:
    """Check that fast decoding is asked for only where it can have an effect.

    Raises:
      UsageError: images are not made smaller, or there are none.
    """
    fitted = len(target.shape) == 3 and not target.any_size and target.resize not in (None, Resize.PAD)
    smaller = fitted or target.buckets is not None
    if target.decode is DecodeMode.FAST and not smaller:
        raise UsageError(
            "--decode fast is for images that are made smaller: give --resize fit, crop or stretch too, and a model of "
            "images of one size, or leave it out"
        )


def known_names_only(kind: type[C]) -> type[C]:
    """Decorate a dataclass so that a field that it does not have is a ``UsageError`` with the nearest name."""
    init, known = kind.__init__, [field.name for field in fields(kind)]  # type: ignore[arg-type]

    @wraps(init)
    def checked(self: C, **given: Any) -> None:
        check_names(given, known)
        init(self, **given)

    kind.__init__ = checked  # type: ignore[assignment]
    return kind


def check_instance(instance: Any, options: Iterable[Option]) -> None:
    """Check the fields of a frozen dataclass while it is being made, and set them to what their options make of them.

    ``None`` stays where it is the field's default.

    Args:
      instance: of the dataclass.
      options: the table.

    Raises:
      UsageError: a field has a value that its option does not take.
    """
    given = {field.name: getattr(instance, field.name) for field in fields(instance)}
    for name, value in check_values(given, options, optional=optional_fields(instance)).items():
        object.__setattr__(instance, name, value)


def optional_fields(*kinds: Any) -> set[str]:
    """The fields of dataclasses that are None unless they are given."""
    return {field.name for kind in kinds for field in fields(kind) if field.default is None}


def _checked(option: Option, value: Any) -> Any:
    try:
        return option.parse(value)
    except ValueError as error:
        raise UsageError(f"{option.field}: {error}") from error
