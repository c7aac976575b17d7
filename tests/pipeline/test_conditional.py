"""Jobs with a conditional model, against what Keras gives for the same images and classes."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from lake.core.errors import InputError, OutputError, UsageError
from pipeline.job.prepare import prepare
from pipeline.options.job_options import JobOptions
from pipeline.output.verify import verify
from tests.conftest import Pixels, png
from tests.lake.formats.support import archive
from tests.model.conditional import CLASSES, LATENT, SHAPE, as_given, halves
from tests.pipeline.conftest import run_job

COUNT = 20


class Trained:
    """A CVAE whose bundle is made of its halves, and what they give themselves."""

    def __init__(self, folder: Path, form: str = "one_hot", names: tuple[str, ...] = (str(CLASSES),)) -> None:
        from model.export import export
        from model.parts import Parts
        from model.preprocessing import Preprocessing

        self.form, (self.encoder, self.decoder) = form, halves(form)
        self.encoder.save(folder / "e.keras")
        self.decoder.save(folder / "d.keras")
        classes = None if form == "numbers" else names
        parts = Parts(encoder=folder / "e.keras", decoder=folder / "d.keras")
        given = Preprocessing(condition="label", condition_classes=classes)
        self.bundle = export(parts, "z_mean", str(folder / "bundle"), given, variance="z_log_var").uri

    def encode(self, pixels: Pixels, classes: Pixels) -> Pixels:
        return self.encoder.predict([pixels / np.float32(255), as_given(self.form, classes)], verbose=0)[0]

    def decode(self, latents: Pixels, classes: Pixels) -> Pixels:
        images = self.decoder.predict([latents, as_given(self.form, classes)], verbose=0)
        return np.rint(images * 255).astype(np.uint8)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return Trained(tmp_path_factory.mktemp("trained"))


@pytest.fixture(scope="module")
def pixels() -> Pixels:
    return np.random.default_rng(5).integers(0, 256, (COUNT, *SHAPE), np.uint8)


@pytest.fixture(scope="module")
def classes() -> Pixels:
    return np.random.default_rng(6).integers(0, CLASSES, COUNT)


def files_of(pixels: Pixels) -> list[bytes]:
    return [png(image[..., 0]) for image in pixels]


def table(path: Path, pixels: Pixels, **columns: Any) -> Path:
    """A Parquet shard of images with these columns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    keys = [f"{i:03d}" for i in range(len(pixels))]
    pq.write_table(pa.table({"image": pa.array(files_of(pixels), pa.binary()), "key": keys, **columns}), path)
    return path


def rows(output: Path, name: str = "latents") -> list[dict[str, Any]]:
    found = [row for file in sorted((output / name).rglob("*.parquet")) for row in pq.read_table(file).to_pylist()]
    return sorted(found, key=lambda row: (row["shard"], row["index"]))


def latents_of(output: Path) -> Pixels:
    return np.array([row["latent"] for row in rows(output)], np.float32)


def test_latents_and_back(trained: Trained, pixels: Pixels, classes: Pixels, tmp_path: Path) -> None:
    shard = table(tmp_path / "in/x.parquet", pixels, label=pa.array(classes))
    run_job("encode", shard, trained.bundle, tmp_path / "out")
    latents = latents_of(tmp_path / "out")
    np.testing.assert_allclose(latents, trained.encode(pixels, classes), rtol=1e-5, atol=1e-5)
    assert [row["label"] for row in rows(tmp_path / "out")] == classes.tolist()
    run_job("decode", tmp_path / "out/latents", trained.bundle, tmp_path / "back", output_format="array")
    images = np.load(next((tmp_path / "back").rglob("*.npz")))["images"]
    wanted = trained.decode(latents, classes)
    assert np.abs(images.reshape(wanted.shape).astype(int) - wanted).max() <= 1


def parquet(root: Path, pixels: Pixels, classes: Pixels) -> str:
    table(root / "x.parquet", pixels, label=pa.array(classes, pa.int16()).dictionary_encode())
    return "label"


def names_in_parquet(root: Path, pixels: Pixels, classes: Pixels) -> str:
    table(root / "x.parquet", pixels, digit=[str(one) for one in classes])
    return "digit"


def floats_in_arrow(root: Path, pixels: Pixels, classes: Pixels) -> str:
    columns = {"image": pa.array(files_of(pixels), pa.binary()), "label": pa.array(classes, pa.float64())}
    shard = pa.table(columns)
    with pa.ipc.new_file(root / "x.arrow", shard.schema) as writer:
        writer.write_table(shard)
    return "label"


