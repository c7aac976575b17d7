"""Names of images that would be one file."""

import pytest

from lake.formats.common.image_names import collision
from lake.images.encoder import ImageFormat

LOSSLESS, SAME = ImageFormat.LOSSLESS, ImageFormat.SAME


@pytest.mark.parametrize(
    ("paths", "format", "found"),
    [
        (["a.jpg", "a.png"], LOSSLESS, ("a.jpg", "a.png")),
        (["a.jpg", "a.bmp"], ImageFormat.PNG, ("a.jpg", "a.bmp")),
        (["a.jpg", "a.jpeg"], ImageFormat.PNG, ("a.jpg", "a.jpeg")),
        (["x/a.jpg", "x/b.jpg", "x/a.tif"], LOSSLESS, ("x/a.jpg", "x/a.tif")),
        (["a.gif", "a.png"], SAME, ("a.gif", "a.png")),
        (["a.bmp", "a.gif"], SAME, ("a.bmp", "a.gif")),
        (["a.jpg", "a.png", "a.webp", "a.tif", "a.jpeg"], SAME, None),
        (["a.jpg", "a.jpeg"], ImageFormat.JPEG, None),
        (["a.png", "a.tif"], ImageFormat.JPEG, ("a.png", "a.tif")),
        (["a.jpg", "A.png", "b/a.png", "a.x.png", "a", "a.img"], ImageFormat.PNG, None),
        (["a.img", "a.png"], LOSSLESS, None),
        ([], LOSSLESS, None),
    ],
)
def test_collisions_are_found_before_anything_is_written(
    paths: list[str], format: ImageFormat, found: tuple[str, str] | None
) -> None:
    assert collision(paths, format) == found
