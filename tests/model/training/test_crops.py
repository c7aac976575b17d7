import numpy as np
import pytest
from PIL import Image

from lake.core.errors import UsageError
from lake.formats.reader import ColumnSelection
from lake.images.types import Color
from model.training.crops import BATCH, LEVELS, iter_images, load_images, make_batch
from tests.conftest import png, write_parquet

_SIDE = 64


@pytest.fixture(scope="module")
def images():
    """Every pixel of these tells its image and its place."""
    shapes = [(130, 150), (200, 128), (128, 128)]
    return [
        (np.arange(h * w, dtype=np.float32).reshape(h, w, 1) + 100_000 * number) / 400_000
        for number, (h, w) in enumerate(shapes)
    ]


def _place(piece, images):
    """The image that a piece is of, its corner, and how often it was turned and mirrored."""
    number, rest = divmod(round(float(piece.min()) * 400_000), 100_000)
    corner = divmod(rest, images[number].shape[1])
    found = images[number][corner[0] : corner[0] + _SIDE, corner[1] : corner[1] + _SIDE]
    turns = [turn for turn in range(4) if np.array_equal(np.rot90(found, turn), piece)]
    mirrored = [turn for turn in range(4) if np.array_equal(np.rot90(found, turn)[:, ::-1], piece)]
    ((orientation,),) = [turns + [turn + 4 for turn in mirrored]]
    return number, corner, orientation


def test_pieces_are_parts_of_images_in_eight_orientations(images):
    places = [
        _place(piece, images) for step in range(60) for piece in make_batch(images, _SIDE, seed=1, step=step).clean
    ]
    assert len(places) == 60 * BATCH
    numbers, corners, orientations = zip(*places, strict=True)
    assert set(numbers) == {0, 1, 2}
    assert set(orientations) == set(range(8))
    lefts = [corner[1] for number, corner in zip(numbers, corners, strict=True) if number == 0]
    assert (min(lefts), max(lefts)) == pytest.approx((0, 150 - _SIDE), abs=4)


def test_a_batch_depends_on_the_seed_and_the_step_alone(images):
    first, again = (make_batch(images, _SIDE, seed=1, step=7) for _ in range(2))
    for one, same in zip((first.clean, first.level, first.noise), (again.clean, again.level, again.noise), strict=True):
        assert np.array_equal(one, same)
    for other in (make_batch(images, _SIDE, seed=2, step=7), make_batch(images, _SIDE, seed=1, step=8)):
        assert not np.array_equal(first.noise, other.noise)
        assert not np.array_equal(first.level, other.level)


def test_noise_is_standard_normal_and_levels_are_mostly_the_usual_ones(images):
    batches = [make_batch(images, _SIDE, seed=0, step=step) for step in range(100)]
    noise, levels = (np.concatenate([getattr(batch, name) for batch in batches]) for name in ("noise", "level"))
    assert levels.shape == (100 * BATCH, 1, 1, 1)
    least, mode, greatest = LEVELS  # of a triangular distribution
    assert least <= levels.min() * 255 < least + 4
    assert greatest - 6 < levels.max() * 255 <= greatest
    variance = (least**2 + mode**2 + greatest**2 - least * mode - least * greatest - mode * greatest) / 18
    assert levels.mean() * 255 == pytest.approx(sum(LEVELS) / 3, abs=5 * np.sqrt(variance / 800))
    middle = greatest - np.sqrt((greatest - least) * (greatest - mode) / 2)
    assert np.median(levels) * 255 == pytest.approx(middle, abs=2)
    assert abs(noise.mean(dtype=np.float64)) < 5 / np.sqrt(noise.size)
    assert noise.std(dtype=np.float64) == pytest.approx(1, abs=5 / np.sqrt(noise.size))


def test_every_so_many_th_is_held_out():
    images = [np.full((128, 128, 1), number, np.uint8) for number in range(100)]
    loaded = load_images(iter(images), 0.05)
    assert [image[0, 0, 0] for image in loaded.held_out] == [0, 20, 40, 60, 80]
    assert [image[0, 0, 0] for image in loaded.training] == [n for n in range(100) if n % 20]
    assert len(load_images(iter(images), 0.5).held_out) == 32
    assert loaded.dtype == np.uint8
    assert loaded.digest == load_images(iter(images), 0.5).digest
    assert loaded.digest != load_images(reversed(images), 0.5).digest


def test_pixels_of_several_types_become_fractions_of_white():
    pixels = np.random.default_rng(0).integers(0, 256, (128, 128, 1), np.uint8)
    given = [pixels, pixels.astype(np.uint16) * 257, (pixels / 255).astype(np.float32)]
    loaded = load_images(iter(given), 0.5)
    for image in (*loaded.training, *loaded.held_out):
        np.testing.assert_allclose(image, pixels / 255, atol=1e-7)


def test_what_does_not_fit_is_left_out(caplog):
    images = [np.full((128, 128, 1), number, np.uint8) for number in range(100)]
    loaded = load_images(iter(images), 0.1, cache_bytes=40 * 128 * 128)
    assert len(loaded.training) + len(loaded.held_out) == 41
    assert "41 images fill the memory set aside" in caplog.text


@pytest.mark.parametrize(("count", "fraction"), [(1, 0.5), (10, 0.0), (1, 1.0)])
def test_too_few_images(count, fraction):
    with pytest.raises(UsageError, match=r"too few images: [0-9]+ to train on and [0-9]+ held out; give more --input"):
        load_images(iter([np.zeros((128, 128, 1), np.uint8)] * count), fraction)


def test_images_of_a_shard_at_their_own_sizes(tmp_path, caplog):
    rng = np.random.default_rng(0)
    grey = rng.integers(0, 256, (150, 129), np.uint8)
    color = rng.integers(0, 256, (130, 140, 3), np.uint8)
    small = rng.integers(0, 256, (20, 300), np.uint8)
    write_parquet(tmp_path / "a.parquet", [png(grey), png(color), b"no image", None, png(small)], [0] * 5)

    def read(channels, color):
        given = {"selection": ColumnSelection(carry=()), "format": "auto"}
        return list(iter_images([str(tmp_path)], channels=channels, policy={"color": color}, **given))

    one, two, three = read(1, Color.CONVERT)
    assert np.array_equal(one[..., 0], grey)
    assert np.array_equal(two[..., 0], np.asarray(Image.fromarray(color).convert("L")))
    assert three.shape == (128, 300, 1)
    for top in range(0, 128, 20):  # the image and its mirror image in turn
        band = three[top : top + 20, :, 0]
        assert np.array_equal(band, (small if top % 40 == 0 else small[::-1])[: len(band)])
    assert "2 records left out, the first for this: not PNG" in caplog.text
    assert [image.shape for image in read(1, Color.STRICT)] == [(150, 129, 1), (128, 300, 1)]
    assert "3 records left out, the first for this: in colour, the model takes grey; --color convert" in caplog.text
    assert np.array_equal(read(3, Color.STRICT)[1], color)


def test_images_of_an_array(tmp_path):
    pixels = np.random.default_rng(0).random((3, 140, 128, 1), np.float32)
    np.save(tmp_path / "a.npy", pixels)
    given = {"policy": {}, "selection": ColumnSelection(carry=()), "format": "auto"}
    assert np.array_equal(np.stack(list(iter_images([str(tmp_path / "a.npy")], channels=1, **given))), pixels)
