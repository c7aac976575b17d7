"""Reading of the fields of ``model.json``, which may come from a stranger."""

from collections.abc import Callable
from math import prod
from typing import Any, NoReturn, TypeVar

from lake.core.errors import BundleError
from lake.core.printable import printable
from model.input_spec import Shape, is_range
from model.names import is_name
from model.spec import Json

_T = TypeVar("_T")
# These limits bound the memory that it can ask for.
MAX_SIDE = 1 << 24
_MAX_ELEMENTS = 1 << 28  # of one input, latent or output


class Fields:
    """A JSON object that knows its place in the document, so that errors can name it."""

    def __init__(self, value: Json, where: str, path: str) -> None:
        self.where, self.path = where, path
        if not isinstance(value, dict):
            raise self.wrong("", value)
        self.value = value

    def get(self, name: str, kind: type[_T], valid: Callable[[Any], bool] = lambda _: True) -> _T:
        """The value of a field, of a type and checked."""
        value = self.value.get(name)
        # Not isinstance: a bool is an int in Python, but true is no number in JSON.
        if type(value) is not kind or not valid(value):
            raise self.wrong(name, value)
        return value

    def has(self, name: str) -> bool:
        """Whether a field is there and not null."""
        return self.value.get(name) is not None

    def fields(self, name: str) -> "Fields":
        """A field that is an object itself."""
        return Fields(self.value.get(name), self.where, f"{self.path}{name}.")

    def item(self, name: str, number: int) -> "Fields":
        """An object of a field that is a list."""
        return Fields(self.value[name][number], self.where, f"{self.path}{name}[{number}].")

    def name(self, name: str) -> str:
        """A field with a name that can be printed."""
        return self.get(name, str, is_name)

    def shape(self, name: str) -> Shape:
        """A field with up to four sides."""

        def valid(shape: list[Json]) -> bool:
            sides = all(type(side) is int and 0 < side < MAX_SIDE for side in shape)
            return bool(shape) and len(shape) <= 4 and sides and prod(shape) <= _MAX_ELEMENTS

        return tuple(self.get(name, list, valid))

    def wrong(self, name: str, value: Json) -> BundleError:
        """The error of a field."""
        field_name = f"{self.path}{name}".rstrip(".") or "the document"
        shown = printable(repr(value), 80)
        return BundleError(f"{self.where}: {field_name} is {shown}, which no bundle has; export the model again")

    def limits(self, name: str) -> tuple[float, float]:
        """A field with the values of black and white, or the like."""
        value = self.get(name, list)
        if not (len(value) == 2 and all(type(v) in (int, float) for v in value) and is_range(*value)):
            raise self.wrong(name, value)
        return float(value[0]), float(value[1])

    def refuse(self, name: str) -> NoReturn:
        """Raise the error of a field that must not be there."""
        raise self.wrong(name, self.value[name])
