"""Receipts that are folded in any order are the same receipts."""

import pickle
import random

from lake.core.records import OutputFile
from pipeline.output.units.receipt_accumulator import ReceiptAccumulator
from pipeline.output.units.receipts import Receipt


def receipt(number: int) -> Receipt:
    name = f"dt=2026-11-{number % 28 + 1:02d}/train-{number:07d}"
    made = OutputFile(name=f"latents/{name}.parquet", size=number, rows=number % 11, crc32c=f"{number:08x}")
    error = "é\n" if number % 97 == 0 else None
    return Receipt(unit=name, fingerprint=f"{number:064x}", read=number % 11, outputs=(made,), error=error)


def test_a_tree_of_parts() -> None:
    receipts = [receipt(number) for number in range(4321)]
    dice, parts = random.Random(5), [ReceiptAccumulator() for _ in range(7)]
    for one in receipts:
        dice.choice(parts).add(one.to_json())
    left, right = ReceiptAccumulator(), ReceiptAccumulator()
    left.join(pickle.loads(pickle.dumps(parts[:3])))
    right.join(parts[3:])
    left.join([right])
    assert sorted(left.receipts(), key=lambda one: one.unit) == sorted(receipts, key=lambda one: one.unit)


def test_most_of_it_is_compressed() -> None:
    folded = ReceiptAccumulator()
    lines = [receipt(number).to_json() for number in range(5000)]
    for line in lines:
        folded.add(line)
    assert len(pickle.dumps(folded)) < sum(map(len, lines)) / 5


def test_nothing() -> None:
    assert [*ReceiptAccumulator().receipts()] == []
