"""``denoise`` of TIFF of any type and number of bands: each comes back in its own type; dim integers are told."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from lake.core.errors import InputError
from tests.conftest import Pixels
from tests.pipeline.conftest import run_job

SHAPES = {"grey": (20, 24), "bands": (20, 24, 6)}


@pytest.fixture(scope="module")
def less(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A grey model of any size whose output is three quarters of each pixel."""
    from lake.core.tensorflow import keras
    from model.export import export

    layers, path = keras().layers, tmp_path_factory.mktemp("less")
    image = layers.Input((None, None, 1), name="image")
    weight = keras().initializers.Constant(0.75)
    less = layers.Conv2D(1, 1, use_bias=False, kernel_initializer=weight)
    keras().Model(image, less(image)).save(path / "less.keras")
    export(path / "less.keras", None, str(path / "bundle"))
    return str(path / "bundle")


def pixels(dtype: str, shape: tuple[int, ...], most: float) -> Pixels:
    return (np.random.default_rng(3).random(shape) * most).astype(dtype)


@pytest.mark.parametrize("image_format", ["lossless", "same"])
def test_every_type_comes_back_in_its_own(less: str, tmp_path: Path, image_format: str) -> None:
    source, output = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    wanted = {}
    for dtype in ("uint8", "uint16", "int16", "uint32", "int32", "float32", "float64"):
        most = 1 if dtype.startswith("float") else np.iinfo(dtype).max
        for name, shape in SHAPES.items():
            wanted[f"{dtype}-{name}"] = given = pixels(dtype, shape, most)
            more = {"planarconfig": "contig"} if given.ndim == 3 else {}
            options = {"photometric": "minisblack", "metadata": None, "bigtiff": name == "bands"} | more
            tifffile.imwrite(source / f"{dtype}-{name}.tif", given, compression="zstd", **options)
    summary = run_job("denoise", source, less, output, image_format=image_format)
    assert (summary["total"]["results"], summary["total"]["rejects"]) == (len(wanted), 0)
    for name, given in wanted.items():
        (file,) = (output / "images").glob(f"{name}.*")
        dtype = np.dtype("float32") if given.dtype == np.float64 else given.dtype
        in_png = image_format == "lossless" and name in ("uint8-grey", "uint16-grey")
        assert file.suffix == (".png" if in_png else ".tif")
        if not in_png:
            made = tifffile.imread(file)
            assert (made.dtype, made.shape) == (dtype, given.shape)
            tolerance = 1e-6 if dtype.kind == "f" else 1
            np.testing.assert_allclose(made.astype(float), given * 0.75, rtol=1e-6, atol=tolerance)


def test_integers_that_use_little_of_their_type_are_told_at_launch(less: str, tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    given = pixels("int32", (20, 24), 4000)
    tifffile.imwrite(source / "a.tif", given, metadata=None)
    with pytest.raises(InputError, match=r"a\.tif.*values up to 39\d\d of 2.147\d*e\+09: set --white 4095"):
        run_job("denoise", source, less, tmp_path / "out")
    run_job("denoise", source, less, tmp_path / "out", white=4095, image_format="same")
    made = tifffile.imread(tmp_path / "out" / "images" / "a.tif")
    assert made.dtype == np.int32
    np.testing.assert_allclose(made, given * 0.75, atol=1)


def test_a_stack_of_wide_integers_comes_back_whole(less: str, tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    given = pixels("int16", (3, 20, 24), 32767)
    tifffile.imwrite(source / "a.tif", given, photometric="minisblack", bigtiff=True)
    run_job("denoise", source, less, tmp_path / "out", image_format="same", pages="all")
    made = tifffile.imread(tmp_path / "out" / "images" / "a.tif")
    assert made.dtype == np.int16
    np.testing.assert_allclose(made, given * 0.75, atol=1)
