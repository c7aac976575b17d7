"""The file ``_job.json`` of an output: the options it was made with, and the columns that its first run settled.

The names of the file's fields are part of the output format: ``request`` is a ``ColumnSelection``, ``settings`` the
``JobOptions``, ``columns`` a ``RecordSchema``.
"""

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any

import pyarrow as pa

from lake.core import sealed_json
from lake.core.errors import OutputError
from lake.core.printable import printable
from lake.formats import FORMATS
from lake.formats.common.stable_types import stable_schema, type_texts
from lake.formats.reader import ColumnSelection, RecordSchema
from lake.images.types import PixelLayout
from lake.storage import Guard, put, store_for
from pipeline.config import FIRST_EXECUTOR, JobConfig, options_digest
from pipeline.output.layout import Layout
from pipeline.output.state.state_file import read_state_file
from pipeline.output.state.state_values import (
    Rule,
    check_fields,
    list_of,
    mapping_of,
    natural,
    one_of,
    optional,
    truth,
    utf8,
)
from pipeline.output.units.receipts import Receipt

JobFile = dict[str, Any]
_LEFT_OUT = {"executor": FIRST_EXECUTOR}  # options whose absence has a name of its own
_TEXT = 400  # most characters of an option in an error: a scale may have thousands of numbers

_JSON_FIELDS = ("image", "key", "numeric", "length", "max_record_bytes")  # fields of RecordSchema that JSON can hold
# Of RecordSchema.unusual.
_UNUSUAL: Mapping[str, Callable[[Any], Any]] = {
    "layout": PixelLayout,
    "image_shape": tuple,
    "image_dtype": str,
    "shaped": bool,
}


def read_job_file(output: str) -> JobFile | None:
    """Read the job file of an output.

    Args:
      output: URI of the output.

    Returns:
      Its content; None for a new output, and for one that has lost the file.

    Raises:
      OutputError: something else is there.
      VerifyError: the file is damaged.
    """
    layout, store = Layout(output), store_for(output)
    if store.stat(output) is not None:
        raise OutputError(f"{output} is a file; name a directory")
    if store.stat(layout.job) is None:
        if store.stat(layout.manifest) is not None:
            return None  # prepare() compares the receipts instead
        # A lease alone is what a first run leaves that died before it wrote anything else.
        there = store.list(output) if store.is_directory(output) else iter(())
        if any(stat.uri != layout.lease for stat in there):
            raise OutputError(f"{output} is not empty and not an output of this job; name another directory")
        return None
    return read_state_file(layout.job, _RULES)


def write_job_file(
    config: JobConfig, selection: ColumnSelection, options: Mapping[str, Any], guard: Guard | None = None
) -> None:
    """Write the job file of an output.

    Args:
      config: the job.
      selection: what the user and the model ask of each record.
      options: what ``pipeline.options.kept_options.options_to_json`` returned.
      guard: the right to write it.
    """
    # Columns that no shard has told yet do not last: the first run over records settles them.
    columns = config.columns
    formats = {format: _columns(own) for format, own in columns.formats if own.settled}
    job_file = {
        "options_digest": options_digest(config),
        "options": config.options(),
        "request": _selection(selection),
        "columns": {
            **_columns(columns),
            **({} if columns.settled else {"settled": False}),
            **({"formats": formats} if formats else {}),
        },
        "settings": options,
    }
    put(Layout(config.output).job, sealed_json.dumps(job_file), guard)


def _columns(columns: RecordSchema) -> dict[str, Any]:
    # Arrow defines no JSON form of a schema, so its IPC form is kept.
    carry = base64.b64encode(columns.carry.serialize().to_pybytes()).decode()
    return {**{name: getattr(columns, name) for name in _JSON_FIELDS}, **columns.unusual(), "carry": carry}


def settled_schema(job_file: JobFile | None, selection: ColumnSelection) -> RecordSchema | None:
    """Return the columns that an earlier run with the same selection settled; None if there was none.

    They last as long as the output, whatever columns later shards have.

    Args:
      job_file: what ``read_job_file`` returned.
      selection: what the user and the model ask of each record.
    """
    if job_file is None or job_file["request"] != _selection(selection) or not _is_settled(job_file):
        return None
    columns = job_file["columns"]
    formats = {format: _settled(own, selection) for format, own in columns.get("formats", {}).items()}
    return replace(_settled(columns, selection), formats=tuple(formats.items()))


def _settled(columns: Mapping[str, Any], selection: ColumnSelection) -> RecordSchema:
    values = {name: columns[name] for name in _JSON_FIELDS}
    values |= {name: read(columns[name]) for name, read in _UNUSUAL.items() if name in columns}
    carry = _schema(columns["carry"])
    return RecordSchema(
        carry=carry, latents=selection.latents, whole=selection.whole, salvage=selection.salvage, **values
    )


