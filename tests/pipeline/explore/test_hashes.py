"""Equal values and similar hashes, against all pairs."""

import numpy as np
import pyarrow as pa
import pytest

from pipeline.explore.hashes import MOST_BITS, equal_pairs, similar_pairs


def some_hashes(count: int, seed: int) -> np.ndarray:
    """Random ones, a third of which differ from an earlier one in up to ten bits."""
    generator = np.random.default_rng(seed)
    values = generator.integers(-(1 << 63), (1 << 63) - 1, count, np.int64)
    for row in range(2 * count // 3, count):
        flipped = np.int64(0)
        for bit in generator.permutation(64)[: generator.integers(0, 10)].tolist():
            flipped ^= np.int64(-(1 << 63)) if bit == 63 else np.int64(1 << bit)
        values[row] = values[generator.integers(0, row)] ^ flipped
    return values


def bits_apart(one: int, other: int) -> int:
    return ((one ^ other) & ((1 << 64) - 1)).bit_count()


@pytest.mark.parametrize("bits", [0, 1, 3, MOST_BITS])
def test_hashes_of_one_output(bits: int) -> None:
    values = some_hashes(300, 0)
    known, numbers = set[int](), values.tolist()
    expected = set()
    for row, number in enumerate(numbers):
        if number in known:  # only with the first one that is equal
            expected.add((numbers.index(number), row))
            continue
        known.add(number)
        expected |= {
            (other, row)
            for other in range(row)
            if numbers.index(numbers[other]) == other and bits_apart(numbers[other], number) <= bits
        }
    one, other = similar_pairs(values, bits)
    assert set(zip(one.tolist(), other.tolist(), strict=True)) == expected
    assert len(expected) >= 10


@pytest.mark.parametrize("bits", [0, 4])
def test_hashes_of_two_outputs(bits: int) -> None:
    values, others = some_hashes(200, 1), some_hashes(300, 2)
    others[50:120] = values[:70] ^ np.int64(0b101)
    others[130:150] = values[:20]
    one, other = similar_pairs(values, bits, others)
    expected = [row for row, a in enumerate(values.tolist()) if any(bits_apart(a, b) <= bits for b in others.tolist())]
    assert one.tolist() == expected
    assert all(bits_apart(int(values[a]), int(others[b])) <= bits for a, b in zip(one, other, strict=True))


def test_values_that_are_null_are_equal_to_nothing() -> None:
    column = pa.chunked_array([[b"a", None, b"b"], [None, b"a", b"a"]])
    assert [part.tolist() for part in equal_pairs(column)] == [[0, 0], [4, 5]]
    against = pa.chunked_array([[None, b"a", b"a"]])
    assert [part.tolist() for part in equal_pairs(column, against)] == [[0, 4, 5], [1, 1, 1]]
