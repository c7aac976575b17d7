"""An output as an object: of finished jobs, and of outputs whose latents are chosen."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import latentlake
from lake.core.errors import InputError, LatentlakeError, OutputError, UsageError
from pipeline.explore.output import Output
from pipeline.explore.result_files import write_dropped, write_result
from tests.conftest import Model, Pixels
from tests.pipeline.explore.values import clustered, make_output


def test_the_tables_are_those_of_the_manifest(encoded: Path, tmp_path: Path) -> None:
    """A file that lies among them is not read, whatever a glob would find."""
    output = make_output(tmp_path / "o", clustered(30, 4), sizes=[10, 20])
    pq.write_table(pq.read_table(tmp_path / "o/latents/u0.parquet"), tmp_path / "o/latents/left-behind.parquet")
    table = Output(output).table.to_table()
    assert table.num_rows == len(Output(output)) == 30
    np.testing.assert_array_equal(
        table.column("latent").combine_chunks().flatten().to_numpy().reshape(30, 4), clustered(30, 4)
    )
    assert Output(encoded).table.count_rows() == 1797


def test_a_finished_job(encoded: Path, model: Model, digits: Pixels) -> None:
    output = Output(encoded)
    np.testing.assert_allclose(output.latents().values, model.encode(digits), atol=1e-5)
    assert output.verb == "encode"
    assert output.summary["total"] == json.loads((encoded / "_SUCCESS").read_text())["total"]
    assert output.rejects.count_rows() == 0
    assert output.verify().problems == ()
    assert repr(output) == f"Output({str(encoded)!r}: encode, 1,797 results)"
    frame = output.to_pandas(["key", "label"])
    assert frame.shape == (1797, 2)


def test_images_are_those_that_were_read(encoded: Path, digits: Pixels) -> None:
    keys = ["00005.png", "00699.png", "00000.png"]
    images = Output(encoded).images(keys)
    assert list(images) == keys
    for key, position in zip(keys, (5, 699, 0), strict=True):
        np.testing.assert_array_equal(np.asarray(images[key]), digits[position])


def test_images_that_the_job_wrote_come_first(reconstructed: Path, model: Model, digits: Pixels) -> None:
    (image,) = Output(reconstructed).images("00699.png").values()
    expected = np.round(np.clip(model.reconstruct(digits[699:700])[0], 0, 1) * 255)
    np.testing.assert_allclose(np.asarray(image), expected, atol=1)


def test_an_image_as_a_query(encoded: Path, digits: Pixels, tmp_path: Path) -> None:
    file = tmp_path / "five.png"
    Image.fromarray(digits[5]).save(file)
    output = Output(encoded)
    for image in (file, file.read_bytes()):
        rows = output.similar(image=image, k=2).to_pylist()
        assert rows[0]["key"] == "00005.png"
        assert rows[0]["distance"] < 1e-6
    (by_key,) = output.similar("00005.png", k=1).to_pylist()
    assert by_key["key"] == rows[1]["key"]
    assert by_key["distance"] == pytest.approx(rows[1]["distance"], rel=1e-4)
    file.write_bytes(b"no image")
    with pytest.raises(InputError, match=r"five.png: unknown_format: "):
        output.similar(image=file)
    with pytest.raises(InputError, match=r"none.png: no such file"):
        output.similar(image=tmp_path / "none.png")


def test_a_table_as_queries(tmp_path: Path) -> None:
    values = clustered(300, 6)
    output = Output(make_output(tmp_path / "o", values))
    keys, rows = ["k7", "k3", "k7"], [7, 3, 7]
    lists = pa.array(values[rows].tolist(), pa.list_(pa.float64()))
    for columns in ({"key": keys}, {"latent": lists, "key": keys}):
        pq.write_table(pa.table(columns), tmp_path / "queries.parquet")
        found = output.similar(table=tmp_path / "queries.parquet", k=3)
        distances = np.linalg.norm(values[rows][:, None] - values, axis=2)
        order = np.argsort(distances, axis=1, kind="stable")
        expected = order[:, :3] if "latent" in columns else order[:, 1:4]
        assert found.column("key").to_pylist() == [f"k{row}" for row in expected.ravel()]
        assert found.column("query").to_pylist() == list(np.repeat(keys, 3))
        assert found.column("rank").to_pylist() == [1, 2, 3] * 3


@pytest.mark.parametrize(
    ("columns", "text"),
    [
        ({"x": [1]}, "has neither a column latent nor a column key"),
        ({"key": [None]}, "a key is null"),
        ({"key": ["nobody"]}, "no record has the key 'nobody'; keys are such as 'k0'"),
        ({"latent": [[1.0], [1.0, 2.0]]}, "not lists of one length"),
        ({"latent": ["a"]}, "not lists of one length"),
        ({"latent": [[1.0, 2.0, None, 4.0]]}, "a latent is null, or a number of one"),
        ({"latent": [[1.0, 2.0, 3.0]]}, "queries of 3 numbers, and the output has latents of 4"),
        ({"latent": [[1.0, 2.0, 3.0, float("nan")]]}, "with NaN or infinity have no distance"),
    ],
)
def test_tables_that_are_no_queries(tmp_path: Path, columns: dict[str, list[object]], text: str) -> None:
    output = Output(make_output(tmp_path / "o", clustered(9, 4)))
    pq.write_table(pa.table(columns), tmp_path / "queries.parquet")
    with pytest.raises(UsageError, match=text):
        output.similar(table=tmp_path / "queries.parquet")
    (tmp_path / "queries.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match="no Parquet table"):
        output.similar(table=tmp_path / "queries.parquet")


def test_queries_that_are_none(tmp_path: Path) -> None:
    output = Output(make_output(tmp_path / "o", clustered(9, 4)))
    assert output.similar(latents=[[0.0, 1.0, 2.0, 3.0]], k=2).num_rows == 2  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"latents: numbers of shape \(4,\); give a row of them for each query"):
        output.similar(latents=np.zeros(4))
    with pytest.raises(UsageError, match=r"latents: .*; give a row of numbers for each query"):
        output.similar(latents=[[1.0], [1.0, 2.0]])  # type: ignore[arg-type]
    keys = output.latents().keys
    assert output.similar(keys[3:5], k=1).column("query").to_pylist() == ["k3", "k4"]
    for key in (5, [5]):
        with pytest.raises(UsageError, match=r"\[5\]: keys are text, such as '204'"):
            output.similar(key)  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [5, ["o"], b"o", "", np.zeros(3)])
def test_what_is_no_name(tmp_path: Path, wrong: Any) -> None:
    """Each place that takes a path says that this is none, as for an option of a job."""
    output = Output(make_output(tmp_path / "o", clustered(60, 4)))
    for name, ask in (
        ("output", lambda: Output(wrong)),
        ("output", lambda: latentlake.status(wrong)),
        ("cache", lambda: Output(tmp_path / "o", cache=wrong)),
        ("table", lambda: output.similar(table=wrong)),
        ("other output", lambda: output.duplicates(wrong)),
        ("other output", lambda: output.compare(wrong)),
        ("file", lambda: output.report(wrong)),
        ("file", lambda: output.gallery(output.outliers(), wrong)),
        ("file", lambda: latentlake.export(wrong, output=tmp_path / "bundle")),
        *([] if isinstance(wrong, bytes) else [("image", lambda: output.similar(image=wrong))]),
    ):
        with pytest.raises(UsageError, match=f"^{name}: invalid word value: .*; give some text"):
            ask()


def test_a_table_that_is_lost_is_said_to_be(tmp_path: Path) -> None:
    """An output that is opened shows what it knows without its tables."""
    output = Output(make_output(tmp_path / "o", clustered(9, 4)))
    (tmp_path / "o/latents/u0.parquet").unlink()
    for ask in (lambda: output.table, output.latents, lambda: output.report(tmp_path / "r.html")):
        with pytest.raises(LatentlakeError, match=r"u0.parquet is not the table that the manifest names; .* --repair"):
            ask()
    assert "9 results" in output._repr_html_()


def test_texts_of_numpy_are_keys(tmp_path: Path) -> None:
    output = Output(make_output(tmp_path / "o", clustered(9, 4)))
    with pytest.raises(InputError, match=r"no record has the key 'k9'; keys are such as 'k0'"):
        output.similar(np.str_("k9"))
    with pytest.raises(UsageError, match=r"\[None\]: keys are text"):
        output.images([None])  # type: ignore[list-item]
    with pytest.raises(UsageError, match="o has no column 5; it has"):
        output.to_pandas(5)  # type: ignore[arg-type]


def test_a_column_that_is_not_there(tmp_path: Path) -> None:
    output = Output(make_output(tmp_path / "o", clustered(9, 4)))
    assert output.to_pandas("key")["key"].tolist() == [f"k{row}" for row in range(9)]
    with pytest.raises(UsageError, match=r"o has no column 'shards'; it has key, shard, .*; did you mean shard\?$"):
        output.to_pandas(["key", "shards"])


def test_values_are_checked_as_on_the_command_line(tmp_path: Path) -> None:
    output = Output(make_output(tmp_path / "o", clustered(9, 4)))
    with pytest.raises(UsageError, match="k: invalid positive value: 0"):
        output.similar("k1", k=0)
    with pytest.raises(UsageError, match="did you mean cosine"):
        output.similar("k1", metric="cosin")
    with pytest.raises(UsageError, match="by: invalid choice: 'mse'"):
        output.outliers(by="mse")
    with pytest.raises(UsageError, match="threshold: invalid level value: -1"):
        output.duplicates(threshold=-1)
    with pytest.raises(UsageError, match="give one of --key, --image and --table"):
        output.similar("k1", image=b"")
    with pytest.raises(UsageError, match="did you mean anonymous"):
        Output(tmp_path / "o", anonymus=True)


def test_what_is_no_output(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="no finished job; name the directory that one wrote"):
        Output(tmp_path / "nothing")
    with pytest.raises(OutputError, match=r"is not complete: no _SUCCESS"):
        _ = Output(make_output(tmp_path / "o", clustered(9, 4))).summary


def test_a_notebook_shows_a_headline_and_images(encoded: Path) -> None:
    html = Output(encoded)._repr_html_()
    assert html.count("<img src=") == 12
    assert "encode, 1,797 results" in html


def test_names_are_escaped_and_an_input_that_is_gone_does_no_harm(tmp_path: Path) -> None:
    from pipeline.explore.html import strip_of

    html = strip_of("<script>", [('"><script>alert(1)</script>\n', Image.new("L", (300, 10)))])
    assert "<script>" not in html
    output = make_output(tmp_path / "<b>", clustered(9, 4))
    assert Output(output)._repr_html_().startswith("<div><p>")
    assert "<b>" not in Output(output)._repr_html_()


def test_results_as_files(tmp_path: Path) -> None:
    values = clustered(50, 4)
    values[9] = values[2]
    output = Output(make_output(tmp_path / "o", values, keys=[f'k"{row}\n' for row in range(50)]))
    found = output.duplicates(threshold=1e-6)
    write_result(found.table, str(tmp_path / "all.parquet"))
    assert pq.read_table(tmp_path / "all.parquet").equals(found.table)
    write_dropped(found.dropped, str(tmp_path / "drop.jsonl"))
    (line,) = (tmp_path / "drop.jsonl").read_text().splitlines()
    assert json.loads(line) == {"shard": "u0.tar", "index": 9, "key": 'k"9\n'}
