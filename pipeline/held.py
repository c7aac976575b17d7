"""What an output holds, in its ``_job.json``: how it was asked for, and the columns that were settled then."""

import base64
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import pyarrow as pa

from pipeline import checked
from pipeline.config import JobConfig, options_digest
from pipeline.errors import OutputError
from pipeline.layout import Layout
from pipeline.readers import Columns, Request
from pipeline.receipts import Receipt
from pipeline.storage import put, store_for

Held = dict[str, Any]
_PLAIN = ("image", "key", "numeric", "length", "max_record_bytes")  # fields of Columns that JSON can hold


def read_held(output: str) -> Held | None:
    """What an output was made with; None for a new one, and for one that has lost it.

    Raises:
      OutputError: something is there that is no output of this job.
      VerifyError: what it says of itself is damaged.
    """
    layout, store = Layout(output), store_for(output)
    if store.stat(output) is not None:
        raise OutputError(f"{output} is a file; name a directory")
    if store.stat(layout.job) is None:
        if store.stat(layout.manifest) is not None:
            return None
        there = store.list(output) if store.is_directory(output) else iter(())
        if any(stat.uri != layout.hold for stat in there):
            raise OutputError(f"{output} is not empty and not an output of this job; name another directory")
        return None
    with store.open(layout.job) as file:
        held: Held = checked.loads(file.read(), layout.job)
    return held


def write_held(config: JobConfig, request: Request, settings: Mapping[str, Any]) -> None:
    """Say what the output is about to hold, and by which settings it can be made again."""
    carry = base64.b64encode(config.columns.carry.serialize().to_pybytes()).decode()
    plain = {name: getattr(config.columns, name) for name in _PLAIN}
    columns = {**plain, "carry": carry}
    held = {
        "options_digest": options_digest(config),
        "options": config.options(),
        "request": _request(request),
        "columns": columns,
        "settings": settings,
    }
    put(Layout(config.output).job, checked.dumps(held))


def held_columns(held: Held | None, request: Request) -> Columns | None:
    """The columns that the same request settled when the output was begun: they last, whatever shards come later."""
    if held is None or held["request"] != _request(request):
        return None
    columns = held["columns"]
    carry = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(columns["carry"])))
    plain = {name: columns[name] for name in _PLAIN}
    return Columns(carry=carry, whole=request.whole, salvage=request.salvage, **plain)


def check_held(held: Held | None, config: JobConfig, overwrite: bool) -> None:
    """Refuse to mix.

    Raises:
      OutputError: the output was made with another model or other options; the text names each.
    """
    if held is None or overwrite or held["options_digest"] == options_digest(config):
        return
    before, now = _flat(held["options"]), _flat(json.loads(json.dumps(config.options())))
    differing = [f"{name} {before.get(name)} -> {now.get(name)}" for name in now if before.get(name) != now[name]]
    raise OutputError(
        f"{config.output} was made with other options ({', '.join(differing)}); name another --output, or replace what "
        "it holds with --overwrite"
    )


def check_receipts(receipts: Mapping[str, Receipt], config: JobConfig) -> None:
    """Refuse to mix in an output that does not say any more what it was made with.

    Raises:
      OutputError: its units were made with other options.
    """
    if other := next((r.unit for r in receipts.values() if r.options != options_digest(config)), None):
        raise OutputError(
            f"{config.output} has lost its _job.json, and unit {other!r} was made with another model or other options; "
            "run the command that made it, or replace what it holds with --overwrite"
        )


def _request(request: Request) -> dict[str, Any]:
    value = asdict(request)
    del value["salvage"]  # of an intact shard everything is kept with or without
    whole = {"whole": True} if value.pop("whole") else {}
    return {**value, **whole, "carry": None if request.carry is None else list(request.carry)}


def _flat(options: dict[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in options.items():
        flat.update({f"{name}.{key}": v for key, v in value.items()} if isinstance(value, dict) else {name: value})
    return flat
