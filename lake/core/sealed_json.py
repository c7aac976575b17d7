"""JSON files that carry their own checksum.

They hold an output's state. People read them, so they are text; a flipped bit in them must be noticed, so they end with
a CRC-32C (Castagnoli, RFC 3720 appendix B.4).
"""

import json
from collections.abc import Mapping
from typing import Any

import google_crc32c

from lake.core.errors import VerifyError

_EMPTY = b"{}\n"
_CHECK = "check"  # the last member: CRC-32C of the text without this member, eight hexadecimal digits


def dumps(value: Mapping[str, Any]) -> bytes:
    """Serialize an object with a checksum. Equal values in equal order give equal bytes.

    Args:
      value: JSON values by name. An entry ``check`` is replaced.

    Raises:
      ValueError: a number is NaN or infinite.

    >>> print(dumps({"rows": 3}).decode(), end="")
    {
      "rows": 3,
      "check": "e3e6955f"
    }
    """
    text = _text({name: item for name, item in value.items() if name != _CHECK})
    # Its end is replaced: to serialize once more takes as long as all else that a small file costs.
    sealed = f'{"" if text == _EMPTY else ","}\n  "{_CHECK}": "{google_crc32c.value(text):08x}"\n}}\n'
    return text.removesuffix(b"}\n").removesuffix(b"\n") + sealed.encode()


def loads(data: bytes, uri: str) -> dict[str, Any]:
    """Parse what ``dumps`` wrote and verify its checksum.

    Args:
      data: the text, byte for byte as ``dumps`` wrote it.
      uri: of the file, for the error.

    Returns:
      The value that ``dumps`` was given, without ``check``.

    Raises:
      VerifyError: the text differs from what ``dumps`` wrote, if only in its spelling.

    >>> loads(dumps({"rows": 3}), "job.json")
    {'rows': 3}
    >>> loads(dumps({"rows": 3}).replace(b"3", b"4"), "job.json")
    Traceback (most recent call last):
    ...
    lake.core.errors.VerifyError: job.json: damaged (not the text that was written); remove it and run the job again
    """
    try:
        value = json.loads(data)
        # Serializing again compares the whole text, so a change that parses to the same value is found too.
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
