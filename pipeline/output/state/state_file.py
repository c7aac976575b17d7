"""Read the JSON files of an output's state: their checksum is verified, and every value that is used is checked."""

from collections.abc import Mapping
from typing import Any

from lake.core import sealed_json
from lake.core.errors import VerifyError
from lake.storage import store_for
from pipeline.output.state.state_values import Rule, check_fields, list_of, mapping_of, natural, truth, utf8

_EXAMPLE: Mapping[str, Rule] = {"shard": utf8, "index": natural, "key": utf8}
_IMAGES: Mapping[str, Rule] = {"format": utf8}
_TOTAL: Mapping[str, Rule] = {
    "units": natural,
    "read": natural,
    "results": natural,
    "rejects": natural,
    "reasons": mapping_of(natural),
    "output_bytes": natural,
}


def _check_example(value: object) -> None:
    check_fields(value, {"detail": utf8}, whole=True)
    assert isinstance(value, Mapping)
    if len(value) > 1:  # else its file could not be read, and no record is known
        check_fields(value, _EXAMPLE, whole=True)


_SUMMARY: Mapping[str, Rule] = {
    "complete": truth,
    "refused": list_of(utf8),
    "verb": utf8,
    "output": utf8,
    "total": lambda value: check_fields(value, _TOTAL, whole=True),
    "examples": mapping_of(list_of(_check_example)),
    "options": lambda value: check_fields(value, {"images": lambda images: check_fields(images, _IMAGES, whole=True)}),
}


def read_state_file(uri: str, rules: Mapping[str, Rule]) -> dict[str, Any]:
    """Read one file.

    Args:
      uri: URI of the file.
      rules: a rule for each field that it must have.

    Raises:
      VerifyError: the file is damaged, or a value in it is of no use; the text names the file and the remedy.
    """
    with store_for(uri).open(uri) as file:
        value = sealed_json.loads(file.read(), uri)
    check_state(value, rules, uri)
    return value


def check_state(value: object, rules: Mapping[str, Rule], uri: str, *, whole: bool = True) -> None:
    """Check the values of a file of state.

    Args:
      value: what the file holds.
      rules: by the name of the field.
      uri: URI of the file, for the error.
      whole: whether every one of these fields must be there.

    Raises:
      VerifyError: a field is missing, or its value is of no use.
    """
    try:
        check_fields(value, rules, whole=whole)
    except ValueError as error:
        raise VerifyError(f"{uri}: damaged ({error}); remove it and run the job again") from error


def read_summary(uri: str) -> dict[str, Any]:
    """Read the summary of a run, which ``_SUCCESS`` is, too.

    Args:
      uri: URI of the file.

    Raises:
      VerifyError: as of ``read_state_file``.
    """
    return read_state_file(uri, _SUMMARY)