def check_job_file(job_file: JobFile | None, config: JobConfig, overwrite: bool) -> None:
    """Check that the output was made with the options of this job.

    Args:
      job_file: what ``read_job_file`` returned.
      config: the job.
      overwrite: whether results of other options are to be replaced.

    Raises:
      OutputError: it was made with another model or other options; the text names each one that differs.
    """
    if job_file is None or overwrite or job_file["options_digest"] == options_digest(config):
        return
    if not _is_settled(job_file) and _without_columns(job_file["options"]) == _without_columns(config.options()):
        return
    options, before = json.loads(json.dumps(config.options())), _options_of(job_file)
    if before == options:
        return
    differing = differences(before, options)
    other = job_file["options"].get("output_version") != options["output_version"]
    by = "by another version of latentlake, and " if other else ""
    raise OutputError(
        f"{config.output} was made {by}with other options ({', '.join(differing)}); name another --output, or replace "
        "what it holds with --overwrite"
    )


def _options_of(job_file: JobFile) -> Mapping[str, Any]:
    """The options of an output, with carried types as they are said today; earlier versions said the first shard's."""
    options, carry = job_file["options"], stable_schema(_schema(job_file["columns"]["carry"]))
    return {**options, "columns": {**options["columns"], "carry": type_texts(carry)}}


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Say which options of two jobs differ, and how.

    Args:
      before: options as JSON values, as a job file has them.
      now: those of another job.

    >>> differences({"verb": "encode", "target": {"resize": None}}, {"verb": "encode", "target": {"resize": "crop"}})
    ['target.resize None -> crop']
    """
    old, new = _flat(before), _flat(now)
    names = [name for name in {**new, **old} if old.get(name) != new.get(name)]
    return [f"{name} {_brief(name, old)} -> {_brief(name, new)}" for name in names]


def _brief(name: str, options: Mapping[str, object]) -> str:
    return printable(str(options.get(name, _LEFT_OUT.get(name))), _TEXT)


def _is_settled(job_file: JobFile) -> bool:
    return bool(job_file["columns"].get("settled", True))


def _without_columns(options: Mapping[str, Any]) -> Any:
    return json.loads(json.dumps({**options, "columns": None}))


def check_receipts(receipts: Mapping[str, Receipt], config: JobConfig) -> None:
    """Check that the units of an output without a job file were made with the options of this job.

    Args:
      receipts: receipts of the units that are done, by unit.
      config: the job.

    Raises:
      OutputError: they were made with other options.
    """
    if other := next((r.unit for r in receipts.values() if r.options != options_digest(config)), None):
        raise OutputError(
            f"{config.output} has lost its _job.json, and unit {other!r} was made with another model or other options; "
            "run the command that made it, or replace what it holds with --overwrite"
        )


def _check_schema(encoded: object) -> None:
    _schema(encoded)


def _schema(encoded: object) -> pa.Schema:
    """Decode the carried columns.

    Raises:
      ValueError: the text is no schema.
    """
    utf8(encoded)
    try:
        return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(str(encoded), validate=True)))
    except (pa.ArrowException, OSError) as error:
        raise ValueError("no schema") from error


_COLUMNS: Mapping[str, Rule] = {
    "image": utf8,
    "key": optional(utf8),
    "numeric": truth,
    "length": optional(natural),
    "max_record_bytes": natural,
    "carry": _check_schema,
}
_MAYBE: Mapping[str, Rule] = {
    "layout": one_of(tuple(map(str, PixelLayout))),
    "image_shape": list_of(natural),
    "image_dtype": utf8,
}


def _check_columns(value: object) -> None:
    _check_own(value)
    check_fields(value, {"formats": _check_formats})


def _check_own(value: object) -> None:
    check_fields(value, _COLUMNS, whole=True)
    check_fields(value, _MAYBE)


def _check_formats(value: object) -> None:
    mapping_of(_check_own)(value)
    assert isinstance(value, Mapping)
    for format in value:
        one_of(FORMATS)(format)


def _check_options(value: object) -> None:
    mapping_of(lambda _: None)(value)
    check_fields(value, {"latents": optional(_check_latents)})


def _check_latents(value: object) -> None:
    mapping_of(lambda _: None)(value)
    check_fields(value, {"format": utf8, "names": list_of(utf8)})


_RULES: Mapping[str, Rule] = {
    "options_digest": utf8,
    "options": _check_options,
    "request": mapping_of(lambda _: None),
    "columns": _check_columns,
    "settings": mapping_of(lambda _: None),
}


def _selection(selection: ColumnSelection) -> dict[str, Any]:
    value = asdict(selection)
    del value["salvage"]  # does not change what is read of an intact shard
    del value["shape"], value["latents"]  # the model's and the verb's
    value = {name: known for name, known in value.items() if name not in _UNUSUAL or known not in (None, False)}
    if selection.image_shape is not None:
        value["image_shape"] = [*selection.image_shape]
    whole = {"whole": True} if value.pop("whole") else {}
    return {**value, **whole, "carry": None if selection.carry is None else list(selection.carry)}


def _flat(options: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in options.items():
        flat.update({f"{name}.{key}": v for key, v in value.items()} if isinstance(value, dict) else {name: value})
    return flat
