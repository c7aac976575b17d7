"""Latents in the formats of trainers through whole jobs: the rows of the tables, a trainer's loop, and images again."""

import io
import json
import shutil
import tarfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lake.core.errors import InputError, UsageError
from pipeline.config import Gate
from pipeline.explore.output import Output
from pipeline.job.prepare import prepare
from pipeline.job.repair import repair_options, retry_options
from pipeline.options.job_options import JobOptions, make_options
from pipeline.output.verify import verify
from tests.conftest import Model, Pixels, png
from tests.lake.formats.arrayrecord import samples as arrayrecord
from tests.lake.formats.mds.specification import samples
from tests.model import nets
from tests.pipeline.conftest import run_job

FORMATS = ("webdataset", "webdataset-safetensors", "mds", "arrayrecord")
_FILES = {"mds": "*.mds", "arrayrecord": "*.arrayrecord"}  # others are tars
_SIZES = [(40, 64), (64, 40), (33, 47), (40, 64), (90, 31), (8, 8)]
_GATE = Gate(max_reject_fraction=0.5)
_OPTIONS: dict[str, Any] = {"flip": True, "variance": True, "latent_scale": 0.18215, "latent_shift": 0.5, "gate": _GATE}
each_format = pytest.mark.parametrize("format", FORMATS)


def photograph(number: int) -> Pixels:
    height, width = _SIZES[number % len(_SIZES)]
    smooth = np.add.outer(np.arange(height) * 3, np.arange(width) * 2)[..., None] + np.array([0, 70, 140])
    noise = np.random.default_rng(number).integers(0, 40, (height, width, 3))
    return ((smooth + noise) % 256).astype(np.uint8)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A variational autoencoder of images of any size."""
    from lake.core.tensorflow import keras
    from model.export import export

    place = tmp_path_factory.mktemp("open")
    keras().utils.set_random_seed(9)
    nets.open_autoencoder(variance=True).save(place / "vae.keras")
    export(place / "vae.keras", "latent", str(place / "bundle"), variance="log_variance")
    return str(place / "bundle")


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tars of 24 photographs with captions, of which two are damaged."""
    root = tmp_path_factory.mktemp("photographs")
    files = [png(photograph(number)) for number in range(24)]
    files[5], files[20] = files[5][:50], b"no image"
    for shard in range(2):
        (root / "a").mkdir(exist_ok=True)
        with tarfile.open(root / f"a/train-{shard}.tar", "w") as tar:
            for number in range(12 * shard, 12 * shard + 12):
                for suffix, content in (("png", files[number]), ("txt", f"photograph {number}".encode())):
                    member = tarfile.TarInfo(f"{number:04d}.{suffix}")
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))
    return root


@pytest.fixture(scope="module")
def caches(tmp_path_factory: pytest.TempPathFactory, photographs: Path, bundle: str) -> Path:
    """The photographs' latents in every format, by its name."""
    root = tmp_path_factory.mktemp("caches")
    for format in ("parquet", *FORMATS):
        summary = run_job("encode", photographs, bundle, root / format, latent_format=format, **_OPTIONS)
        assert (summary["complete"], summary["total"]["results"], summary["total"]["rejects"]) == (True, 22, 2)
    return root


def rows_of(output: Path) -> list[dict[str, Any]]:
    """The table's rows, latents in their shapes."""
    table = pa.concat_tables(pq.read_table(file) for file in sorted((output / "latents").rglob("*.parquet")))
    rows = table.to_pylist()
    for row in rows:
        shape = row.pop("latent_shape")
        for name in ("latent", "latent_flip", "latent_variance"):
            row[name] = np.array(row[name], np.float32).reshape(shape)
    return rows


