"""Damage to bytes, whatever they mean: flipped, overwritten, missing, inserted and repeated ones, two files spliced."""

import random
from collections.abc import Callable
from typing import Literal, TypeAlias

from tests.faults.pictures import pictures

EXTREMES = (0, 1, 2, 7, 8, 255, 256, 32767, 32768, 65535, 65536, 1 << 20, (1 << 31) - 1, 1 << 31, (1 << 32) - 1)

Dice: TypeAlias = random.Random
Order: TypeAlias = Literal["little", "big"]
Mutation: TypeAlias = Callable[[Dice, bytes], bytes]


def place(dice: Dice, data: bytes) -> int:
    """A position; every other one where headers are."""
    return dice.randrange(min(len(data), 160) if dice.random() < 0.5 else len(data)) if data else 0


def over(data: bytes, position: int, new: bytes) -> bytes:
    return data[:position] + new + data[position + len(new) :]


def number(dice: Dice, size: int) -> bytes:
    """An extreme number, or any, in either byte order."""
    value = dice.choice(EXTREMES) if dice.random() < 0.8 else dice.getrandbits(32)
    order: Order = "little" if dice.random() < 0.5 else "big"
    return (value & (1 << 8 * size) - 1).to_bytes(size, order)


def flips(dice: Dice, data: bytes) -> bytes:
    mutated = bytearray(data)
    for _ in range(dice.randint(1, 5) if data else 0):
        mutated[place(dice, data)] ^= 1 << dice.randrange(8)
    return bytes(mutated)


def overwrites(dice: Dice, data: bytes) -> bytes:
    size = dice.choice((1, 2, 3, 4, 16, 64))
    return over(data, place(dice, data), dice.choice((dice.randbytes(size), bytes(size), b"\xff" * size)))


def extreme_number(dice: Dice, data: bytes) -> bytes:
    return over(data, place(dice, data), number(dice, dice.choice((1, 2, 4))))


def cuts(dice: Dice, data: bytes) -> bytes:
    return data[: place(dice, data)]


def deletes(dice: Dice, data: bytes) -> bytes:
    start = place(dice, data)
    return data[:start] + data[start + dice.choice((1, 2, 4, 13, 100)) :]


def inserts(dice: Dice, data: bytes) -> bytes:
    start = place(dice, data)
    return data[:start] + dice.randbytes(dice.choice((1, 2, 4, 13, 100))) + data[start:]


def repeats(dice: Dice, data: bytes) -> bytes:
    start, end = sorted((place(dice, data), place(dice, data)))
    return data[:end] + data[start:end] * dice.choice((1, 2, 20)) + data[end:]


def splices(dice: Dice, data: bytes) -> bytes:
    other = dice.choice(list(pictures().values()))
    return data[: place(dice, data)] + other[place(dice, other) :]


OF_BYTES: tuple[Mutation, ...] = (flips, overwrites, extreme_number, cuts, deletes, inserts, repeats, splices)
