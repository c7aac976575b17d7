"""``--white``: floating pixels of 0..255 give what the same pixels of 0..1 give, on their own scale."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import tifffile

from lake.images.white import advice
from pipeline.job.prepare import prepare
from pipeline.options.job_options import JobOptions
from tests.conftest import Model, Pixels
from tests.pipeline.conftest import run_job


def latents(output: Path) -> Pixels:
    (file,) = (output / "latents").rglob("*.parquet")
    return np.stack(pq.read_table(file)["latent"].to_pylist())


def write(place: Path, kind: str, pixels: Pixels) -> Path:
    place.mkdir()
    if kind == "array":
        np.save(place / "x.npy", pixels)
    else:
        for number, image in enumerate(pixels):
            tifffile.imwrite(place / f"{number}.tif", image)
    return place


def test_encode_sees_white_as_one(model: Model, digits: Pixels, tmp_path: Path) -> None:
    wanted = model.encode(digits[:4])
    for kind in ("array", "tiff"):
        for dtype in (np.float32, *([np.float64] if kind == "array" else [])):
            source = write(tmp_path / f"{kind}{np.dtype(dtype)}", kind, digits[:4].astype(dtype))
            output = tmp_path / f"out-{source.name}"
            run_job("encode", source, model.bundle, output, white=255)
            np.testing.assert_allclose(latents(output), wanted, rtol=1e-4, atol=1e-5)


def test_images_come_back_on_their_own_scale(model: Model, digits: Pixels, tmp_path: Path) -> None:
    unit = digits[:4].astype(np.float32) / 255
    made: dict[tuple[str, float], list[Any]] = {}
    for kind in ("array", "tiff"):
        for white, pixels in ((1, unit), (255, unit * np.float32(255))):
            source = write(tmp_path / f"{kind}{white}", kind, pixels)
            output = tmp_path / f"out-{kind}{white}"
            run_job("reconstruct", source, model.bundle, output, white=white, error_map=True)
            for place in ("images", "error_maps"):
                files = sorted((output / place).iterdir())
                read = np.load(files[0]) if kind == "array" else [tifffile.imread(file) for file in files]
                made.setdefault((kind + place, white), []).append(np.asarray(read).reshape(4, 8, 8))
    for name in ("arrayimages", "arrayerror_maps", "tiffimages", "tifferror_maps"):
        one, other = made[name, 1][0], made[name, 255][0]
        assert other.dtype == np.float32
        np.testing.assert_allclose(other, one * 255, rtol=1e-4, atol=1e-3)


def test_only_another_white_is_in_the_fingerprint(model: Model, digits: Pixels, tmp_path: Path) -> None:
    source = write(tmp_path / "in", "array", digits[:2].astype(np.float32) / 255)

    def target(**settings: Any) -> dict[str, Any]:
        where: dict[str, Any] = {"input": (str(source),), "output": str(tmp_path / "out")}
        value: dict[str, Any] = prepare(
            JobOptions(verb="encode", model=model.bundle, **where, **settings)
        ).config.options()["target"]
        return value

    assert "white" not in target()
    assert target(white=1) == target()
    assert target(white=255) == {**target(), "white": 255.0}


def test_the_advice_names_a_usual_white() -> None:
    def of(*values: float) -> str | None:
        return advice(np.array(values, np.float32))

    assert of(0, 254.5) == "values up to 254.5: set --white 255"
    assert of(0, 4000) == "values up to 4000: set --white 4095"
    assert of(0, 1e6) == "values up to 1e+06: set --white 1e+06"
    assert of(-3, 1) == "values down to -3: bring them to 0..1"
    assert of(-1, 2) is None
    assert advice(np.array([0, 255], np.uint8)) is None