def of_tar(file: Path) -> list[dict[str, Any]]:
    """Samples of a tar as the convention has them, read by Python's own modules."""
    found: defaultdict[str, dict[str, Any]] = defaultdict(dict)
    with tarfile.open(file) as tar:
        for info in tar:
            name, _, suffix = info.name.partition(".")
            data = tar.extractfile(info).read()  # type: ignore[union-attr]
            if suffix.endswith("npy"):
                found[name][{"npy": "latent"}.get(suffix, f"latent_{suffix[:-4]}")] = np.load(io.BytesIO(data))
            elif suffix == "safetensors":
                found[name] |= tensors(data)
            else:
                found[name][suffix] = json.loads(data) if suffix == "json" else data.decode()
    return [sample.pop("json") | {"caption": sample.pop("txt")} | sample for sample in found.values()]


def tensors(data: bytes) -> dict[str, Pixels]:
    length = int.from_bytes(data[:8], "little")
    fields, body = json.loads(data[8 : 8 + length]), data[8 + length :]
    return {
        name: np.frombuffer(body[slice(*field["data_offsets"])], "<f4").reshape(field["shape"])
        for name, field in fields.items()
    }


def samples_of(output: Path, format: str) -> Iterator[dict[str, Any]]:
    files = sorted((output / "latents").rglob("index.json" if format == "mds" else _FILES.get(format, "*.tar")))
    for file in files:
        if format in _FILES:
            found = samples(file.parent) if format == "mds" else arrayrecord.samples(file)
            yield from ({**sample, "caption": sample["txt"]} for sample in found)
        else:
            yield from of_tar(file)


@pytest.mark.slow
@each_format
def test_samples_are_the_rows_of_the_table(caches: Path, format: str) -> None:
    wanted, found = rows_of(caches / "parquet"), list(samples_of(caches / format, format))
    assert len(found) == len(wanted) == 22
    for row, sample in zip(wanted, found, strict=True):
        assert sample.pop("caption") == row["txt"] and row["txt"].startswith("photograph ")
        if format not in _FILES:
            said = json.loads(json.dumps({"type": "float32", "scaling_factor": float(np.float32(0.18215))}))
            said |= {"shift_factor": 0.5, "shape": [*row["latent"].shape]}
        for name in ("latent", "latent_flip", "latent_variance"):
            np.testing.assert_array_equal(sample[name], row.pop(name))
        assert {name: sample[name] for name in row} == row
    assert verify(str(caches / format), deep=True).problems == ()


@pytest.mark.slow
@each_format
def test_decode_gives_the_images_of_reconstruct(
    caches: Path, photographs: Path, bundle: str, tmp_path: Path, format: str
) -> None:
    run_job("reconstruct", photographs, bundle, tmp_path / "made", output_format="parquet", gate=_GATE)
    run_job("decode", caches / "parquet/latents", bundle, tmp_path / "table", output_format="parquet")
    run_job("decode", caches / format / "latents", bundle, tmp_path / "back", output_format="parquet")
    files = [sorted((tmp_path / name / "images").rglob("*.parquet")) for name in ("made", "table", "back")]
    made, table, back = (pa.concat_tables(map(pq.read_table, some))["image"].to_pylist() for some in files)
    assert table == back and len(back) == 22
    # Scaling and back rounds a number once or twice.
    from PIL import Image

    for one, other in zip(made, back, strict=True):
        pixels = [np.asarray(Image.open(io.BytesIO(image["bytes"])), np.int16) for image in (one, other)]
        assert pixels[0].shape == pixels[1].shape and np.abs(pixels[0] - pixels[1]).max() <= 1


@pytest.mark.slow
def test_from_tar_to_tar_and_back_to_tar(caches: Path, bundle: str, tmp_path: Path) -> None:
    for format in FORMATS[:2]:
        run_job("decode", caches / format / "latents", bundle, tmp_path / format)
        with tarfile.open(tmp_path / format / "images/a/train-0.tar") as tar:
            names = tar.getnames()
            caption = tar.extractfile("00000003.txt").read()  # type: ignore[union-attr]
        assert {"00000000.png", "00000000.json", "00000000.txt"} <= {*names} and caption == b"photograph 3"
        assert not {"00000000.npy", "00000000.safetensors"} & {*names}


