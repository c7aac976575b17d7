import threading
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from lake.core.errors import BundleError
from lake.core.idle_threads import IdleThreads
from lake.core.tensorflow import keras
from model import denoiser as denoising
from model.bundle import Bundle
from model.denoiser import Denoiser
from model.export import export
from model.preprocessing import Preprocessing
from model.runtime.runtime import Runtime
from model.training.networks import build_autoencoder
from tests.model import nets

_RANDOM = np.random.default_rng(0)


@pytest.fixture(scope="module")
def made(layers, tmp_path_factory):
    """A denoiser of a network, and the network; each is exported once."""
    found = {}

    def made(build, *arguments, **given):
        key = repr((build, arguments, given))
        if key not in found:
            keras().utils.set_random_seed(4)
            model = build(*arguments)
            directory = tmp_path_factory.mktemp("denoiser")
            model.save(directory / "theirs.keras")
            bundle = export(directory / "theirs.keras", None, str(directory / "bundle"), Preprocessing(**given))
            found[key] = Denoiser(Runtime.load(bundle)), model
        return found[key]

    return made


def _images(*shape, dtype=np.uint8):
    if dtype == np.float32:
        return _RANDOM.normal(0.5, 0.5, shape).astype(np.float32)
    return _RANDOM.integers(0, np.iinfo(dtype).max + 1, shape, dtype)


def _written(values):
    """As NumPy's own float64 would round a value in 0..1 to 8 bits."""
    return np.rint(np.clip(np.asarray(values, np.float64), 0, 1) * 255)


def _close(pixels, values):
    """Rounded values; one that is nearly a half may go either way."""
    near = np.abs(np.asarray(values, np.float64) * 255 % 1 - 0.5) < 1e-3
    return ((pixels == _written(values)) | near).all()


@pytest.mark.parametrize("size", [(1, 1), (7, 5), (32, 32), (33, 61)])
@pytest.mark.parametrize("channels", [1, 3])
def test_images_of_any_size_are_what_keras_makes_of_them(made, size, channels):
    denoiser, model = made(nets.plain, channels)
    images = _images(3, *size, channels)
    want = model(images / np.float32(255)).numpy()
    found = denoiser.denoise(images)
    assert found.pixels.dtype == np.uint8
    assert _close(found.pixels, want)
    error = (found.pixels / 255 - images / 255) ** 2
    np.testing.assert_allclose(found.mse, error.mean(axis=(1, 2, 3)), rtol=1e-5)
    noisy = _images(3, *size, channels, dtype=np.float32)
    np.testing.assert_allclose(denoiser.denoise(noisy).pixels, model(noisy).numpy(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("size", "mode"), [((13, 22), "reflect"), ((9, 17), "reflect"), ((3, 4), "edge")])
def test_sides_are_padded_to_the_multiple_and_cropped(made, size, mode):
    denoiser, model = made(nets.unet, noise_input="noise_level")
    images, levels = _images(2, *size, 1), np.array([5, 50], np.float32) / np.float32(255)
    pad = [(0, 0), *((0, -side % 8) for side in size), (0, 0)]
    x = np.pad(images / np.float32(255), pad, mode)
    told = np.broadcast_to(levels[:, None, None, None], (*x.shape[:3], 1))
    want = model([x, told]).numpy()[:, : size[0], : size[1]]
    assert _close(denoiser.denoise(images, levels).pixels, want)


@pytest.mark.parametrize(("shape", "scale"), [((None, None, 1), 1.0), ((1,), 1.0), ((1, 1, 1), 255.0)])
def test_the_level_as_a_map_or_a_number(made, shape, scale):
    denoiser, model = made(nets.shuffled, shape, noise_input="sigma", noise_scale=scale)
    images, levels = _images(2, 16, 12, 1), np.array([0.02, 0.2], np.float32)
    told = (levels * scale).reshape(2, *[1] * len(shape)) * np.ones((2, 16, 12, 1) if shape[0] is None else (2, *shape))
    want = model({"img": images / np.float32(255), "sigma": told}).numpy()
    assert _close(denoiser.denoise(images, levels).pixels, want)
    assert not _close(denoiser.denoise(images, levels[::-1]).pixels, want)


def test_the_level_as_a_channel_and_another_value_range(made):
    denoiser, model = made(nets.told_by_channel, noise_input="channel", noise_scale=2.0, value_range=(-1.0, 1.0))
    images, levels = _images(2, 11, 12, 3), np.array([0.02, 0.2], np.float32)
    told = np.broadcast_to(2 * levels[:, None, None, None], (2, 11, 12, 1))
    want = model(np.concatenate([images / np.float32(127.5) - 1, told], axis=3)).numpy()
    assert _close(denoiser.denoise(images, levels).pixels, (want.astype(np.float64) + 1) / 2)


@pytest.mark.parametrize("levels", [None, np.ones(1, np.float32)])
def test_a_level_is_given_exactly_where_the_model_takes_one(made, levels):
    name = {} if levels is not None else {"noise_input": "noise_level"}
    denoiser, _ = made(nets.plain if levels is not None else nets.unet, **name)
    with pytest.raises(ValueError, match="noise level"):
        denoiser.denoise(_images(1, 8, 8, 1), levels)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("takes", [1, 3, 4])
def test_nothing_is_lost_on_the_way(made, takes, channels, dtype):
    denoiser, _ = made(nets.identity, takes)
    images = _images(3, 9, 14, channels, dtype=dtype)
    found = denoiser.denoise(images)
    assert found.pixels.dtype == dtype
    np.testing.assert_allclose(found.pixels, images, rtol=1e-6)
    if dtype != np.float32 or takes == 1:
        assert np.array_equal(found.pixels, images)
        assert (found.mse == 0).all()


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 6])
def test_channels_by_a_grey_model_are_each_an_image_and_alpha_stays(made, channels):
    denoiser, model = made(nets.plain, 1)
    images = _images(2, 10, 12, channels)
    found = denoiser.denoise(images)
    colors = {1: 1, 2: 1, 4: 3}.get(channels, channels)
    for i in range(colors):
        assert _close(found.pixels[..., i : i + 1], model(images[..., i : i + 1] / np.float32(255)).numpy())
    assert np.array_equal(found.pixels[..., colors:], images[..., colors:])
    error = (found.pixels[..., :colors] / 255 - images[..., :colors] / 255) ** 2  # alpha not counted
    np.testing.assert_allclose(found.mse, error.mean(axis=(1, 2, 3)), rtol=1e-5)


