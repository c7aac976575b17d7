"""Latents as ``.npy`` files, against what NumPy itself writes and reads."""

import io

import numpy as np
import pyarrow as pa
import pytest

from lake.core.records import Reason
from lake.formats.common.latent_files import as_files, latent_of
from lake.images.types import ImageError


def test_lists_and_shapes_become_what_numpy_reads() -> None:
    latents = [np.random.default_rng(i).standard_normal((i + 1, 3, 2)).astype(np.float32) for i in range(3)]
    column = pa.array([latent.ravel() for latent in latents])
    found, faults = as_files(column, pa.array([latent.shape for latent in latents]), 1 << 20)
    assert not faults
    for data, latent in zip(found.to_pylist(), latents, strict=True):
        assert np.array_equal(np.load(io.BytesIO(data)), latent)
        assert np.array_equal(latent_of(data, 2), latent)


@pytest.mark.parametrize(
    ("numbers", "shape", "reason"),
    [
        (None, [1, 1, 1], Reason.MISSING_IMAGE),
        ([1.0], None, Reason.INVALID_RECORD),
        ([1.0], [1, 1], Reason.INVALID_RECORD),
        ([1.0], [1, None, 1], Reason.INVALID_RECORD),
        ([1.0], [-1, -1, 1], Reason.INVALID_RECORD),
        ([], [0, 1, 1], Reason.INVALID_RECORD),
        ([1.0], [1 << 40, 1 << 40, 1 << 40], Reason.WRONG_LENGTH),
        ([1.0] * 300, [10, 10, 3], Reason.RECORD_TOO_LARGE),
    ],
)
def test_rows_that_are_no_latents(numbers, shape, reason) -> None:
    column, shapes = pa.array([numbers], pa.list_(pa.float32())), pa.array([shape], pa.list_(pa.int64()))
    found, faults = as_files(column, shapes, 1000)
    assert found.null_count == 1 and faults[0].reason is reason


def saved(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


_GOOD = saved(np.ones((2, 3, 4), np.float32))


@pytest.mark.parametrize("dtype", ["float16", "float64", ">f4", "int8", "uint16"])
def test_numbers_of_any_type_and_order(dtype) -> None:
    array = np.arange(24).reshape(2, 3, 4).astype(dtype)
    for given in (array, np.asfortranarray(array)):
        found = latent_of(saved(given), 4)
        assert found.dtype == np.float32 and np.array_equal(found, array.astype(np.float32))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", Reason.INVALID_RECORD),
        (b"\x93NUMPY", Reason.INVALID_RECORD),
        (_GOOD[:-1], Reason.INVALID_RECORD),
        (_GOOD + b"x", Reason.INVALID_RECORD),
        (saved(np.ones((2, 3), np.float32)), Reason.INVALID_RECORD),
        (saved(np.ones((0, 3, 4), np.float32)), Reason.INVALID_RECORD),
        (saved(np.array([[["a"]]])), Reason.INVALID_RECORD),
        (saved(np.ones((2, 3, 5), np.float32)), Reason.WRONG_CHANNELS),
        (saved(np.full((2, 3, 4), np.nan, np.float32)), Reason.NON_FINITE_INPUT),
        (saved(np.full((2, 3, 4), 1e300)), Reason.NON_FINITE_INPUT),
        (_GOOD.replace(b"(2, 3, 4)", b"(2,99999,"), Reason.INVALID_RECORD),
    ],
)
def test_files_that_hold_no_latent(data, reason) -> None:
    with pytest.raises(ImageError) as caught:
        latent_of(data, 4)
    assert caught.value.reason is reason