class CachedLatents:
    """A trainer's dataset class: shuffled batches of one bucket, latents channels first, half of them mirrored."""

    def __init__(self, urls: list[str], batch: int) -> None:
        import webdataset

        self.batch = batch
        self.dataset = webdataset.WebDataset(urls, shardshuffle=False).shuffle(10, seed=1).decode()

    def __iter__(self) -> Iterator[tuple[Pixels, list[str]]]:
        buckets = defaultdict(list)
        rng = np.random.default_rng(0)
        for sample in self.dataset:
            latent = sample["flip.npy"] if rng.random() < 0.5 else sample["npy"]
            waiting = buckets[sample["json"]["height"], sample["json"]["width"]]
            waiting.append((latent.transpose(2, 0, 1), sample["txt"]))
            if len(waiting) == self.batch:
                latents, captions = zip(*waiting, strict=True)
                yield np.stack(latents), list(captions)
                waiting.clear()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # of webdataset
def test_a_trainers_own_dataset_class(photographs: Path, bundle: str, tmp_path: Path) -> None:
    run_job(
        "encode", photographs, bundle, tmp_path / "cache", latent_format="webdataset", latent_type="float16",
        flip=True, bucket=16, max_area="48x48", gate=_GATE,
    )  # fmt: skip
    urls = [str(file) for file in sorted((tmp_path / "cache/latents").rglob("*.tar"))]
    batches = list(CachedLatents(urls, batch=2))
    plain = {sample["caption"]: sample for file in urls for sample in of_tar(Path(file))}
    assert len({latents.shape for latents, _ in batches}) > 2 and len(batches) >= 8
    for latents, captions in batches:
        assert latents.dtype == np.float16 and latents.shape[:2] == (2, 4)
        for latent, caption in zip(latents, captions, strict=True):
            ways = [plain[caption][name].transpose(2, 0, 1) for name in ("latent", "latent_flip")]
            assert any(np.array_equal(latent, way) for way in ways)
    sample = plain["photograph 0"]
    assert (sample["original_height"], sample["original_width"]) == (40, 64)
    assert {"crop_top", "crop_left", "height", "width"} <= sample.keys()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # its own, while it is imported
def test_datasets_of_hugging_face(caches: Path, tmp_path: Path) -> None:
    from datasets import load_dataset

    files = sorted(str(file) for file in (caches / "webdataset/latents").rglob("*.tar"))
    loaded = load_dataset("webdataset", data_files=files, split="train", cache_dir=str(tmp_path))
    wanted = rows_of(caches / "parquet")
    assert [row["txt"] for row in loaded] == [row["txt"] for row in wanted]
    np.testing.assert_array_equal(np.array(loaded[0]["npy"], np.float32), wanted[0]["latent"])


@pytest.mark.slow
@each_format
@pytest.mark.parametrize("latent_type", ["float16", "bfloat16", "int8", "binary"])
def test_types(shards: Path, model: Model, tmp_path: Path, format: str, latent_type: str) -> None:
    source = shards / "a/train-1.parquet"
    for name in ("parquet", format):
        run_job("encode", source, model.bundle, tmp_path / name, latent_format=name, latent_type=latent_type)
        assert verify(str(tmp_path / name), deep=True).problems == ()
        run_job("decode", tmp_path / name / "latents", model.bundle, tmp_path / f"{name}-back", output_format="parquet")
    one, other = (
        pa.concat_tables(map(pq.read_table, sorted((tmp_path / f"{name}-back/images").rglob("*.parquet"))))["image"]
        for name in ("parquet", format)
    )
    assert one.to_pylist() == other.to_pylist() and len(one) == 300