@pytest.mark.parametrize("channels", [2, 4])
@pytest.mark.parametrize("takes", [1, 3, 4])
def test_channels_of_data_are_all_changed(made, takes, channels):
    """By a model of colours three together and the others as grey; by one of as many channels all together."""
    denoiser, model = made(nets.plain, takes)
    images = _images(2, 10, 12, channels)
    found = denoiser.denoise(images, bands=True)
    together = [slice(0, 4)] if channels == takes else [slice(0, 3)] * (takes > 1 and channels > 3)
    parts = together + [slice(at, at + 1) for at in range(together[-1].stop if together else 0, channels)]
    for part in parts:
        if part.stop - part.start == takes:
            assert _close(found.pixels[..., part], model(images[..., part] / np.float32(255)).numpy())
        else:
            assert np.array_equal(found.pixels[..., part], denoiser.denoise(images[..., part]).pixels)
    error = (found.pixels / 255 - images / 255) ** 2
    np.testing.assert_allclose(found.mse, error.mean(axis=(1, 2, 3)), rtol=1e-5)


def test_every_channel_of_an_image_is_told_its_level(made):
    denoiser, _ = made(nets.unet, noise_input="noise_level")
    images, levels = _images(2, 16, 16, 3), np.array([0.02, 0.3], np.float32)
    found = denoiser.denoise(images, levels).pixels
    for i in range(3):
        assert np.array_equal(found[..., i : i + 1], denoiser.denoise(images[..., i : i + 1], levels).pixels)


LEARNED = {"noise_input": "noise_level", "noise_range": (5.0, 55.0)}


def _fractions(*levels):
    return np.array(levels, np.float32) / np.float32(255)


