"""Folders and tars of AVIF, HEIC, JPEG 2000 and JPEG XL through jobs: encoded as PNG of the same pixels is."""

import io
import tarfile
from pathlib import Path

import imagecodecs
import numpy as np
import pillow_heif
import pyarrow.parquet as pq
import pytest
from PIL import Image

from lake.core.errors import InputError
from tests.conftest import Model, Pixels
from tests.pipeline.conftest import run_job


def latents(output: Path) -> Pixels:
    (file,) = (output / "latents").rglob("*.parquet")
    return np.stack(pq.read_table(file)["latent"].to_pylist())


def files(digits: Pixels) -> dict[str, bytes]:
    made = {}
    named = {"avif": "AVIF", "jp2": "JPEG2000", "jpf": "JPEG2000", "apng": "PNG"}
    for suffix, format in {**named, **dict.fromkeys(("jfif", "jpe", "jif", "pjpeg", "pjp"), "JPEG")}.items():
        out = io.BytesIO()
        Image.fromarray(digits[0]).save(out, format)
        made[suffix] = out.getvalue()
    out = io.BytesIO()
    two = Image.fromarray(255 - digits[0])
    Image.fromarray(digits[0]).save(out, "MPO", save_all=True, append_images=[two])
    made["mpo"] = out.getvalue()
    made["jxl"] = imagecodecs.jpegxl_encode(digits[0], True)
    out = io.BytesIO()
    pillow_heif.from_pillow(Image.fromarray(digits[0].repeat(2, 0).repeat(2, 1))).save(out)
    made["heic"] = out.getvalue()
    return made


@pytest.mark.parametrize("kind", ["folder", "tar"])
def test_each_is_found_by_its_name(kind: str, model: Model, digits: Pixels, tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    found = files(digits)
    if kind == "folder":
        for suffix, data in found.items():
            (source / f"a-{suffix}.{suffix}").write_bytes(data)
    else:
        with tarfile.open(source / "a.tar", "w") as tar:
            for suffix, data in found.items():
                member = tarfile.TarInfo(f"a-{suffix}.{suffix}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    output = tmp_path / "out"
    summary = run_job("encode", source, model.bundle, output, resize="stretch", color="convert")
    assert (summary["total"]["results"], summary["total"]["rejects"]) == (len(found), 0)
    rows = pq.read_table(next((output / "latents").rglob("*.parquet"))).to_pylist()
    of = {row["key"].rpartition("a-")[2].partition(".")[0]: row["latent"] for row in rows}
    assert of.keys() == found.keys()
    assert of["mpo"] == of["jfif"]  # the first picture


def test_without_the_extra_the_launch_names_it(
    model: Model, digits: Pixels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "in"
    source.mkdir()
    for number in range(8):
        (source / f"{number}.heic").write_bytes(files(digits)["heic"])
    monkeypatch.setitem(__import__("sys").modules, "pillow_heif", None)
    with pytest.raises(InputError, match=r"latentlake\[heif\]"):
        run_job("encode", source, model.bundle, tmp_path / "out", resize="stretch")
