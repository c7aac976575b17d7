"""The options about inputs and stores, which the commands of the pipeline and of the models share."""

from argparse import Namespace
from dataclasses import fields
from typing import Any

from lake.cli.option import Option, area, level, sides, size
from lake.formats import FORMATS, MIXED
from lake.images.types import Color, DecodeMode, Orientation, Pages, PixelLayout, Resize
from lake.storage.options import StoreOptions

GAUSSIAN, POISSON_GAUSSIAN = "gaussian", "poisson-gaussian"  # what the noise of images is

INPUT = (
    Option(
        flag="--input",
        group="input",
        field="input",
        many=True,
        required=True,
        metavar="URI",
        help="shards to read: files, globs in quotes (** crosses directories), directories",
    ),
    Option(
        flag="--format",
        group="input",
        field="format",
        choices=("auto", MIXED, *FORMATS),
        help="format of the shards; auto tells it by name, else by content; mixed reads shards of several formats",
    ),
    Option(
        flag="--image",
        group="input",
        field="image",
        metavar="NAME",
        help="feature, column, array or member extension with the image or vector (default: the usual names)",
    ),
    Option(
        flag="--key",
        group="input",
        field="key",
        metavar="NAME",
        help="feature or column with the records' keys (default: the usual names)",
    ),
    Option(
        flag="--carry",
        group="input",
        field="carry",
        many=True,
        metavar="NAME",
        help="columns, features or sidecars to carry over (default: all labels; 'none' for none)",
    ),
    Option(
        flag="--resize",
        group="images",
        field="resize",
        choices=tuple(Resize),
        help="make images of another size the model's size (default: such an image is a reject)",
    ),
    Option(
        flag="--decode",
        group="images",
        field="decode",
        choices=tuple(DecodeMode),
        help="with --resize: decode in full (default {default}), or fast: a JPEG at 1/2, 1/4 or 1/8 of its sides, the "
        "smallest that is still twice the model's size",
    ),
    Option(
        flag="--color",
        group="images",
        field="color",
        choices=tuple(Color),
        help="convert also where it loses colour, RGB to grey (default strict: such an image is a reject)",
    ),
    Option(
        flag="--exif-orientation",
        group="images",
        field="orientation",
        choices=tuple(Orientation),
        help="turn images upright by their EXIF tag, or take pixels as they are stored",
    ),
    Option(
        flag="--layout",
        group="images",
        field="layout",
        choices=tuple(PixelLayout),
        help="order of the sides of images that are arrays or lists of numbers; auto: channels first where only that "
        "can be meant (default: hwc of arrays and flat lists, auto of nested lists and .npy members)",
    ),
    Option(
        flag="--image-shape",
        group="images",
        field="image_shape",
        type=sides,
        metavar="H,W,C",
        help="height, width and channels of images that are bare pixels in tfrecord, parquet, arrow or csv shards",
    ),
    Option(
        flag="--image-dtype",
        group="images",
        field="image_dtype",
        choices=("uint8", "uint16", "int16", "int32", "int64", "float16", "float32", "float64"),
        help="type of the numbers of bare pixels in bytes, little-endian (default: uint8 or uint16, by their number)",
    ),
    Option(
        flag="--max-pixels",
        group="images",
        field="max_pixels",
        type=area,
        metavar="N",
        help="an image with more pixels, by its header, is a reject (default {default})",
    ),
    Option(
        flag="--pages",
        group="images",
        field="pages",
        choices=tuple(Pages),
        help="what a file of several images does: its first one is taken, every page of a TIFF is denoised, or it is a "
        "reject (default: reject where images are written, else first)",
    ),
    Option(
        flag="--white",
        group="images",
        field="white",
        type=level,
        metavar="N",
        help="value of white in floating pixels (default {default:g}); images are written on the same scale",
    ),
    Option(
        flag="--max-record-bytes",
        group="input",
        field="max_record_bytes",
        type=size,
        metavar="N",
        help="a record with more bytes is a reject (default {default})",
    ),
)
STORES = (
    Option(
        flag="--gcs-endpoint",
        group="stores",
        field="gcs_endpoint",
        metavar="URL",
        help="server of gs:// (default: Google's); over plain http no credentials are sent to it",
    ),
    Option(
        flag="--s3-endpoint",
        group="stores",
        field="s3_endpoint",
        metavar="URL",
        help="server of s3:// (default: Amazon's, or what the client's configuration names)",
    ),
    Option(
        flag="--requester-pays",
        group="stores",
        field="requester_pays",
        metavar="PROJECT",
        help="project that pays for requests to buckets whose owners do not",
    ),
    Option(
        flag="--anonymous",
        group="stores",
        field="anonymous",
        switch=True,
        help="use no credentials: for public buckets",
    ),
)


def given(options: Namespace, kind: type[Any]) -> dict[str, Any]:
    """The fields of a dataclass that the command line sets. An option that was not typed has no entry.

    Args:
      options: the parsed command line.
      kind: the dataclass.

    >>> given(Namespace(anonymous=True, verbose=False), StoreOptions)
    {'anonymous': True}
    """
    return {field.name: getattr(options, field.name) for field in fields(kind) if hasattr(options, field.name)}


def store_options(options: Namespace) -> StoreOptions:
    """The store options of a command line.

    Raises:
      UsageError: an endpoint is no URL of a server, or holds a password.
    """
    return StoreOptions(**given(options, StoreOptions))
