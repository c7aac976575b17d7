"""A job never reads what it writes: the places of input and output are compared, not their texts."""

from pathlib import Path

import pytest

from lake.core.errors import UsageError
from lake.inputs.apart import check_apart


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory ``photos`` with one below it, links to both, and a directory beside them."""
    (tmp_path / "photos/2024").mkdir(parents=True)
    (tmp_path / "photos/a [1]").mkdir()
    (tmp_path / "photos/a.png").write_bytes(b"x")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to("photos")
    (tmp_path / "elsewhere/inner").symlink_to(tmp_path / "photos/2024")
    monkeypatch.chdir(tmp_path)
    return tmp_path


INSIDE = [
    ("photos", "photos/clean"),
    ("photos", "./photos/clean"),
    ("./photos/", "photos//clean"),
    ("photos", "photos"),
    ("photos", "photos/_clean"),
    ("photos", "elsewhere/../photos/clean/more"),
    ("photos", "link/clean"),
    ("link", "photos/clean"),
    ("photos", "elsewhere/inner/clean"),
    ("photos", "{here}/photos/clean"),
    ("file://{here}/photos", "photos/clean"),
    ("{here}/photos", "file://{here}/link/clean"),
    (".", "clean"),
    ("photos/a [1]", "photos/a [1]/clean"),
    ("photos/a [1]/**/*.png", "photos/a [1]/clean"),
    ("photos/{2023,2024}", "photos/2024/clean"),
    ("photos/**/*.png", "photos/2024/clean"),
    ("photos/**/*.png", "link/clean"),
    ("photos/*/*.png", "photos/clean"),
    ("gs://b/x", "gs://b/x/y"),
    ("gs://b/x/", "gs://b/x"),
    ("s3://b/x", "s3://b//x/./y"),
    ("s3://b/x", "s3://b/z/../x/y"),
    ("s3://b/x", "s3://b/x/../y"),  # an object of this name is listed below x
    ("S3://b/x", "s3://b/x/y"),
    ("s3://b", "s3://b/y"),
    ("s3://b/x/**", "s3://b/x/y"),
    ("s3://b/x-{0..3}/", "s3://b/x-3/y"),
]
AROUND = [
    ("photos/2024", "photos"),
    ("elsewhere/inner", "photos"),
    ("photos/2024/*.png", "link"),
    ("photos/a.png", "./photos"),
    ("gs://b/x/y/*.tar", "gs://b/x"),
    ("gs://b/x/y.tar", "gs://b/x//"),
]
APART = [
    ("photos", "photos-clean"),
    ("photos/", "photos/../clean"),
    ("photos", "elsewhere/clean"),
    ("photos/*.png", "photos/clean"),  # the glob does not reach below it
    ("*.png", "clean"),
    ("photos/20*/**", "photos/clean"),
    ("photos/a.png", "photos/clean"),
    ("gs://b/x", "gs://b/xy"),
    ("gs://b/x", "s3://b/x/y"),
    ("gs://b/x", "x/y"),
    ("gs://b/*.tar", "gs://b/out"),
]


@pytest.mark.parametrize(("input", "output"), INSIDE)
def test_an_output_inside_the_input_is_refused(here: Path, input: str, output: str) -> None:
    input, output = (text.replace("{here}", str(here)) for text in (input, output))
    with pytest.raises(UsageError, match="lies inside the input"):
        check_apart(["elsewhere/none.png", input], output)


@pytest.mark.parametrize(("input", "output"), AROUND)
def test_an_output_around_the_input_is_refused(here: Path, input: str, output: str) -> None:
    del here
    with pytest.raises(UsageError, match="lies inside the output"):
        check_apart([input], output)


@pytest.mark.parametrize(("input", "output"), APART)
def test_an_output_beside_the_input_is_not(here: Path, input: str, output: str) -> None:
    del here
    check_apart([input], output)
