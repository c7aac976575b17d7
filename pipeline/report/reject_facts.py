"""What was rejected, with examples, pictures of them where the kept bytes show something, and what may help."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lake.core.errors import LatentlakeError
from lake.core.records import OutputFile, Reason
from pipeline.explore.committed import Committed
from pipeline.output.commit.run_timing import unit_order
from pipeline.output.units.receipts import Receipt, sum_counts
from pipeline.report.pictures import Budget, rejected_picture
from pipeline.report.shown import ImageFacts, RecordName, RejectFacts, RejectReason

_PICTURE_BYTES = 300_000  # of all pictures
_EACH = 6  # examples of a reason
_TABLES = 64  # tables of rejects that are looked at
_ROWS = 2000  # rows of each
_BATCH = 64  # rows that are in memory: each may keep a megabyte of its record
_TEXT = 200  # characters

# What may help with a reason: options of a retry, or none if a plain retry does after something else was changed.
_ADVICE: Mapping[Reason, tuple[str | None, str]] = {
    Reason.DAMAGED_SHARD: ("", "Replace the shard by an intact one; a run does the rest, or retry."),
    Reason.CORRUPT_RECORD: ("", "Replace the shard by an intact one; a run does the rest, or retry."),
    Reason.INVALID_RECORD: (None, "Write these records again, in the form of the others."),
    Reason.MISSING_IMAGE: (None, "Look whether --image names the right column; else leave such records out."),
    Reason.EMPTY_IMAGE: (None, "Fetch these images again, or leave such records out."),
    Reason.UNKNOWN_FORMAT: (None, "Convert them to a format that is read, such as PNG."),
    Reason.UNSUPPORTED_IMAGE: (None, "Convert them to PNG."),
    Reason.CORRUPT_IMAGE: ("", "Fetch these images again, then retry."),
    Reason.SEVERAL_PAGES: ("--pages first", "Take the first image of each file, or split the files."),
    Reason.TOO_MANY_PIXELS: ("--max-pixels 1G", "Raise the limit if the images are honest."),
    Reason.RECORD_TOO_LARGE: ("--max-record-bytes 1G", "Raise the limit if the records are honest."),
    Reason.WRONG_SIZE: ("--resize fit", "Let images of other sizes be resized: fit, crop, pad or stretch."),
    Reason.WRONG_CHANNELS: ("--color convert", "Let colours be converted to what the model takes."),
    Reason.WRONG_LENGTH: (None, "Look whether --image names the right column, and whether the model is the right one."),
    Reason.WRONG_TYPE: (None, "Leave the column out of --carry, or correct the source."),
    Reason.INVALID_CONDITION: (None, "Look whether --condition-column names the right column, or correct its values."),
    Reason.NON_FINITE_INPUT: (None, "Correct the source: its numbers have NaN or infinity."),
    Reason.WRONG_SCALE: (
        None,
        "Say with --white what white is in floating pixels, as the detail advises, or bring them to 0..1.",
    ),
    Reason.NON_FINITE_LATENT: (None, "Look at the model and its value range."),
    Reason.MODEL_FAILED: ("", "Look at the detail and at the model; a retry helps if memory was short."),
    Reason.UNWRITABLE_IMAGE: (None, "Choose another --image-format for the output."),
}


def reject_facts(committed: Committed) -> RejectFacts | None:
    """What the page shows of the rejects; None where there are none.

    Args:
      committed: the output.
    """
    totals = sum_counts(committed.receipts)
    if not totals["rejects"]:
        return None
    budget = Budget(_PICTURE_BYTES)
    rows, read = _examples(committed, list(totals["reasons"])), max(totals["read"], 1)
    reasons = [
        _reason(committed, reason, count, count / read, rows.get(reason, []), budget)
        for reason, count in totals["reasons"].items()
    ]
    return RejectFacts(total=totals["rejects"], share=totals["rejects"] / read, reasons=tuple(reasons))


def _reason(
    committed: Committed, reason: str, count: int, share: float, rows: Sequence[Mapping[str, Any]], budget: Budget
) -> RejectReason:
    known = reason in set(map(str, _ADVICE))
    options, advice = _ADVICE[Reason(reason)] if known else (None, "")
    return RejectReason(
        reason=reason,
        count=count,
        share=share,
        detail=rows[0]["detail"][:_TEXT] if rows else "",
        images=tuple(_image(row, budget) for row in rows),
        command="" if options is None else retry_command(committed.layout.output, options),
        advice=advice,
    )


def retry_command(output: str, options: str) -> str:
    """The command that retries the rejects of an output, as a shell takes it.

    Args:
      output: URI of the output, which may have any characters.
      options: of the retry.

    >>> retry_command("my output", "--resize fit")
    "latentlake retry 'my output' --resize fit"
    """
    return f"latentlake retry {shlex.quote(output)} {options}".rstrip()


def _image(row: Mapping[str, Any], budget: Budget) -> ImageFacts:
    picture = None if not row["data"] else rejected_picture(row["data"])
    picture = picture if picture is not None and budget.take(picture) else None
    return ImageFacts(
        record=RecordName(key=row["key"][:_TEXT], shard=row["shard"][:_TEXT], index=row["index"]),
        picture=picture,
        missing="" if picture is not None else _missing(row),
        why=row["detail"][:_TEXT],
    )


def _missing(row: Mapping[str, Any]) -> str:
    if row["data"] is None:
        return "its bytes were not kept"
    return "the kept part of its bytes shows nothing" if row["data_truncated"] else "its bytes show nothing"


def _examples(committed: Committed, reasons: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """Some rejects of each reason."""
    found = {reason: list[dict[str, Any]]() for reason in reasons}
    for receipt, file in _tables(committed, reasons):
        if all(len(found[reason]) >= _EACH for reason in receipt.rejects if reason in found):
            continue
        try:
            for row in _rows(committed, receipt, file):
                if len(some := found.get(row["reason"], [])) < _EACH and row["reason"] in found:
                    some.append(row)
        except (LatentlakeError, OSError):  # what is damaged has no examples; verify says so
            continue
    return found


def _tables(committed: Committed, reasons: Sequence[str]) -> list[tuple[Receipt, OutputFile]]:
    """Tables that have each reason, and a sample of all."""
    tables = sorted(committed.reject_tables, key=lambda table: unit_order(table[0].unit))
    chosen = dict[str, tuple[Receipt, OutputFile]]()
    for reason in reasons:
        own = [table for table in tables if reason in table[0].rejects]
        chosen |= {table[0].unit: table for table in own[: max(2, _TABLES // len(reasons))]}
    return list(chosen.values())


def _rows(committed: Committed, receipt: Receipt, file: OutputFile) -> Iterator[dict[str, Any]]:
    seen = 0
    for batch in committed.table_batches(receipt, file, most=_BATCH):
        yield from batch.to_pylist()
        seen += batch.num_rows
        if seen >= _ROWS:
            return
