"""Text columns that are certainly UTF-8. Parquet readers trust the declared type without checking."""

import pyarrow as pa


def text(values: pa.Array) -> pa.Array:
    r"""Convert a column of single values to strings. Bytes that are not UTF-8 become backslash escapes.

    Args:
      values: strings, bytes, numbers, times or dates; possibly dictionary-encoded.

    Raises:
      pa.ArrowNotImplementedError: the values have no text form (lists, structs).

    >>> text(pa.array([b"caf\xc3\xa9", b"\xff", None])).to_pylist()
    ['café', '\\xff', None]
    """
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    try:
        strings = values if values.type == pa.string() else values.cast(pa.string())
        strings.validate(full=True)
    except pa.ArrowInvalid:
        return pa.array([_escaped(value) for value in values.cast(pa.binary()).to_pylist()], pa.string())
    return strings


def invalid(values: pa.Array) -> list[int]:
    """Positions of strings that are not UTF-8; empty for any other type."""
    if not (pa.types.is_string(values.type) or pa.types.is_large_string(values.type)):
        return []
    try:
        values.validate(full=True)
    except pa.ArrowInvalid:
        raw = values.cast(pa.large_binary()).to_pylist()
        return [at for at, value in enumerate(raw) if value is not None and not _decodes(value)]
    return []


def _escaped(value: bytes | None) -> str | None:
    return None if value is None else value.decode("utf-8", "backslashreplace")


def _decodes(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True