def lines_of_csv(root: Path, pixels: Pixels, classes: Pixels) -> str:
    flat = pixels.reshape(len(pixels), -1)
    columns = {"label": classes, **{f"pixel{i}": flat[:, i] for i in range(flat.shape[1])}}
    pyarrow.csv.write_csv(pa.table(columns), root / "x.csv")
    return "label"


def classes_in_tars(root: Path, pixels: Pixels, classes: Pixels) -> str:
    members = [(f"{i:03d}.{end}", data) for i, file in enumerate(files_of(pixels)) for end, data in (
        ("png", file), ("cls", str(classes[i]).encode())
    )]  # fmt: skip
    (root / "x.tar").write_bytes(archive(members))
    return "cls"


def json_in_tars(root: Path, pixels: Pixels, classes: Pixels) -> str:
    members = [(f"{i:03d}.{end}", data) for i, file in enumerate(files_of(pixels)) for end, data in (
        ("png", file), ("json", json.dumps({"label": int(classes[i])}).encode())
    )]  # fmt: skip
    (root / "x.tar").write_bytes(archive(members))
    return "json.label"


def tfrecord(root: Path, pixels: Pixels, classes: Pixels) -> str:
    from tests.pipeline.test_formats import tfrecord as write

    write(root, files_of(pixels), pixels, classes)
    return "label"


def directories(root: Path, pixels: Pixels, classes: Pixels) -> str:
    for i, file in enumerate(files_of(pixels)):
        (root / str(classes[i])).mkdir(exist_ok=True)
        (root / str(classes[i]) / f"{i:03d}.png").write_bytes(file)
    return "folder"


def arrays(root: Path, pixels: Pixels, classes: Pixels) -> str:
    np.savez(root / "x.npz", images=pixels, labels=classes)
    return "label"