@pytest.mark.slow
@each_format
def test_a_retry_processes_the_whole_unit(photographs: Path, bundle: str, tmp_path: Path, format: str) -> None:
    """A tar of samples, one after another, takes no new one in between; so the result is that of a run without it."""
    from pipeline.beam.launch import launch

    clean = run_job("encode", photographs, bundle, tmp_path / "clean", latent_format=format, gate=_GATE)
    limit = len(png(photograph(4))) - 1
    options = {"latent_format": format, "max_record_bytes": limit, "gate": Gate(max_reject_fraction=1)}
    first = run_job("encode", photographs, bundle, tmp_path / "out", **options)
    assert first["total"]["results"] < clean["total"]["results"]
    again = retry_options(str(tmp_path / "out"), {"max_record_bytes": 1 << 20, "max_reject_fraction": 0.5})
    assert again.latent_format == format
    summary = launch(again, [])
    assert summary["total"]["results"] == clean["total"]["results"] == 22
    assert verify(str(tmp_path / "out"), deep=True).problems == ()
    one, other = (list(samples_of(tmp_path / name, format)) for name in ("clean", "out"))
    for row, same in zip(one, other, strict=True):
        for name in row.keys() - {"latentlake.fingerprint"}:  # of other options
            np.testing.assert_array_equal(row[name], same[name])


@pytest.mark.slow
@each_format
def test_verify_notices(caches: Path, bundle: str, tmp_path: Path, format: str) -> None:
    from pipeline.beam.launch import launch

    output = tmp_path / "out"
    shutil.copytree(caches / format, output)
    (one, other) = sorted((output / "latents").rglob(_FILES.get(format, "*.tar")))
    whole = one.read_bytes()
    one.write_bytes(other.read_bytes())
    # Records lead to the unit by its fingerprint.
    stated = "its fingerprint is " if format == "arrayrecord" else "its unit is 'a/train-1'"
    assert any(stated in found.problem for found in verify(str(output)).problems)
    at = len(whole) // 2 if format == "arrayrecord" else len(whole) - 700
    one.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    (found,) = verify(str(output), deep=True).problems
    assert "checksum" in found.problem and found.unit == "a/train-0"
    launch(repair_options(verify(str(output), deep=True)), [])
    assert verify(str(output), deep=True).problems == () and one.read_bytes() == whole


@pytest.mark.slow
def test_explore_needs_tables_and_says_so(caches: Path) -> None:
    output = Output(str(caches / "webdataset"))
    assert len(output) == 22 and output.rejects.count_rows() == 2
    for question in (
        lambda: output.similar(key="0000"),
        lambda: output.outliers(),
        lambda: output.duplicates(),
        lambda: output.compare(str(caches / "mds")),
        lambda: output.table,
        lambda: output.latents(),
        lambda: output.images("0000"),
    ):
        with pytest.raises(UsageError, match="latents in webdataset, for trainers, and this needs tables"):
            question()
    assert "22 results" in repr(output)


def test_values_of_the_option() -> None:
    with pytest.raises(UsageError, match=r"latent_format: .*webdataset"):
        make_options("encode", {"input": "in", "model": "m", "output": "o", "latent_format": "webdatset"})
    with pytest.raises(UsageError, match="latent_format is no option of decode"):
        make_options("decode", {"input": "in", "model": "m", "output": "o", "latent_format": "mds"})


@pytest.mark.slow
def test_bits_of_many_shapes_are_refused_in_mds(bundle: str, photographs: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"verb": "encode", "input": (str(photographs),), "model": bundle, "latent_format": "mds"}
    with pytest.raises(UsageError, match="do not say their channels in mds"):
        prepare(JobOptions(**options, output=str(tmp_path / "out"), latent_type="binary"))


@pytest.mark.slow
def test_mds_is_not_written_by_decode(caches: Path, bundle: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="mds shards are not written"):
        run_job("decode", caches / "mds/latents", bundle, tmp_path / "out")
    with pytest.raises(InputError, match="cannot be undone"):
        _refused_pooled(caches, bundle, tmp_path)


def _refused_pooled(caches: Path, bundle: str, tmp_path: Path) -> None:
    data = (caches / "mds/latents/a/train-0/shard.00000.mds").read_bytes()
    # Of the same length, since the samples come after it.
    changed = data.replace(rb"\"shift_factor\": 0.5", rb"\"pool\": \"mean\"   ")
    assert changed != data and len(changed) == len(data)
    (tmp_path / "x.mds").write_bytes(changed)
    run_job("decode", tmp_path / "x.mds", bundle, tmp_path / "out", output_format="parquet")
