"""Galleries of finished jobs: the images are those that the answers name, in their order."""

import base64
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lake.core.errors import UsageError
from pipeline.explore.output import Output
from pipeline.report.make_gallery import drift_gallery, duplicate_gallery, similar_gallery
from tests.conftest import Model, Pixels, png
from tests.pipeline.explore.values import clustered, make_output
from tests.pipeline.report.page.parsed import Page, parse


def gallery(output: Output, found: Any, file: Path, **more: Any) -> Page:
    output.gallery(found, file, **more)
    return parse(file.read_text())


def pictures(page: Page) -> list[np.ndarray]:
    """The pictures of a page, in the order of its images."""
    uris = dict(page.data["pictures"])
    uris |= {str(one["id"]).removeprefix("picture-"): one["src"] for one in page.named("img") if one.get("id")}
    files = [base64.b64decode(uris[str(one["picture"]["id"])].partition(",")[2]) for one in page.data["images"]]
    return [np.asarray(Image.open(io.BytesIO(file))) for file in files]


def number(shown: Mapping[str, Any]) -> int:
    """Which of all digits an image is; keys are those of its shard."""
    return {"a/train-0.parquet": 0, "a/train-1.parquet": 700, "b/train-2.parquet": 1000}[shown["shard"]] + shown[
        "index"
    ]


def test_neighbours_stand_behind_their_query(encoded: Path, digits: Pixels, tmp_path: Path) -> None:
    output = Output(encoded)
    found = output.similar(["00005.png", "00700.png"], k=4)
    page = gallery(output, found, tmp_path / "similar.html")
    rows = found.to_pylist()
    keys = ["00005.png", *(row["key"] for row in rows[:4]), "00700.png", *(row["key"] for row in rows[4:])]
    assert [image["key"] for image in page.data["images"]] == keys
    for got, image in zip(pictures(page), page.data["images"], strict=True):
        np.testing.assert_array_equal(got, digits[number(image)])
    assert page.data["keys"] == list(dict.fromkeys(row["key"] for row in rows))
    assert f"distance {rows[0]['distance']:.4g}" in page.text


def test_an_image_is_its_own_query(encoded: Path, digits: Pixels, tmp_path: Path) -> None:
    output = Output(encoded)
    found = output.similar(image=png(digits[5]), k=2)
    page = gallery(output, found, tmp_path / "similar.html", image=png(digits[5]))
    np.testing.assert_array_equal(pictures(page)[0][..., 0], digits[5])
    assert page.data["images"][1]["key"] == "00005.png"


def test_outliers(reconstructed: Path, model: Model, digits: Pixels, tmp_path: Path) -> None:
    """Of an output that has images, those that it wrote."""
    output = Output(reconstructed)
    found = output.outliers(top=3)
    page = gallery(output, found, tmp_path / "outliers.html")
    keys = found.table.column("key").to_pylist()
    assert page.data["keys"] == [image["key"] for image in page.data["images"]] == keys
    for got, image in zip(pictures(page), page.data["images"], strict=True):
        made = model.reconstruct(digits[number(image)][None])[0]
        np.testing.assert_allclose(got, np.round(np.clip(made, 0, 1) * 255), atol=1)


def test_groups_of_duplicates(encoded: Path, digits: Pixels, tmp_path: Path) -> None:
    output = Output(encoded)
    distances = np.sort(output.similar(output.latents().keys.to_pylist(), k=1).column("distance").to_numpy())
    found = output.duplicates(threshold=float(distances[20]))
    page = gallery(output, found, tmp_path / "duplicates.html")
    assert page.data["keys"] == found.dropped.column("key").to_pylist()
    shown = [image["key"] for image in page.data["images"]]
    assert shown == found.table.column("key").to_pylist() and len(shown) > 4
    np.testing.assert_array_equal(pictures(page)[1], digits[number(page.data["images"][1])])
    groups = duplicate_gallery(output._committed, found).groups
    assert [len(group.images) for group in groups] == np.bincount(found.table.column("group").to_numpy())[1:].tolist()
    assert all(group.tags[0] == "keep" and set(group.tags[1:]) == {"drop"} for group in groups)


def test_large_groups_are_cut(tmp_path: Path) -> None:
    latents = np.repeat(clustered(40, 4), [30, *[2] * 30, *[1] * 9], axis=0)
    output = Output(make_output(tmp_path / "o", latents))
    found = duplicate_gallery(output._committed, output.duplicates(threshold=1e-3))
    assert [len(group.images) for group in found.groups] == [6, *[2] * 30]
    assert found.groups[0].title == "Group 1: 30 records, 6 shown"
    assert len(found.keys) == 29 + 30


def test_copies_in_another_output_stand_side_by_side(
    encoded: Path, reconstructed: Path, model: Model, digits: Pixels, tmp_path: Path
) -> None:
    output, other = Output(encoded), Output(reconstructed)
    found = output.duplicates(other, threshold=1e-3)
    with pytest.raises(UsageError, match="give it as other="):
        output.gallery(found, tmp_path / "no.html")
    with pytest.raises(UsageError, match=r"'k1' is no answer; give what similar, "):
        output.gallery("k1", tmp_path / "no.html")
    page = gallery(output, found, tmp_path / "copies.html", other=other)
    (here, there) = pictures(page)[:2]
    row = found.table.to_pylist()[0]
    np.testing.assert_array_equal(here, digits[number(row)])
    made = model.reconstruct(digits[number({n: row[f"against_{n}"] for n in ("shard", "index")})][None])[0]
    np.testing.assert_allclose(there, np.round(np.clip(made, 0, 1) * 255), atol=1)


def test_a_comparison_has_images_of_both(encoded: Path, reconstructed: Path, tmp_path: Path) -> None:
    output = Output(encoded)
    found = output.compare(reconstructed)
    page = gallery(output, found, tmp_path / "compare.html", other=reconstructed)
    assert f"No drift above AUC 0.539 against {encoded}" in page.text and f"{found.auc:.3f}" in page.text
    assert len(page.data["images"]) == 4 * 18
    with pytest.raises(UsageError, match="give the other one as other="):
        output.gallery(found, tmp_path / "no.html")


def test_what_the_other_side_has_nothing_like_comes_first(tmp_path: Path) -> None:
    """Ten records far away from all others."""
    far = np.concatenate([clustered(200, 4), 100 + clustered(10, 4, seed=1)])
    a, b = (make_output(tmp_path / name, latents) for name, latents in (("a", clustered(200, 4, seed=2)), ("b", far)))
    output = Output(a)
    first = drift_gallery(output._committed, output.compare(b), Output(b)._committed).groups[0]
    assert {image.record.key for image in first.images[:10]} == {f"k{row}" for row in range(200, 210)}


def test_without_images_the_page_says_why(tmp_path: Path) -> None:
    output = Output(make_output(tmp_path / "o", clustered(30, 4)))
    page = gallery(output, output.similar("k3", k=2), tmp_path / "similar.html")
    assert len(page.named("img")) == 1  # that of the viewer
    assert "k3" in page.text and page.data["keys"]


def test_many_neighbours_are_cut(tmp_path: Path) -> None:
    output = Output(make_output(tmp_path / "o", clustered(300, 4)))
    answer = output.similar(output.latents().keys.to_pylist(), k=10)
    found = similar_gallery(output._committed, answer.table)
    assert sum(len(group.images) for group in found.groups) == 240 + 24
    assert found.notes == ["The first 240 of 3,000 are shown; --output-table has all."]
    page = gallery(output, answer.table.slice(0, 10), tmp_path / "rows.html")  # the rows that somebody has chosen
    assert len(page.data["keys"]) == 10