@pytest.mark.slow
@pytest.mark.parametrize(
    "write",
    [
        *(parquet, names_in_parquet, floats_in_arrow, lines_of_csv, classes_in_tars, json_in_tars, tfrecord),
        *(directories, arrays),
    ],
)
def test_every_format(write: Any, trained: Trained, pixels: Pixels, classes: Pixels, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    column = write(tmp_path / "in", pixels, classes)
    run_job("encode", tmp_path / "in", trained.bundle, tmp_path / "out", condition_column=column)
    found = rows(tmp_path / "out")
    number = {row["shard"] + row["key"]: i for i, row in enumerate(found)}
    assert len(number) == COUNT
    order = [int(row["key"].removesuffix(".png")) for row in found] if write is directories else range(COUNT)
    wanted = trained.encode(pixels, classes)[list(order)]
    np.testing.assert_allclose(latents_of(tmp_path / "out"), wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_numbers_of_each_record(pixels: Pixels, classes: Pixels, tmp_path: Path) -> None:
    trained = Trained(tmp_path, "numbers")
    told = as_given("numbers", classes)
    lists = pa.array(told.tolist(), pa.list_(pa.float32()))
    texts = pa.array([json.dumps(row) for row in told.tolist()])
    fixed = pa.FixedSizeListArray.from_arrays(pa.array(told.reshape(-1)), 3)
    for name, column in (("lists", lists), ("texts", texts), ("fixed", fixed)):
        shard = table(tmp_path / name / "x.parquet", pixels, label=column)
        run_job("encode", shard, trained.bundle, tmp_path / "out" / name)
        wanted = trained.encode(pixels, classes)
        np.testing.assert_allclose(latents_of(tmp_path / "out" / name), wanted, rtol=1e-5, atol=1e-5)
    write_numbers(tmp_path / "x.tfrecord", pixels, told)
    run_job("encode", tmp_path / "x.tfrecord", trained.bundle, tmp_path / "out/tfrecord")
    np.testing.assert_allclose(latents_of(tmp_path / "out/tfrecord"), wanted, rtol=1e-5, atol=1e-5)
    members = [(f"{i:03d}.{end}", data) for i, file in enumerate(files_of(pixels)) for end, data in (
        ("png", file), ("json", json.dumps({"hue": told[i].tolist()}).encode())
    )]  # fmt: skip
    (tmp_path / "x.tar").write_bytes(archive(members))
    run_job("encode", tmp_path / "x.tar", trained.bundle, tmp_path / "out/tar", condition_column="json.hue")
    np.testing.assert_allclose(latents_of(tmp_path / "out/tar"), wanted, rtol=1e-5, atol=1e-5)
    bad = [[1.0, 2.0], None, [1.0, 2.0, float("nan")], *told[3:].tolist()]
    shard = table(tmp_path / "bad/x.parquet", pixels, label=pa.array(bad, pa.list_(pa.float32())))
    run_job("encode", shard, trained.bundle, tmp_path / "out/bad", gate={"max_reject_fraction": 1})
    assert [row["index"] for row in rows(tmp_path / "out/bad", "rejects")] == [0, 1, 2]
    assert "not a list of 3 finite numbers" in rows(tmp_path / "out/bad", "rejects")[0]["detail"]


@pytest.mark.slow
def test_several_formats_in_one_job(trained: Trained, pixels: Pixels, classes: Pixels, tmp_path: Path) -> None:
    """A format without the column has rejects; those of a later run are told by the same column."""
    for name, write in {"parquet": parquet, "arrays": arrays, "late": tfrecord}.items():
        (tmp_path / "in" / name).mkdir(parents=True)
        if name != "late":
            write(tmp_path / "in" / name, pixels, classes)
    half = COUNT // 2
    for i, file in enumerate(files_of(pixels[:half])):
        (tmp_path / f"in/{i}.png").write_bytes(file)
    options: dict[str, Any] = {"format": "mixed", "gate": {"max_reject_fraction": 1}}
    run_job("encode", tmp_path / "in", trained.bundle, tmp_path / "out", **options)
    tfrecord(tmp_path / "in/late", pixels, classes)
    run_job("encode", tmp_path / "in", trained.bundle, tmp_path / "out", **options)
    for shard in ("parquet/x.parquet", "arrays/x.npz", "late/x.tfrecord"):
        found = [row["latent"] for row in rows(tmp_path / "out") if row["shard"] == shard]
        np.testing.assert_allclose(found, trained.encode(pixels, classes), rtol=1e-5, atol=1e-5)
    assert [row["reason"] for row in rows(tmp_path / "out", "rejects")] == ["invalid_condition"] * half


@pytest.mark.slow
@pytest.mark.parametrize("format", ["webdataset", "webdataset-safetensors", "mds", "arrayrecord"])
@pytest.mark.parametrize("write", [parquet, names_in_parquet, json_in_tars])
def test_latents_for_trainers_are_decoded_without_another_word(
    write: Any, format: str, trained: Trained, pixels: Pixels, classes: Pixels, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    told = {"condition_column": write(tmp_path / "in", pixels, classes)}
    run_job("encode", tmp_path / "in", trained.bundle, tmp_path / "out", latent_format=format, **told)
    run_job("decode", tmp_path / "out/latents", trained.bundle, tmp_path / "back", output_format="array", **told)
    images = images_of(tmp_path / "back")
    wanted = trained.decode(trained.encode(pixels, classes), classes)
    assert len(images) == COUNT and np.abs(images.astype(int) - wanted).max() <= 1


@pytest.mark.slow
def test_by_the_functions_of_the_package(trained: Trained, pixels: Pixels, classes: Pixels, tmp_path: Path) -> None:
    import latentlake as ll

    shard = table(tmp_path / "in/x.parquet", pixels, digit=pa.array(classes))
    found = ll.encode(str(shard), model=trained.bundle, output=tmp_path / "out", condition_column="digit")
    np.testing.assert_allclose(found.latents().values, trained.encode(pixels, classes), rtol=1e-5, atol=1e-5)
    with pytest.raises(UsageError, match="is told 'label' of each image; give a key"):
        found.similar(image=files_of(pixels)[0])
    ll.generate(model=trained.bundle, output=tmp_path / "threes", count=2, condition=3)
    made = pq.read_table(tmp_path / "threes/images/part-00000.parquet")
    assert made["label"].to_pylist() == [3, 3]


def write_numbers(path: Path, pixels: Pixels, told: Pixels) -> None:
    import tensorflow as tf

    with tf.io.TFRecordWriter(str(path)) as writer:
        for file, numbers in zip(files_of(pixels), told, strict=True):
            feature = {
                "image/encoded": tf.train.Feature(bytes_list=tf.train.BytesList(value=[file])),
                "label": tf.train.Feature(float_list=tf.train.FloatList(value=numbers)),
            }
            writer.write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())


@pytest.mark.slow
def test_directories_named_like_classes(pixels: Pixels, classes: Pixels, tmp_path: Path) -> None:
    names = ("ant", "bee", "cow", "dog", "eel")
    trained = Trained(tmp_path, names=names)
    (tmp_path / "in").mkdir()
    directories(tmp_path / "in", pixels, np.array(names)[classes])
    run_job("encode", tmp_path / "in", trained.bundle, tmp_path / "out", condition_column="folder")
    order = [int(row["key"].removesuffix(".png")) for row in rows(tmp_path / "out")]
    wanted = trained.encode(pixels, classes)[order]
    np.testing.assert_allclose(latents_of(tmp_path / "out"), wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_generated_images(trained: Trained, tmp_path: Path) -> None:
    options = {"model": trained.bundle, "count": 5, "output_format": "array"}
    run_job_of_generate(tmp_path / "all", condition="3", **options)
    run_job_of_generate(tmp_path / "turns", condition=[3, 1], **options)
    of_three, turns = (images_of(tmp_path / name) for name in ("all", "turns"))
    latents = np.stack([np.random.Generator(np.random.Philox(key=0, counter=i << 128)).standard_normal(
        LATENT, np.float32) for i in range(5)])  # fmt: skip
    wanted = trained.decode(latents, np.array([3] * 5))
    assert np.abs(of_three.astype(int) - wanted).max() <= 1
    np.testing.assert_array_equal(turns[::2], of_three[::2])
    assert (turns[1] != of_three[1]).any()
    run_job_of_generate(tmp_path / "table", condition=[3, 1], **{**options, "output_format": "parquet"})
    made = pq.read_table(next((tmp_path / "table").rglob("images/*.parquet")))
    assert made["label"].to_pylist() == [3, 1, 3, 1, 3]
    shard = next((tmp_path / "table").rglob("images/*.parquet"))
    run_job("encode", shard, trained.bundle, tmp_path / "again")
    assert [row["label"] for row in rows(tmp_path / "again")] == [3, 1, 3, 1, 3]


def run_job_of_generate(output: Path, **options: Any) -> None:
    from pipeline.beam.launch import launch

    launch(JobOptions(verb="generate", output=str(output), **options), [])


def images_of(output: Path) -> Pixels:
    return np.load(next(output.rglob("*.npz")))["images"].reshape(-1, *SHAPE)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({}, "told 'label' of each image: give --condition, a class"),
        ({"condition": "5"}, "--condition: '5', no class from 0 to 4"),
        ({"condition": ["1", "one"]}, "'one', no class"),
    ],
)
def test_conditions_of_generate_that_are_none(
    trained: Trained, options: dict[str, Any], text: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=text):
        prepare(JobOptions(verb="generate", model=trained.bundle, output=str(tmp_path / "o"), count=2, **options))


def test_a_model_that_is_told_nothing(model: Any, shards: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="leave out --condition-column"):
        prepare(
            JobOptions(
                verb="encode", model=model.bundle, input=str(shards), output=str(tmp_path / "o"),
                condition_column="label",
            )
        )  # fmt: skip
    with pytest.raises(UsageError, match="leave out --condition"):
        prepare(JobOptions(verb="generate", model="zoo:mnist-vae", output=str(tmp_path / "o"), count=2, condition="3"))


def test_a_column_that_is_not_there(trained: Trained, pixels: Pixels, classes: Pixels, tmp_path: Path) -> None:
    shard = table(tmp_path / "in/x.parquet", pixels, digit=pa.array(classes))
    job = {"verb": "encode", "model": trained.bundle, "input": str(shard), "output": str(tmp_path / "o")}
    with pytest.raises(InputError, match=r"no column 'label'; set --condition-column to one of: .*digit: int64"):
        prepare(JobOptions(**job))
    assert prepare(JobOptions(**job, condition_column="digit")).config.condition.column == "digit"
    wrong = table(tmp_path / "in/x.parquet", pixels, label=pa.array(classes + CLASSES))
    with pytest.raises(InputError, match=r"as invalid_condition, such as .*column 'label' has \d, no class"):
        prepare(JobOptions(**{**job, "input": str(wrong)}))


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["encode", "reconstruct"])
def test_records_without_a_condition_are_rejects(
    verb: str, trained: Trained, pixels: Pixels, classes: Pixels, tmp_path: Path
) -> None:
    told = [None, CLASSES, -1, *classes[3:].tolist()]
    shard = table(tmp_path / "in/x.parquet", pixels, label=pa.array(told, pa.int64()))
    run_job(verb, shard, trained.bundle, tmp_path / "out", gate={"max_reject_fraction": 1})
    rejects = rows(tmp_path / "out", "rejects")
    assert [(row["index"], row["reason"]) for row in rejects] == [(i, "invalid_condition") for i in range(3)]
    assert [row["detail"].partition(";")[0] for row in rejects] == [
        "column 'label' has no value",
        f"column 'label' has {CLASSES}, no class from 0 to {CLASSES - 1}",
        f"column 'label' has -1, no class from 0 to {CLASSES - 1}",
    ]
    assert all(row["data"] for row in rejects)
    np.testing.assert_allclose(latents_of(tmp_path / "out"), trained.encode(pixels, classes)[3:], rtol=1e-5, atol=1e-5)
    assert verify(str(tmp_path / "out"), deep=True).problems == ()


