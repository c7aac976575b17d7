"""Receipts: what each unit leaves when it has finished or failed."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from functools import partial
from typing import Any

from lake.core import sealed_json
from lake.core.errors import VerifyError
from lake.core.ordered_map import requested
from lake.core.records import OutputFile
from lake.storage import Guard, put, store_for
from pipeline.output.layout import Layout, files_below
from pipeline.output.state.state_values import (
    Rule,
    check_fields,
    data_name,
    list_of,
    mapping_of,
    natural,
    number,
    optional,
    relative,
    utf8,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """The result of a unit: counts and output files of a finished one, the error of a failed one.

    Attributes:
      unit: id of the unit.
      fingerprint: hash of everything that determines the unit's outputs; see ``pipeline.config.fingerprint``.
      options: hash of the options that change output bytes, the same for all units of an output.
      retried: options, as JSON text, with which rejected records were decoded once more; "" if they were not.
      read: number of records.
      results: number of results.
      rejects: reason -> number of rejected records.
      outputs: the unit's files.
      seconds: how long the unit took.
      first: when the first batch was finished, in seconds since the epoch.
      store_retries: requests to stores that the process repeated since its last receipt.
      several_pages: results of files with several images, of which the first was taken.
      clipped: numbers of latents that were clipped to the range of their type.
      noise_below: results of images with less noise than the model learned.
      noise_above: results of images with more noise than it learned.
      reused: results whose latents were made by an earlier run.
      run: id of the run that wrote it; "" if it is not known.
      error: why the unit failed; None for a finished one.
      spent: seconds of threads by what they did: read, decode, model, write, publish.

    >>> receipt = Receipt(unit="a", fingerprint="00", read=10, results=8, rejects={"corrupt_image": 2})
    >>> receipt.rejected
    2
    >>> Receipt.from_json(receipt.to_json()) == receipt
    True
    """

    unit: str
    fingerprint: str
    options: str = ""
    retried: str = ""
    read: int = 0
    results: int = 0
    rejects: Mapping[str, int] = field(default_factory=dict)
    outputs: tuple[OutputFile, ...] = ()
    seconds: float = 0.0
    first: float | None = None
    store_retries: int = 0
    several_pages: int = 0
    clipped: int = 0
    noise_below: int = 0
    noise_above: int = 0
    reused: int = 0
    run: str = ""
    error: str | None = None
    spent: Mapping[str, float] = field(default_factory=dict)

    @property
    def rejected(self) -> int:
        """Number of rejected records, for all reasons."""
        return sum(self.rejects.values())

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        # Ten times as fast as dataclasses.asdict, which copies deeply; a commit converts all receipts of the output.
        value = {name: getattr(self, name) for name in _FIELDS if name not in _RARE or getattr(self, name)}
        return {**value, "outputs": [{name: getattr(output, name) for name in _FILE_FIELDS} for output in self.outputs]}

    def to_json(self) -> str:
        """Return the receipt as one line of JSON."""
        return json.dumps(self.to_dict(), sort_keys=True)

    @classmethod
    def from_json(cls, text: str | bytes) -> "Receipt":
        """Parse what ``to_json`` returned."""
        return cls._of(json.loads(text))

    @classmethod
    def _of(cls, value: dict[str, Any]) -> "Receipt":
        check_fields(value, _RULES)
        outputs = tuple(OutputFile(**output) for output in value.pop("outputs"))
        return cls(outputs=outputs, **value)


_FILE_RULES: dict[str, Rule] = {"name": data_name, "size": natural, "rows": natural, "crc32c": utf8}
_RULES: dict[str, Rule] = {
    "unit": relative,
    "fingerprint": utf8,
    "options": utf8,
    "retried": utf8,
    "read": natural,
    "results": natural,
    "rejects": mapping_of(natural),
    "outputs": list_of(lambda value: check_fields(value, _FILE_RULES)),
    "seconds": number,
    "first": optional(number),
    "store_retries": natural,
    "several_pages": natural,
    "clipped": natural,
    "noise_below": natural,
    "noise_above": natural,
    "reused": natural,
    "run": utf8,
    "error": optional(utf8),
    "spent": mapping_of(number),
}
_RARE = ("clipped", "noise_below", "noise_above", "reused", "spent")  # fields that are left out where they say nothing
_FIELDS, _FILE_FIELDS = (tuple(field.name for field in fields(kind)) for kind in (Receipt, OutputFile))


def sum_counts(receipts: Iterable[Receipt]) -> dict[str, Any]:
    """Sum the counts of some units.

    Args:
      receipts: receipts of the units.

    Returns:
      ``read``, ``results``, ``rejects``, ``reasons`` (rejects by reason, the most frequent first) and ``output_bytes``.
    """
    read = results = size = 0
    reasons: Counter[str] = Counter()
    for receipt in receipts:
        read += receipt.read
        results += receipt.results
        reasons.update(receipt.rejects)
        size += sum(output.size for output in receipt.outputs)
    return {
        "read": read,
        "results": results,
        "rejects": reasons.total(),
        "reasons": dict(reasons.most_common()),
        "output_bytes": size,
    }


def sum_files(receipts: Iterable[Receipt]) -> dict[str, dict[str, int]]:
    """Sum the files of some units by their directory.

    Args:
      receipts: receipts of the units.

    Returns:
      ``files``, ``rows`` and ``bytes`` of each directory of data that has any.
    """
    sums: dict[str, dict[str, int]] = {}
    for output in (output for receipt in receipts for output in receipt.outputs):
        counts = sums.setdefault(output.name.partition("/")[0], {"files": 0, "rows": 0, "bytes": 0})
        counts["files"] += 1
        counts["rows"] += output.rows
        counts["bytes"] += output.size
    return {directory: sums[directory] for directory in sorted(sums)}


def output_names(receipts: Iterable[Receipt]) -> set[str]:
    """Return the names of all files of some units, relative to the output."""
    return {output.name for receipt in receipts for output in receipt.outputs}


def write_receipt(layout: Layout, receipt: Receipt, guard: Guard | None = None, *, durable: bool = True) -> None:
    """Write a receipt below the output, where the commit and the next plan find it.

    Args:
      layout: the output.
      receipt: the receipt.
      guard: the right to write it.
      durable: whether a loss of power may not take it away. That of a finished unit it may: its files are on the disk
        by then, and without it, or with a damaged one, the unit is done again.
    """
    put(layout.receipt(receipt.unit), sealed_json.dumps(receipt.to_dict()), guard, durable=durable)


def write_failure(layout: Layout, run: str, receipt: Receipt, guard: Guard | None = None) -> None:
    """Write the receipt of a failed unit beside the plan of its run, where ``status`` finds it while the run lasts.

    It does not go where the receipts of finished units are: what an earlier run made of the unit stays valid until the
    commit decides.
    """
    put(layout.failure(run, receipt.unit), sealed_json.dumps(receipt.to_dict()), guard)


def listed_receipts(layout: Layout) -> dict[str, str]:
    """Return the units that have a receipt since the last commit, each with the identity of the file."""
    return {_unit_of(layout, stat.uri): stat.identity for stat in files_below(layout.receipts)}


def listed_failures(layout: Layout, run: str) -> set[str]:
    """Return the units of a run that have failed."""
    directory = layout.failures(run)
    return {stat.uri[len(directory) + 1 :].removesuffix(".receipt") for stat in files_below(directory)}


def read_each(uris: Mapping[str, str]) -> dict[str, Receipt]:
    """Read some receipts.

    Args:
      uris: by unit.

    Returns:
      By unit. One that is gone is left out: a commit removes them. A damaged one has an error.
    """
    found = zip(uris, requested(lambda item: _read_one(*item), uris.items()), strict=True)
    return {unit: receipt for unit, receipt in found if receipt is not None}


def _read_one(unit: str, uri: str) -> Receipt | None:
    try:
        with store_for(uri).open(uri) as file:
            return _parse_receipt(file.read(), unit)
    except FileNotFoundError:
        return None


def read_receipts(layout: Layout) -> dict[str, Receipt]:
    """Read the receipts since the last commit.

    Args:
      layout: the output.

    Returns:
      Receipts by unit. A damaged one becomes a receipt with an error, so that its unit counts as not done.
    """
    return _read_all(layout, (stat.uri for stat in files_below(layout.receipts)))


def read_receipt(layout: Layout, unit: str) -> Receipt | None:
    """Read the receipt of one unit since the last commit, in one request; None if there is none.

    Args:
      layout: the output.
      unit: id of the unit.
    """
    return _read_receipt(layout, layout.receipt(unit))


def _unit_of(layout: Layout, uri: str) -> str:
    return uri[len(layout.receipts) + 1 :].removesuffix(".json")


def read_receipts_of(layout: Layout, units: Iterable[str]) -> dict[str, Receipt]:
    """Read the receipts of some units.

    Args:
      layout: the output.
      units: ids of the units.

    Returns:
      Receipts by unit, as of ``read_receipts``; none for a unit that has no receipt.
    """
    return _read_all(layout, map(layout.receipt, units))


def _read_all(layout: Layout, uris: Iterable[str]) -> dict[str, Receipt]:
    found = requested(partial(_read_receipt, layout), uris)
    return {receipt.unit: receipt for receipt in found if receipt is not None}


def _read_receipt(layout: Layout, uri: str) -> Receipt | None:
    return _read_one(_unit_of(layout, uri), uri)


def _parse_receipt(data: bytes, unit: str) -> Receipt:
    try:
        receipt = Receipt._of(sealed_json.loads(data, unit))
        if receipt.unit != unit:
            raise ValueError(f"of {receipt.unit!r}")
    except (VerifyError, ValueError, TypeError, KeyError) as error:
        return Receipt(unit=unit, fingerprint="", error=f"its receipt is damaged ({error}); run the job again")
    return receipt
