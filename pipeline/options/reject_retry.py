"""How a retry decodes rejected records, and the policies of decoding as JSON values."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from lake.images.types import Alpha, DecodeMode, Pages, Target

_CHOICES = frozenset({"resize", "decode", "orientation", "color", "max_pixels", "pages", "white"})
_UNUSED: Mapping[str, Any] = {"decode": DecodeMode.EXACT, "pages": None, "white": 1.0, "alpha": Alpha.LAST}


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectRetry:
    """How a retry decodes the records that the job's own options rejected.

    Attributes:
      target: decoding policies of the second attempt.
      max_record_bytes: largest record, in bytes, that it reads.
      earlier: retries of the same unit before it, whose policies come first where all of its records are decoded.
    """

    target: Target
    max_record_bytes: int
    earlier: tuple["RejectRetry", ...] = ()

    @property
    def targets(self) -> tuple[Target, ...]:
        """The policies by which what was rejected is decoded, one after another."""
        return (*(one.target for one in self.earlier), self.target)

    @property
    def largest(self) -> int:
        """Bytes of the largest record that it or one before it reads."""
        return max(one.max_record_bytes for one in (self, *self.earlier))

    def after(self, earlier: tuple["RejectRetry", ...]) -> "RejectRetry":
        """The same after others; one that was there already stays in its place.

        Args:
          earlier: retries of a unit, the first one first.
        """
        *before, last = dict.fromkeys((*earlier, *self.earlier, replace(self, earlier=())))
        return replace(last, earlier=tuple(before))

    def options(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        before = {"earlier": [one.options() for one in self.earlier]} if self.earlier else {}
        value = {"target": policies(self.target), "max_record_bytes": self.max_record_bytes, **before}
        copied: dict[str, Any] = json_copy(value)
        return copied

    def with_pages(self, usual: Pages) -> "RejectRetry":
        """The same with an answer to files of several images where there is none.

        Args:
          usual: the answer.
        """
        target = replace(self.target, pages=self.target.pages or usual)
        return replace(self, target=target, earlier=tuple(one.with_pages(usual) for one in self.earlier))


def retries_of(text: str, target: Target) -> tuple[RejectRetry, ...]:
    """The retries that made a unit what it is, the first one first.

    Args:
      text: what its receipt says of them, ``RejectRetry.options`` as JSON; "" for none.
      target: of the job, which has what no retry changes.
    """
    return _retries(json.loads(text), target) if text else ()


def _retries(said: Mapping[str, Any], target: Target) -> tuple[RejectRetry, ...]:
    before = (one for earlier in said.get("earlier", ()) for one in _retries(earlier, target))
    # A crop of the bundle's own is no policy of a retry: the job's target has it.
    given = {name: value for name, value in said["target"].items() if name in _CHOICES and not isinstance(value, dict)}
    own = RejectRetry(target=replace(target, **{**_UNUSED, **given}), max_record_bytes=said["max_record_bytes"])
    return (*before, own)


def policies(target: Target) -> dict[str, Any]:
    """The fields of a target as JSON values. One that was added later is left out where it is not in use.

    Args:
      target: what images are decoded to.
    """
    value = {key: _plain(field) for key, field in asdict(target).items()}
    unused = {**_UNUSED, "buckets": None}
    return {key: field for key, field in value.items() if key not in unused or field != unused[key]}


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


def json_copy(value: object) -> Any:
    """Convert to what JSON gives back, lists for tuples, so that new values equal those read from an output.

    Args:
      value: what JSON can hold.
    """
    return json.loads(json.dumps(value))