@pytest.mark.slow
def test_another_column_is_another_output(trained: Trained, pixels: Pixels, classes: Pixels, tmp_path: Path) -> None:
    shard = table(
        tmp_path / "in/x.parquet", pixels, label=pa.array(classes), other_label=pa.array((classes + 1) % CLASSES)
    )
    output = tmp_path / "out"
    assert run_job("encode", shard, trained.bundle, output)["run"]["units"] == 1
    assert run_job("encode", shard, trained.bundle, output)["run"]["units"] == 0, "nothing is done again"
    with pytest.raises(OutputError, match="condition"):
        run_job("encode", shard, trained.bundle, output, condition_column="other_label")
    run_job("encode", shard, trained.bundle, output, condition_column="other_label", overwrite=True)
    wanted = trained.encode(pixels, (classes + 1) % CLASSES)
    np.testing.assert_allclose(latents_of(output), wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_latent_types_variance_and_executors(trained: Trained, pixels: Pixels, classes: Pixels, tmp_path: Path) -> None:
    shard = table(tmp_path / "in/x.parquet", pixels, label=pa.array(classes))
    wanted = trained.encode(pixels, classes)
    for executor in ("onnx", "tensorflow"):
        output = tmp_path / executor
        run_job("encode", shard, trained.bundle, output, executor=executor, variance=True, sample=1, flip=True)
        found = rows(output)
        logarithm = trained.encoder.predict([pixels / np.float32(255), as_given("one_hot", classes)], verbose=0)[1]
        variance = np.array([row["latent_variance"] for row in found])
        np.testing.assert_allclose(variance, np.exp(logarithm), rtol=1e-5)
    run_job("encode", shard, trained.bundle, tmp_path / "int8", latent_type="int8")
    said = json.loads(pq.read_schema(tmp_path / "int8/latents/x.parquet").metadata[b"latentlake.latent"])
    stored = np.array([row["latent"] for row in rows(tmp_path / "int8")])
    back = stored * np.array(said["scale"]) + np.array(said["offset"])
    assert (np.abs(back - wanted) <= np.array(said["scale"]) * 0.51).all()


@pytest.mark.slow
def test_retry_after_another_decision(
    trained: Trained, pixels: Pixels, classes: Pixels, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Images of another size are rejects; the retry, which resizes them, tells the model the same."""
    from pipeline.cli.command import main

    files, pixels = files_of(pixels), pixels.copy()
    files[4], pixels[4] = png(np.full((16, 12), 100, np.uint8)), 100
    columns = {"image": pa.array(files, pa.binary()), "label": pa.array(classes)}
    (tmp_path / "in").mkdir()
    pq.write_table(pa.table(columns), tmp_path / "in/x.parquet")
    run_job("encode", tmp_path / "in", trained.bundle, tmp_path / "out", gate={"max_reject_fraction": 1})
    assert len(rows(tmp_path / "out")) == COUNT - 1
    assert main(["retry", str(tmp_path / "out"), "--resize", "stretch"]) == 0
    np.testing.assert_allclose(latents_of(tmp_path / "out"), trained.encode(pixels, classes), rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_a_shard_in_pieces_is_the_same(trained: Trained, pixels: Pixels, classes: Pixels, tmp_path: Path) -> None:
    """A row's bits depend on its own image and class alone."""
    run_job(
        "encode", table(tmp_path / "a/x.parquet", pixels, label=pa.array(classes)), trained.bundle, tmp_path / "one"
    )
    for i in range(0, COUNT, 3):
        part = slice(i, i + 3)
        table(tmp_path / f"b/{i:02d}.parquet", pixels[part], label=pa.array(classes[part]))
    run_job("encode", tmp_path / "b", trained.bundle, tmp_path / "many")
    np.testing.assert_array_equal(latents_of(tmp_path / "one"), latents_of(tmp_path / "many"))
