"""Pictures of damaged files, against Pillow with its switch for truncated files."""

import io
import threading

import numpy as np
import pytest
from PIL import Image, ImageFile

from pipeline.report.pictures import REJECTED, compare_pictures, encode_picture, rejected_picture

_RNG = np.random.default_rng(0)
_SMOOTH = np.add.outer(np.arange(90), np.arange(120))[..., None] + _RNG.integers(0, 40, (90, 120, 3))
_FORMATS = [("JPEG", {}), ("JPEG", {"progressive": True}), ("PNG", {}), ("BMP", {}), ("GIF", {}), ("TIFF", {})]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("format", "options"), _FORMATS, ids=str)
@pytest.mark.parametrize("share", [0.3, 0.9, 1.0])
def test_of_a_truncated_file_what_there_is(
    format: str, options: dict, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = io.BytesIO()
    Image.fromarray(_SMOOTH.astype(np.uint8)).save(whole, format, **options)
    data = whole.getvalue()[: int(share * whole.tell())]
    found = rejected_picture(data)
    assert found is not None and found.media_type in ("image/png", "image/jpeg")
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with Image.open(io.BytesIO(data)) as image:
        image.draft("RGB", (REJECTED, REJECTED))
        want = encode_picture(image.convert("RGB"), REJECTED)
    assert found == want


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
@pytest.mark.parametrize(("white", "gain"), [(65280, 1), (4080, 16)])
def test_grey_in_16_bits(format: str, white: int, gain: int) -> None:
    grey = np.tile(np.arange(256), (40, 1)) // 2 * 2
    whole = io.BytesIO()
    Image.fromarray((grey * (white // 255)).astype(np.uint16)).save(whole, format)
    found = rejected_picture(whole.getvalue())
    assert found is not None and found.gain == gain
    small = Image.fromarray(grey.astype(np.uint8))
    small.thumbnail((REJECTED, REJECTED))
    shown = np.asarray(Image.open(io.BytesIO(found.data)).convert("L"), int)
    np.testing.assert_allclose(shown, np.asarray(small, int), atol=8)  # it may be a JPEG


def test_other_threads_are_told_of_truncated_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """The switch of Pillow would hold for a job that decodes in the same process."""
    seen = list[bool]()
    load = ImageFile.ImageFile.load

    def watched(self: ImageFile.ImageFile) -> object:
        thread = threading.Thread(target=lambda: seen.append(ImageFile.LOAD_TRUNCATED_IMAGES))
        thread.start()
        thread.join()
        return load(self)

    monkeypatch.setattr(ImageFile.ImageFile, "load", watched)
    whole = io.BytesIO()
    Image.fromarray(_SMOOTH.astype(np.uint8)).save(whole, "PNG")
    assert rejected_picture(whole.getvalue()[:5000]) is not None
    assert seen and not any(seen)


@pytest.mark.parametrize("data", [b"", b"no image", b"\xff\xd8", b"\x89PNG\r\n\x1a\n" + bytes(100)])
def test_nothing_of_what_is_no_image(data: bytes) -> None:
    assert rejected_picture(data) is None


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1)])
def test_a_comparison_of_images_of_one_pixel(size: tuple[int, int], mode: str) -> None:
    found = compare_pictures(Image.new(mode, size, "black"), Image.new(mode, size, "white"))
    assert (found.residual.width, found.residual.height) == size
