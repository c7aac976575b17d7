"""The options of the command line, as one table: parsers, help and launcher templates are made from it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One option of the job. ``field`` names the field of ``Settings`` that it sets."""

    flag: str
    field: str
    help: str
    type: Callable[[str], Any] = str
    default: Any = None
    choices: tuple[str, ...] | None = None
    metavar: str | None = None
    required: bool = False
    many: bool = False
    switch: bool = False


def size(text: str) -> int:
    """A number of bytes or pixels, with an optional K, M or G (powers of 1,024).

    Raises:
      ValueError: the text is not such a number, or not positive.
    """
    scale = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}.get(text[-1:].upper(), 1)
    value = int(float(text[:-1]) * scale) if scale > 1 else int(text)
    if value <= 0:
        raise ValueError(text)
    return value


def fraction(text: str) -> float:
    """A number from 0 to 1.

    Raises:
      ValueError: it is not.
    """
    value = float(text)
    if not 0 <= value <= 1:
        raise ValueError(text)
    return value


def count(text: str) -> int:
    """A number from 0 on.

    Raises:
      ValueError: it is not.
    """
    value = int(text)
    if value < 0:
        raise ValueError(text)
    return value


def positive(text: str) -> int:
    """A number from 1 on.

    Raises:
      ValueError: it is not.
    """
    value = int(text)
    if value < 1:
        raise ValueError(text)
    return value


INPUT = (
    Option(
        flag="--input",
        field="input",
        many=True,
        required=True,
        metavar="URI",
        help="shards to read: files, globs in quotes (** crosses directories), directories",
    ),
    Option(
        flag="--format",
        field="format",
        default="auto",
        choices=("auto", "tfrecord", "webdataset", "parquet", "folder", "array"),
        help="format of the shards; auto tells it by name, else by content",
    ),
    Option(
        flag="--image",
        field="image",
        metavar="NAME",
        help="feature, column, array or member extension with the image or vector (default: the usual names)",
    ),
    Option(
        flag="--key",
        field="key",
        metavar="NAME",
        help="feature or column with the records' keys (default: the usual names)",
    ),
    Option(
        flag="--carry",
        field="carry",
        many=True,
        metavar="NAME",
        help="columns, features or sidecars to carry over (default: all labels; 'none' for none)",
    ),
    Option(
        flag="--resize",
        field="resize",
        choices=("fit", "crop", "pad", "stretch"),
        help="make images of another size the model's size (default: such an image is a reject)",
    ),
    Option(
        flag="--color",
        field="color",
        default="strict",
        choices=("strict", "convert"),
        help="convert also where it loses colour, RGB to grey (default strict: such an image is a reject)",
    ),
    Option(
        flag="--exif-orientation",
        field="orientation",
        default="apply",
        choices=("apply", "ignore"),
        help="turn images upright by their EXIF tag, or take pixels as they are stored",
    ),
    Option(
        flag="--max-pixels",
        field="max_pixels",
        type=size,
        default=1 << 27,
        metavar="N",
        help="an image with more pixels, by its header, is a reject (default 128M)",
    ),
    Option(
        flag="--max-record-bytes",
        field="max_record_bytes",
        type=size,
        default=256 << 20,
        metavar="N",
        help="a record with more bytes is a reject; a TFRecord whose length claims more fails its shard (default 256M)",
    ),
)

JOB = (
    Option(flag="--model", field="model", required=True, metavar="BUNDLE", help="bundle made by 'python -m model'"),
    Option(flag="--output", field="output", required=True, metavar="URI", help="directory to write to"),
    *INPUT,
    Option(
        flag="--overwrite",
        field="overwrite",
        switch=True,
        default=False,
        help="replace what an output made with another model or other options holds, unit by unit",
    ),
    Option(
        flag="--reject-bytes",
        field="reject_bytes",
        type=size,
        default=1 << 20,
        metavar="N",
        help="how many of a rejected record's original bytes rejects/ keeps (default 1M)",
    ),
    Option(
        flag="--max-reject-fraction",
        field="max_reject_fraction",
        type=fraction,
        default=0.01,
        metavar="F",
        help="more rejects than this share of all records keep _SUCCESS back (default 0.01)",
    ),
    Option(
        flag="--max-failed-units",
        field="max_failed_units",
        type=count,
        default=0,
        metavar="N",
        help="more failed units than this keep _SUCCESS back (default 0)",
    ),
    Option(
        flag="--threads",
        field="threads",
        type=positive,
        metavar="N",
        help="threads of a worker process (default: its cores); never changes a byte of output",
    ),
)
