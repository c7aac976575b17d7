import numpy as np
import pytest
from PIL import Image

from lake.core.records import Fault, Reason, Stage
from lake.images import decode_one
from lake.images.decoder import Decoder
from lake.images.header import read_header
from lake.images.types import Color, ImageError, Resize, Target

SHAPE = (12, 10, 3)


def decode(records, data, shape=SHAPE, faults=None, large=False, **policy):
    """Decoded, with the law checked: every position stands in one group or in the faults."""
    decoded = Decoder(Target(shape=shape, **policy)).decode(records(data, faults, large))
    positions = [p for group in decoded.groups for p in group.positions.tolist()]
    assert sorted([*positions, *decoded.faults]) == list(range(len(data)))
    for group in decoded.groups:
        assert (np.diff(group.positions) > 0).all()
        assert group.pixels.shape == (len(group.positions), *shape)
    return decoded


@pytest.fixture
def bad(photo, encode, png):
    """One record for each reason for which an encoded image is refused."""
    whole = encode(photo(*SHAPE), "PNG")
    return {
        Reason.MISSING_IMAGE: None,
        Reason.EMPTY_IMAGE: b"",
        Reason.UNKNOWN_FORMAT: b"%PDF-1.7",
        Reason.UNSUPPORTED_IMAGE: b"BM" + bytes(12) + (16).to_bytes(4, "little") + bytes(16),
        Reason.CORRUPT_IMAGE: whole[: len(whole) // 2],
        Reason.TOO_MANY_PIXELS: encode(photo(200, 200), "PNG"),
        Reason.WRONG_SIZE: encode(photo(12, 11), "JPEG"),
        Reason.NON_FINITE_INPUT: encode(np.full((12, 10), np.nan, np.float32), "TIFF"),
        Reason.WRONG_SCALE: encode(np.full((12, 10), 3000, np.float32), "TIFF"),
    }


def test_every_reason_is_told_apart(bad, records) -> None:
    decoded = decode(records, list(bad.values()), max_pixels=39999)
    assert [decoded.faults[p].reason for p in range(len(bad))] == list(bad)
    assert {fault.stage for fault in decoded.faults.values()} == {Stage.DECODE}
    assert all(fault.detail for fault in decoded.faults.values())


def test_wrong_channels(photo, encode, records) -> None:
    decoded = decode(records, [encode(photo(12, 10), "PNG"), encode(photo(12, 10), "JPEG")], (12, 10, 1))
    assert [decoded.faults[p].reason for p in (0, 1)] == [Reason.WRONG_CHANNELS] * 2


@pytest.mark.parametrize("format", ["PNG", "JPEG", "BMP"])
def test_neighbours_of_bad_records_stay_as_they_are(rng, photo, encode, records, bad, format) -> None:
    data = [encode(photo(*SHAPE), format) for _ in range(140)]
    alone = decode(records, data, max_pixels=39999).groups[0].pixels
    for bads in ([0], [139], [127, 128], list(range(0, 140, 9)), list(range(1, 140))):
        mixed = list(data)
        for n, position in enumerate(bads):
            mixed[position] = list(bad.values())[n % len(bad)]
        decoded = decode(records, mixed, max_pixels=39999)
        assert sorted(decoded.faults) == bads
        (group,) = decoded.groups
        np.testing.assert_array_equal(group.pixels, alone[group.positions])


def outcome(data, target):
    """Pixels, or reason and detail, by the path that decodes one image at a time."""
    try:
        return decode_one.decode_one(data, read_header(data, target.max_pixels), target)
    except ImageError as error:
        return error.reason, error.detail


def mixed(rng, data, share):
    """A share of them bad: no bytes, a web page, cut off anywhere, a bit flipped anywhere, five bytes overwritten."""
    data = list(data)
    for n, position in enumerate(rng.permutation(len(data))[: round(len(data) * share)].tolist()):
        torn = bytearray(data[position])
        end = int(rng.integers(len(torn)))
        torn[end] ^= 1 << rng.integers(8)
        kinds = b"", b"<html>", data[position][:end], bytes(torn), bytes(torn[:-30]) + rng.bytes(5) + bytes(torn[-25:])
        data[position] = kinds[n % 5]
    return data


@pytest.mark.parametrize("format", ["PNG", "JPEG"])
@pytest.mark.parametrize("share", [0.05, 0.5])
@pytest.mark.parametrize("shape", [(28, 28, 1), (32, 32, 3)])
def test_many_bad_ones_end_as_each_alone_would(rng, photo, encode, records, format, share, shape) -> None:
    data = mixed(rng, [encode(photo(*shape), format) for _ in range(600)], share)
    decoder, batch = Decoder(Target(shape=shape)), records(data)
    for decoded in (decoder.decode(batch), decoder.decode(batch)):
        found = {p: row for group in decoded.groups for p, row in zip(group.positions, group.pixels, strict=True)}
        assert sorted([*found, *decoded.faults]) == list(range(600))
        for position, file in enumerate(data):
            alone = outcome(file, Target(shape=shape))
            if isinstance(alone, tuple):
                fault = decoded.faults[position]
                assert (fault.reason, fault.detail) == alone
            else:
                np.testing.assert_array_equal(found[position], alone)


@pytest.mark.parametrize("format", ["PNG", "JPEG"])
@pytest.mark.parametrize("position", [0, 1, 64, 127, 128, 129])
def test_a_damaged_one_is_rejected_at_any_place_of_a_chunk(photo, encode, records, format, position) -> None:
    data = [encode(photo(*SHAPE), format) for _ in range(130)]
    alone = decode(records, data).groups[0].pixels
    broken = bytearray(data[position])
    del broken[-20:]  # PNG: IEND and the end of IDAT; JPEG: the last blocks and EOI
    data[position] = bytes(broken)
    decoded = decode(records, data)
    assert {p: f.reason for p, f in decoded.faults.items()} == {position: Reason.CORRUPT_IMAGE}
    np.testing.assert_array_equal(decoded.groups[0].pixels, np.delete(alone, position, axis=0))


@pytest.mark.parametrize("large", [False, True])
def test_kinds_mix_in_one_batch(photo, encode, png, records, large) -> None:
    pixels = [photo(*SHAPE) for _ in range(8)]
    floating = pixels[6].astype(np.float32) / 255
    data = [
        encode(pixels[0], "BMP"),
        encode(pixels[1], "PNG"),
        png(pixels[2], idats=3),
        encode(pixels[3], "WEBP", lossless=True),
        png(pixels[4].astype(np.uint16) * 257),
        encode(pixels[5], "PNG"),
        encode(floating[..., 0], "TIFF"),
        encode(pixels[7], "TIFF"),
    ]
    decoded = decode(records, data, large=large)
    groups = {group.pixels.dtype.type: group for group in decoded.groups}
    assert {kind: group.positions.tolist() for kind, group in groups.items()} == {
        np.uint8: [0, 1, 2, 3, 5, 7],
        np.uint16: [4],
        np.float32: [6],
    }
    np.testing.assert_array_equal(groups[np.uint8].pixels, [pixels[p] for p in (0, 1, 2, 3, 5, 7)])
    np.testing.assert_array_equal(groups[np.uint16].pixels[0], pixels[4].astype(np.uint16) * 257)
    np.testing.assert_array_equal(groups[np.float32].pixels[0], floating[..., :1].repeat(3, axis=2))


def test_jpegs_of_several_encoders_follow_each_other(photo, encode, records) -> None:
    options = [{"quality": 60}, {"quality": 90, "optimize": True}, {"quality": 60}, {"progressive": True}]
    data = [encode(photo(*SHAPE), "JPEG", **options[n % 4]) for n in range(40)]
    together = decode(records, data).groups[0].pixels
    alone = [decode(records, [d]).groups[0].pixels[0] for d in data]
    np.testing.assert_array_equal(together, alone)


def test_a_record_that_begins_like_the_one_before_may_still_be_bad(photo, encode, records) -> None:
    whole = encode(photo(*SHAPE), "JPEG")
    decoded = decode(records, [whole, whole[:640], whole, b"\x00" + whole, whole])
    assert {p: f.reason for p, f in decoded.faults.items()} == {1: Reason.CORRUPT_IMAGE, 3: Reason.UNKNOWN_FORMAT}


def test_a_turned_jpeg_among_upright_ones_is_still_turned(photo, encode, exif, records) -> None:
    pixels = photo(10, 10)
    upright, turned = encode(pixels, "JPEG"), encode(pixels, "JPEG", exif=exif(3))
    assert upright[:20] == turned[:20]
    group = decode(records, [upright, turned, upright], (10, 10, 3)).groups[0]
    np.testing.assert_array_equal(group.pixels[1], group.pixels[0][::-1, ::-1])


def test_faults_of_reading_are_kept_and_their_records_not_decoded(photo, encode, records) -> None:
    fault = Fault(stage=Stage.READ, reason=Reason.RECORD_TOO_LARGE, detail="x")
    good = encode(photo(*SHAPE), "PNG")
    decoded = decode(records, [good, None, good, None], faults={1: fault, 2: fault})
    assert decoded.faults[1] is fault
    assert decoded.faults[2] is fault
    assert decoded.faults[3].reason is Reason.MISSING_IMAGE
    assert decoded.groups[0].positions.tolist() == [0]


@pytest.mark.parametrize("data", [[], [None], [None, b""]])
def test_nothing_to_decode(records, data) -> None:
    assert decode(records, data).groups == ()


def test_policies_reach_the_pixels(photo, encode, records) -> None:
    pixels = photo(24, 20)
    data = [encode(pixels, "PNG"), encode(pixels, "BMP")]
    small = Image.fromarray(pixels).convert("L").resize((10, 12), Image.Resampling.BICUBIC)
    decoded = decode(records, data, (12, 10, 1), resize=Resize.STRETCH, color=Color.CONVERT)
    np.testing.assert_array_equal(decoded.groups[0].pixels, np.asarray(small)[None, ..., None].repeat(2, axis=0))


def test_threads_share_a_decoder(photo, encode, records) -> None:
    from concurrent.futures import ThreadPoolExecutor

    decoder = Decoder(Target(shape=SHAPE))
    pixels = [photo(*SHAPE) for _ in range(64)]
    batches = [records([encode(p, f) for p in pixels]) for f in ("PNG", "BMP")] * 8
    with ThreadPoolExecutor(4) as pool:
        for decoded in pool.map(decoder.decode, batches):
            np.testing.assert_array_equal(decoded.groups[0].pixels, pixels)
