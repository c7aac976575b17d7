"""JSON that proves itself: small files of an output's own state, which people read and bits may flip in."""

import json
from collections.abc import Mapping
from typing import Any

import google_crc32c

from pipeline.errors import VerifyError

_CHECK = "check"  # the last member: CRC-32C of the text as it is without this member, eight hexadecimal digits


def dumps(value: Mapping[str, Any]) -> bytes:
    """The text of a checked file; equal values, in equal order, give equal bytes.

    Args:
      value: JSON values by name. A ``check`` among them is replaced.
    """
    plain = {name: item for name, item in value.items() if name != _CHECK}
    return _text({**plain, _CHECK: f"{google_crc32c.value(_text(plain)):08x}"})


def loads(data: bytes, uri: str) -> dict[str, Any]:
    """What ``dumps`` was given; the text must be the very one that it gave.

    Raises:
      VerifyError: it is another one, if only in its spelling; ``uri`` names it.
    """
    try:
        value = json.loads(data)
        whole = isinstance(value, dict) and dumps(value) == data
    except (ValueError, RecursionError) as error:
        raise VerifyError(_damaged(uri, f"no JSON: {' '.join(str(error).split())}")) from error
    if not whole:
        raise VerifyError(_damaged(uri, "not the text that was written"))
    return {name: item for name, item in value.items() if name != _CHECK}


def _damaged(uri: str, what: str) -> str:
    return f"{uri}: damaged ({what}); remove it and run the job again"


def _text(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, indent=2, allow_nan=False) + "\n").encode()