@pytest.mark.parametrize("size", [(33, 40), (720, 740)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("estimated", [False, True])
def test_an_image_without_noise_stays_as_it_is(made, dtype, size, estimated):
    denoiser, _ = made(nets.unet, **LEARNED)
    images = _images(2, *size, 4, dtype=dtype)
    found = denoiser.denoise(images, _fractions(0, 1 if estimated else 0), estimated=estimated)
    assert found.pixels.tobytes() == images.tobytes() and found.pixels.dtype == dtype
    assert found.mse.tolist() == [0, 0]


@pytest.mark.parametrize(("estimated", "doubt"), [(False, 0), (True, 1.5)])
def test_of_the_change_below_the_learned_levels_a_share_is_kept(made, estimated, doubt):
    """Told its least level, of whose change James' and Stein's share is kept: level^2 / least^2."""
    denoiser, model = made(nets.unet, **LEARNED)
    images, levels = _images(4, 16, 24, 1, dtype=np.float32), [2, 4, 5, 30]
    told = np.broadcast_to(_fractions(5, 5, 5, 30)[:, None, None, None], images.shape)
    change = model([images, told]).numpy().astype(np.float64) - images
    shares = [(level**2 - doubt**2) / max(level, 5) ** 2 for level in levels]
    found = denoiser.denoise(images, _fractions(*levels), estimated=estimated)
    want = images + np.reshape(shares, (4, 1, 1, 1)) * change
    np.testing.assert_allclose(found.pixels, want, rtol=1e-5, atol=1e-5)
    error = np.square(want - images).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(found.mse, error, rtol=1e-3)
    for n in range(4):
        alone = denoiser.denoise(images[n : n + 1], _fractions(levels[n]), estimated=estimated)
        assert np.array_equal(alone.pixels[0], found.pixels[n]), "whatever other images it comes with"


def test_a_model_of_weak_noise_alone_is_not_stopped_by_the_doubt_of_photographs(made):
    """Of a camera that uses a part of 16 bits: all its noise is less than what is in doubt of a photograph."""
    denoiser, _ = made(nets.unet, noise_input="noise_level", noise_range=(0.25, 0.5))
    images, levels = _images(1, 16, 24, 1, dtype=np.float32), _fractions(0.4)
    change, whole = (denoiser.denoise(images, levels, estimated=known).pixels - images for known in (True, False))
    np.testing.assert_allclose(change, (1 - (0.05 / 0.4) ** 2) * whole, rtol=1e-3, atol=1e-6)
    assert np.abs(change).max() > 0.01


def test_the_share_in_another_value_range(made):
    given = {"noise_input": "channel", "value_range": (-1.0, 1.0)}
    denoiser, _ = made(nets.told_by_channel, **given, noise_range=(10.0, 10.0))
    images = _images(1, 11, 12, 3)
    whole = denoiser.denoise(images.astype(np.float32) / np.float32(255), _fractions(10)).pixels
    want = images / 255 + 0.09 * (whole - images / 255)
    assert _close(denoiser.denoise(images, _fractions(3)).pixels, want)


@pytest.mark.parametrize("given", [{}, {"noise_range": (5.0, 55.0)}])
def test_the_learned_levels_and_unknown_ones_are_told_as_they_are(made, given):
    denoiser, model = made(nets.unet, noise_input="noise_level", **given)
    images, levels = _images(2, 16, 16, 1), _fractions(*((5, 70) if given else (0, 3)))
    told = np.broadcast_to(levels[:, None, None, None], images.shape)
    assert _close(denoiser.denoise(images, levels).pixels, model([images / np.float32(255), told]).numpy())


def test_grey_by_a_colour_model_is_the_mean_of_three(made):
    denoiser, model = made(nets.plain, 3)
    images = _images(2, 10, 12, 2)
    found = denoiser.denoise(images)
    want = model(images[..., [0, 0, 0]] / np.float32(255)).numpy().mean(axis=3, keepdims=True)
    assert _close(found.pixels[..., :1], want)
    assert np.array_equal(found.pixels[..., 1], images[..., 1])


@pytest.mark.parametrize("size", [(16, 12), (720, 740)])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_a_colour_model_is_told_more_where_the_colours_are_equal(made, channels, size):
    """The noise is one number for three channels: along grey sqrt(3) times what noise of each for itself has."""
    denoiser, model = made(nets.told_by_channel, noise_input="channel")
    images, levels = np.repeat(_images(2, *size, 1, dtype=np.float32), channels, axis=3), _fractions(5, 50)
    colors = 1 if channels < 3 else 3
    images[1, -1, -1, colors - 1] += 0.25  # of more than one colour this one is no longer grey
    told = levels * (3**0.5, 3**0.5 if colors == 1 else 1)
    level = np.broadcast_to(told[:, None, None, None], (2, *size, 1)).astype(np.float32)
    shown = np.repeat(images[..., :colors], 3 // colors, axis=3)
    want = model(np.concatenate([shown, level], axis=3)).numpy()
    want = want.mean(axis=3, keepdims=True) if colors == 1 else want
    np.testing.assert_allclose(denoiser.denoise(images, levels).pixels[..., :colors], want, rtol=1e-5, atol=1e-5)


def test_what_is_kept_of_a_grey_image_goes_by_its_own_level(made):
    denoiser, model = made(nets.told_by_channel, noise_input="channel", noise_range=(10.0, 55.0))
    image = _images(1, 16, 12, 1, dtype=np.float32)
    level = np.full(image.shape, _fractions(10) * 3**0.5, np.float32)
    made_of_it = model(np.concatenate([image, image, image, level], axis=3)).numpy().mean(axis=3, keepdims=True)
    want = image + 0.25 * (made_of_it - image)
    np.testing.assert_allclose(denoiser.denoise(image, _fractions(5)).pixels, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("channels", [1, 3])
def test_grey_noise_goes_by_the_colour_model_of_the_zoo(channels):
    rows, columns = np.mgrid[:64, :64]
    clean = (0.5 + 0.3 * np.sin(columns / 13) * np.cos(rows / 9))[None, ..., None]
    noise = np.random.default_rng(0).normal(0, 25 / 255, clean.shape)
    noisy = np.repeat((clean + noise).astype(np.float32), channels, axis=3)
    found = Denoiser(Runtime.load(Bundle.open("zoo:denoiser-color"))).denoise(noisy, _fractions(25)).pixels
    assert np.sqrt(np.mean((found - clean) ** 2)) < 0.25 * 25 / 255


@pytest.mark.parametrize("channels", [3, 4])
def test_a_model_of_four_channels_sees_alpha(made, channels):
    denoiser, model = made(nets.plain, 4)
    images = _images(2, 10, 12, channels)
    shown = images if channels == 4 else np.concatenate([images, np.full((2, 10, 12, 1), 255, np.uint8)], axis=3)
    found = denoiser.denoise(images)
    assert _close(found.pixels[..., :3], model(shown / np.float32(255)).numpy()[..., :3])
    assert np.array_equal(found.pixels[..., 3:], images[..., 3:])


@pytest.mark.parametrize("size", [(8, 8), (28, 28), (64, 43)])
@pytest.mark.parametrize("build", [nets.plain, nets.unet])
def test_bits_do_not_depend_on_the_neighbours(made, build, size):
    denoiser, _ = made(build, **({"noise_input": "noise_level"} if build is nets.unet else {}))
    images = _images(40, *size, 1, dtype=np.float32)
    levels = np.linspace(0, 0.3, 40, dtype=np.float32) if build is nets.unet else None
    together = denoiser.denoise(images, levels)
    for n in [slice(0, 1), slice(3, 5), slice(7, 30)]:
        some = denoiser.denoise(images[n], None if levels is None else levels[n])
        assert np.array_equal(some.pixels, together.pixels[n])
        assert np.array_equal(some.mse, together.mse[n])


@pytest.mark.parametrize(
    ("build", "channels", "dtype"),
    [(nets.unet, 1, np.uint8), (nets.told_by_channel, 3, np.uint8), (nets.told_by_channel, 3, np.float32)],
)
def test_bits_below_the_learned_levels_do_not_depend_on_the_neighbours(made, build, channels, dtype):
    denoiser, _ = made(build, **LEARNED | ({"noise_input": "channel"} if channels == 3 else {}))
    images, levels = _images(20, 28, 28, channels, dtype=dtype), np.tile(_fractions(0, 0.5, 2, 4.9, 30), 4)
    together = denoiser.denoise(images, levels)
    for n in range(20):
        some = denoiser.denoise(images[n : n + 1], levels[n : n + 1])
        assert np.array_equal(some.pixels[0], together.pixels[n]) and some.mse[0] == together.mse[n]


def test_a_layer_whose_bits_depend_on_the_batch(made, layers):
    def build():
        image = layers.Input((None, None, 1))
        x = layers.GroupNormalization(4)(layers.Conv2D(16, 3, padding="same")(image))
        return keras().Model(image, layers.Conv2D(1, 3, padding="same")(x))

    denoiser, model = made(build)
    images = _images(20, 32, 32, 1, dtype=np.float32)
    together = denoiser.denoise(images).pixels
    np.testing.assert_allclose(together, model(images).numpy(), atol=1e-4)
    assert np.array_equal(denoiser.denoise(images[3:4]).pixels[0], together[3])


def test_a_layer_that_is_traced_for_every_size(made, layers):
    def build():
        image = layers.Input((None, None, 1))
        half = layers.AveragePooling2D(2)(layers.Conv2D(1, 3, padding="same")(image))
        return keras().Model(image, layers.UpSampling2D(2, interpolation="bilinear")(half))

    denoiser, model = made(build)
    for size in [(20, 40), (33, 32), (64, 64)]:
        images = _images(2, *size, 1)
        x = np.pad(images / np.float32(255), [(0, 0), *((0, -side % 32) for side in size), (0, 0)], "reflect")
        assert _close(denoiser.denoise(images).pixels, model(x).numpy()[:, : size[0], : size[1]])


def test_many_callers_at_once(made):
    denoiser, _ = made(nets.plain, 3)
    images = [_images(n, 8 + n, 30 - n, 1 + n % 4) for n in range(1, 17)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(denoiser.denoise, images))
    for one, given in zip(found, images, strict=True):
        assert np.array_equal(one.pixels, denoiser.denoise(given).pixels)


@pytest.fixture(scope="module")
def threads():
    """Three threads of a pool, of which the fourth would be the caller's."""
    with ThreadPoolExecutor(4) as pool:
        yield IdleThreads(pool, 3)


def _helped(denoiser, threads, **given):
    """The same denoiser with the help of threads."""
    return Denoiser(denoiser._runtime, threads=threads, **given)


@pytest.mark.parametrize(
    "shape", [(1, 1300, 900, 1), (1, 700, 1200, 3), (9, 400, 420, 1), (300, 33, 40, 2), (2, 900, 800, 1)]
)
def test_threads_that_help_change_no_bit(made, threads, shape):
    denoiser, _ = made(nets.unet, noise_input="noise_level")
    images = _images(*shape, dtype=np.float32)
    levels = np.linspace(0.01, 0.3, len(images), dtype=np.float32)
    alone, helped = denoiser.denoise(images, levels), _helped(denoiser, threads).denoise(images, levels)
    assert np.array_equal(helped.pixels, alone.pixels)
    assert np.array_equal(helped.mse, alone.mse)


def test_tiles_are_shared_by_threads(made, threads, monkeypatch):
    denoiser, _ = made(nets.plain, 1)
    seen, real = set(), denoiser._runtime.restore

    def restore(*arguments):
        seen.add(threading.current_thread().name)
        return real(*arguments)

    helped = _helped(denoiser, threads)
    monkeypatch.setattr(denoiser._runtime, "restore", restore)
    helped.denoise(_images(1, 2000, 2000, 1))
    assert len(seen) > 1


def test_threads_that_help_hold_a_band_and_their_tiles(made, threads, monkeypatch):
    denoiser, _ = made(nets.plain, 1)
    image, helped = np.zeros((1, 30_000, 600, 1), np.uint8), _helped(denoiser, threads)
    monkeypatch.setattr(denoiser._runtime, "restore", lambda tile, *_: tile.astype(np.float32) / 255)
    tracemalloc.start()
    found = helped.denoise(image)
    peak = tracemalloc.get_traced_memory()[1] - found.pixels.nbytes
    tracemalloc.stop()
    assert np.array_equal(found.pixels, image)
    assert peak < 20_000_000, "of 72 MB that the result has in float32"


@pytest.mark.parametrize("threads_help", [False, True])
def test_a_large_image_that_fails_says_why_and_ends(made, threads, monkeypatch, threads_help):
    """By its first tile in order, whichever thread is the fastest."""
    denoiser, _ = made(nets.plain, 1)
    calls, real = [], denoiser._runtime.restore

    def restore(tile, levels, failed):
        calls.append(tile)
        if tile.max() == 255:
            time.sleep(0.05 * (tile.min() == 0))
            failed[0] = f"sees {tile.min()}"
            return np.full(tile.shape, np.nan, np.float32)
        return real(tile, levels, failed)

    image = np.full((1, 4000, 1200, 1), 100, np.uint8)
    image[0, :450, :380], image[0, 0, 0], image[0, 100, 700] = 255, 0, 255
    helped = _helped(denoiser, threads if threads_help else None)
    monkeypatch.setattr(denoiser._runtime, "restore", restore)
    failed = {}
    found = helped.denoise(image, failed=failed)
    assert failed == {0: "sees 0"}
    assert np.isnan(found.mse).all()
    assert len(calls) <= 3 + 3, "a band of three tiles, and as many ahead"


def _by_hand(model, image, levels, count):
    """The mean over symmetries, by NumPy's own functions and Keras."""
    made = []
    for mirrored in (False, True)[: 1 + (count == 8)]:
        for turns in range(4):
            shown = np.rot90(image[0, ..., 0], turns)
            shown = np.flipud(shown) if mirrored else shown
            result = model([shown[None, ..., None], np.full((1, *shown.shape, 1), levels[0], np.float32)]).numpy()
            result = result[0, ..., 0]
            made.append(np.rot90(np.flipud(result) if mirrored else result, -turns))
    return np.mean(np.array(made, np.float64), axis=0)


@pytest.mark.parametrize("count", [4, 8])
@pytest.mark.parametrize("size", [(32, 32), (24, 56)])
def test_an_ensemble_is_the_mean_over_symmetries(made, threads, count, size):
    denoiser, model = made(nets.unet, noise_input="noise_level")
    images, levels = _images(3, *size, 1, dtype=np.float32), np.array([0.05, 0.1, 0.2], np.float32)
    found = _helped(denoiser, threads, ensemble=count).denoise(images, levels).pixels
    for n in range(3):
        want = _by_hand(model, images[n : n + 1], levels[n:], count)
        np.testing.assert_allclose(found[n, ..., 0], want, rtol=1e-5, atol=1e-5)
    assert not np.allclose(found, denoiser.denoise(images, levels).pixels, atol=1e-3), "the members differ"


def test_an_ensemble_of_tiles_and_of_colours(made, threads, monkeypatch):
    denoiser, _ = made(nets.plain, 1)
    image, ensemble = _photograph(700, 1000, 3), _helped(denoiser, threads, ensemble=4)
    tiled = ensemble.denoise(image).pixels
    monkeypatch.setattr(denoising, "WHOLE_PIXELS", 1 << 30)
    turned = [np.rot90(image, turns, (1, 2)) for turns in range(4)]
    members = [np.rot90(denoiser.denoise(one / np.float32(255)).pixels, -n, (1, 2)) for n, one in enumerate(turned)]
    assert np.abs(np.rint(255 * np.mean(members, axis=0).clip(0, 1)) - tiled).max() <= 1


def test_padding_is_turned_with_the_image(made):
    """So that an image of odd sides meets the same grid of strided layers at each turn."""
    denoiser, model = made(nets.unet, noise_input="noise_level")
    image, levels = _images(1, 13, 22, 1, dtype=np.float32), np.array([0.1], np.float32)
    padded = np.pad(image, [(0, 0), (0, 3), (0, 2), (0, 0)], "reflect")
    want = _by_hand(model, padded, levels, 8)[:13, :22]
    found = Denoiser(denoiser._runtime, 8).denoise(image, levels).pixels[0, ..., 0]
    np.testing.assert_allclose(found, want, rtol=1e-5, atol=1e-5)


def _photograph(height, width, channels=1):
    """Edges, gradients and noise."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    smooth = 128 + 100 * np.sin(x / 37 + y / 91) * np.sign(np.sin(y / 53 - x / 111))
    noisy = smooth[..., None] + _RANDOM.normal(0, 25, (height, width, channels))
    return np.clip(noisy, 0, 255).astype(np.uint8)[None]


@pytest.mark.parametrize("size", [(1100, 700), (523, 1601)])
@pytest.mark.parametrize(
    ("build", "given"),
    [
        (nets.plain, {}),
        (nets.unet, {"noise_input": "noise_level"}),
        (nets.unet, {"noise_input": "noise_level", "noise_range": (50.0, 60.0)}),
        (nets.told_by_channel, {"noise_input": "channel", "value_range": (-1.0, 1.0)}),
    ],
)
def test_tiles_give_what_the_whole_image_gives(made, monkeypatch, build, given, size):
    denoiser, _ = made(build, **given)
    image = _photograph(*size, channels=3 if build is nets.told_by_channel else 1)
    levels = np.array([25 / 255], np.float32) if given else None
    tiled = denoiser.denoise(image, levels)
    monkeypatch.setattr(denoising, "WHOLE_PIXELS", 1 << 30)
    whole = denoiser.denoise(image, levels)
    difference = np.abs(tiled.pixels.astype(int) - whole.pixels)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 1e-3  # hardly any falls to the other side of a half
    np.testing.assert_allclose(tiled.mse, whole.mse, rtol=1e-4)


@pytest.mark.parametrize("channels", [1, 4])
def test_a_large_image_blurred_by_tiles(made, channels):
    denoiser, _ = made(nets.blur, 5)
    image = _photograph(800, 1000, channels)
    summed = np.pad(image[0].astype(np.int64), [(3, 2), (3, 2), (0, 0)]).cumsum(0).cumsum(1)  # box sums, exactly
    box = summed[5:, 5:] - summed[:-5, 5:] - summed[5:, :-5] + summed[:-5, :-5]
    found = denoiser.denoise(image).pixels[0].astype(np.int64)
    colors = 1 if channels == 1 else 3
    assert np.abs(25 * found - box)[..., :colors].max() <= 13  # at most half a step
    assert np.array_equal(found[..., colors:], image[0, ..., colors:])


def test_an_output_that_is_no_number_costs_its_image_alone(made, layers):
    def build():
        image = layers.Input((None, None, 1))
        return keras().Model(image, 1.0 / (2.0 - image))

    denoiser, _ = made(build)
    images = np.full((3, 8, 8, 1), 0.5, np.float32)
    images[1, 3, 3] = 2
    found = denoiser.denoise(images)
    np.testing.assert_allclose(found.mse, [(1 / 1.5 - 0.5) ** 2, np.nan, (1 / 1.5 - 0.5) ** 2], rtol=1e-5)
    large = np.full((1, 800, 800, 1), 0.5, np.float32)
    large[0, 700, 10] = 2
    assert np.isnan(denoiser.denoise(large).mse).all()


def test_a_model_of_fixed_size_with_a_latent(network, saved, tmp_path):
    denoiser = Denoiser(Runtime.load(export(saved, "encoded", str(tmp_path / "b"))))
    images = _images(1030, 12, 10, 4)
    found = denoiser.denoise(images)
    want = network.predict(images[..., :3] / np.float32(255), verbose=0)
    assert _close(found.pixels[..., :3], want)
    assert np.array_equal(found.pixels[..., 3], images[..., 3])
    assert np.array_equal(denoiser.denoise(images[5:7]).pixels, found.pixels[5:7])
    with pytest.raises(ValueError, match="takes 12 x 10 pixels of 1 to 4 channels"):
        denoiser.denoise(_images(1, 10, 12, 3))


def test_an_ensemble_that_a_model_does_not_take(network, saved, tmp_path):
    runtime = Runtime.load(export(saved, "encoded", str(tmp_path / "b")))
    for count in (4, 8):
        with pytest.raises(
            ValueError, match=f"an ensemble of {count} turns images, and the model takes 12 x 10 pixels"
        ):
            Denoiser(runtime, count)
    with pytest.raises(ValueError, match="an ensemble of 3; there are those of 1, 4, 8"):
        Denoiser(runtime, 3)


def test_channels_that_are_no_colours(made):
    denoiser, _ = made(nets.identity, 5)
    images = _images(2, 6, 7, 5)
    assert np.array_equal(denoiser.denoise(images).pixels, images)
    with pytest.raises(ValueError, match="the model takes any pixels of 5 channels"):
        denoiser.denoise(_images(2, 6, 7, 4))


def test_what_cannot_denoise(layers, save, tmp_path):
    model = build_autoencoder((12, 10, 3), 8)
    encoder = keras().Model(model.input, model.get_layer("encoded").output)
    runtime = Runtime.load(export(save(encoder), "encoded", str(tmp_path / "b")))
    with pytest.raises(BundleError, match="the model cannot denoise: a bundle of kind 'encoder' offers encode"):
        Denoiser(runtime)
