"""How a retry decodes rejected records, and the policies of decoding as JSON values."""

import json
from dataclasses import asdict, dataclass
from typing import Any

from lake.images.types import DecodeMode, Target


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectRetry:
    """How a retry decodes the records that the job's own options rejected.

    Attributes:
      target: decoding policies of the second attempt.
      max_record_bytes: largest record, in bytes, that the second attempt reads.
    """

    target: Target
    max_record_bytes: int

    def options(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        value: dict[str, Any] = json_copy({**asdict(self), "target": policies(self.target)})
        return value


def policies(target: Target) -> dict[str, Any]:
    """The fields of a target as JSON values. One that was added later is left out where it is not in use.

    Args:
      target: what images are decoded to.
    """
    value = {key: _plain(field) for key, field in asdict(target).items()}
    unused = {"decode": DecodeMode.EXACT, "pages": None, "white": 1.0, "buckets": None}
    return {key: field for key, field in value.items() if key not in unused or field != unused[key]}


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


def json_copy(value: object) -> Any:
    """Convert to what JSON gives back, lists for tuples, so that new values equal those read from an output.

    Args:
      value: what JSON can hold.
    """
    return json.loads(json.dumps(value))
