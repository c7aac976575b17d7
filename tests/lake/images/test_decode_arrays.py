import numpy as np
import pytest

from lake.core.records import Fault, Reason, Stage
from lake.images.decoder import Decoder
from lake.images.types import Color, Resize, Target


def decode(records, payload, shape, faults=None, **policy):
    decoded = Decoder(Target(shape=shape, **policy)).decode(records(payload, faults))
    assert sum(len(group.positions) for group in decoded.groups) + len(decoded.faults) == len(payload)
    return decoded


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_pixels_of_the_right_shape_pass_through(rng, records, dtype) -> None:
    pixels = (rng.random((5, 4, 6, 3)) * (1 if dtype is np.float32 else 256)).astype(dtype)
    (group,) = decode(records, pixels, (4, 6, 3)).groups
    assert group.pixels.dtype == dtype
    np.testing.assert_array_equal(group.pixels, pixels)
    np.testing.assert_array_equal(group.positions, np.arange(5))


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_vectors_become_float32(rng, records, dtype) -> None:
    vectors = rng.integers(0, 200, (5, 7)).astype(dtype)
    (group,) = decode(records, vectors, (7,)).groups
    assert group.pixels.dtype == np.float32
    np.testing.assert_array_equal(group.pixels, vectors)


@pytest.mark.parametrize("shape", [(5, 8), (5, 7, 1, 1)])
def test_another_length_is_a_reject_of_every_record(records, shape) -> None:
    decoded = decode(records, np.zeros(shape, np.float32), (7,))
    assert {fault.reason for fault in decoded.faults.values()} == {Reason.WRONG_LENGTH}


@pytest.mark.parametrize(("shape", "target"), [((5, 7), (4, 6, 1)), ((5, 4, 7, 1), (4, 6, 1))])
def test_another_size_is_a_reject_of_every_record(records, shape, target) -> None:
    decoded = decode(records, np.zeros(shape, np.uint8), target)
    assert {fault.reason for fault in decoded.faults.values()} == {Reason.WRONG_SIZE}


def test_colour_for_a_grey_model_is_a_reject_unless_converted(records) -> None:
    red = np.broadcast_to(np.array([255, 0, 0], np.uint8), (2, 4, 6, 3)).copy()
    assert {f.reason for f in decode(records, red, (4, 6, 1)).faults.values()} == {Reason.WRONG_CHANNELS}
    (group,) = decode(records, red, (4, 6, 1), color=Color.CONVERT).groups
    assert np.unique(group.pixels).tolist() == [76]


def test_five_channels_are_no_image(records) -> None:
    decoded = decode(records, np.zeros((2, 4, 6, 5), np.uint8), (4, 6, 3))
    assert {f.reason for f in decoded.faults.values()} == {Reason.WRONG_CHANNELS}


def test_grey_spreads_and_alpha_goes(rng, records) -> None:
    pixels = rng.integers(0, 256, (3, 4, 6, 4), np.uint8)
    np.testing.assert_array_equal(decode(records, pixels, (4, 6, 3)).groups[0].pixels, pixels[..., :3])
    spread = decode(records, pixels[..., :1], (4, 6, 3)).groups[0].pixels
    np.testing.assert_array_equal(spread, pixels[..., :1].repeat(3, axis=-1))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_arrays_are_resized_like_images(records, dtype) -> None:
    pixels = np.full((2, 10, 10, 3), 1, dtype)
    (group,) = decode(records, pixels, (4, 6, 3), resize=Resize.CROP).groups
    assert group.pixels.dtype == dtype
    np.testing.assert_allclose(group.pixels, 1)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
@pytest.mark.parametrize("shape", [(6, 7), (6, 2, 2, 1)])
def test_only_the_rows_that_are_not_finite_are_rejected(rng, records, value, shape) -> None:
    rows = rng.normal(size=shape)  # float64: 1e300 is too large for float32
    rows[2].flat[1] = rows[5].flat[0] = value
    target = shape[1:]
    decoded = decode(records, rows, target)
    assert {p: f.reason for p, f in decoded.faults.items()} == dict.fromkeys((2, 5), Reason.NON_FINITE_INPUT)
    np.testing.assert_array_equal(decoded.groups[0].positions, [0, 1, 3, 4])
    np.testing.assert_array_equal(decoded.groups[0].pixels, rows[[0, 1, 3, 4]].astype(np.float32))


@pytest.mark.parametrize(("factor", "white", "usual"), [(3000, 1, 4095), (200, 10, 255)])
def test_floating_pixels_in_counts_are_rejected_among_others(rng, records, factor, white, usual) -> None:
    rows = rng.random((4, 6, 7, 1)) * white
    rows[2] = (1 + rng.random((6, 7, 1))) * factor / 2
    decoded = decode(records, rows, (6, 7, 1), white=white)
    assert {p: f.reason for p, f in decoded.faults.items()} == {2: Reason.WRONG_SCALE}
    assert f"where white is {white}, with values" in decoded.faults[2].detail
    assert decoded.faults[2].detail.endswith(f"set --white {usual}")
    np.testing.assert_array_equal(decoded.groups[0].positions, [0, 1, 3])


def test_decibels_and_differences_are_on_no_scale_of_counts(rng, records) -> None:
    rows = np.stack([rng.normal(mean, deviation, (6, 7, 1)) for mean, deviation in ((-40, 9), (3, 100), (0, 1))])
    decoded = decode(records, rows, (6, 7, 1))
    assert not decoded.faults
    np.testing.assert_array_equal(decoded.groups[0].pixels, rows.astype(np.float32))


def test_highlights_and_vectors_have_no_scale(rng, records) -> None:
    rows = rng.random((4, 6, 7, 1))
    rows[:, 0, 0] = 60  # the mean stays below 2
    assert not decode(records, rows, (6, 7, 1)).faults
    assert not decode(records, rows.reshape(4, 42) * 1e6, (42,)).faults


def test_faults_of_reading_are_kept(records) -> None:
    fault = Fault(stage=Stage.READ, reason=Reason.INVALID_RECORD, detail="x")
    rows = np.arange(8, dtype=np.float32).reshape(4, 2)
    rows[1] = np.nan
    decoded = decode(records, rows, (2,), {1: fault})
    assert decoded.faults == {1: fault}
    np.testing.assert_array_equal(decoded.groups[0].pixels, rows[[0, 2, 3]])


def test_no_records_give_no_groups(records) -> None:
    assert decode(records, np.zeros((0, 2), np.float32), (2,)).groups == ()


def test_an_encoded_image_is_no_vector(records) -> None:
    decoded = Decoder(Target(shape=(2,))).decode(records([b"a", None]))
    assert [decoded.faults[p].reason for p in (0, 1)] == [Reason.WRONG_LENGTH, Reason.MISSING_IMAGE]
