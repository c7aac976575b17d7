"""The options of the command line, as one table: parsers, help and launcher templates are made from it."""

from dataclasses import replace

from pipeline.option import Option, count, fraction, percent, positive, size

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
        help="a record with more bytes is a reject (default 256M)",
    ),
)

MODEL = (
    Option(flag="--model", field="model", required=True, metavar="BUNDLE", help="bundle made by 'python -m model'"),
    Option(flag="--output", field="output", required=True, metavar="URI", help="directory to write to"),
)

RUN = (
    Option(
        flag="--overwrite",
        field="overwrite",
        switch=True,
        default=False,
        help="replace what an output made with another model or other options holds, unit by unit",
    ),
    Option(
        flag="--on-damage",
        field="on_damage",
        default="fail",
        choices=("fail", "reject"),
        help="of a damaged shard: it fails by name, or what is intact is kept and a reject says what is lost",
    ),
    Option(
        flag="--expect-records",
        field="expect_records",
        metavar="N|URI",
        help="records that the input must have in all, or JSON files that count them by shard",
    ),
    Option(
        flag="--prune",
        field="prune",
        switch=True,
        default=False,
        help="drop what the output holds of shards that are gone (default: it is kept)",
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
    Option(
        flag="--detach",
        field="detach",
        switch=True,
        default=False,
        help="leave once the runner has the job (status 0 says submitted): its pipeline commits, or fails",
    ),
)

STORES = (
    Option(
        flag="--gcs-endpoint",
        field="gcs_endpoint",
        metavar="URL",
        help="server of gs:// (default: Google's); over plain http no credentials are sent to it",
    ),
    Option(
        flag="--s3-endpoint",
        field="s3_endpoint",
        metavar="URL",
        help="server of s3:// (default: Amazon's, or what the client's configuration names)",
    ),
    Option(
        flag="--requester-pays",
        field="requester_pays",
        metavar="PROJECT",
        help="project that pays for requests to buckets whose owners do not",
    ),
    Option(
        flag="--anonymous",
        field="anonymous",
        switch=True,
        default=False,
        help="use no credentials: for public buckets",
    ),
)

VARIANCE = Option(
    flag="--latent-variance",
    field="variance",
    switch=True,
    default=False,
    help="of a variational autoencoder also each latent's variance, as the column latent_variance",
)

IMAGES = (
    Option(
        flag="--output-format",
        field="output_format",
        choices=("tfrecord", "webdataset", "parquet", "folder", "array"),
        help="write the images anew in this format (default: the input's shards again, with new images)",
    ),
    Option(
        flag="--image-format",
        field="image_format",
        default="lossless",
        choices=("lossless", "png", "jpeg", "webp", "tiff", "same"),
        help="of each image (default lossless: PNG, or TIFF for floating pixels); same: as it came",
    ),
    Option(
        flag="--quality",
        field="quality",
        type=percent,
        default=90,
        metavar="N",
        help="of JPEG and lossy WebP, 1 to 100 (default 90)",
    ),
)

ERROR_MAP = Option(
    flag="--error-map",
    field="error_map",
    switch=True,
    default=False,
    help="also write by how much each pixel differs from the input, as error_maps/",
)

NO_IMAGES = Option(
    flag="--no-images", field="images", switch=True, default=True, help="write latents and errors only, no images"
)

DENOISE = (
    Option(
        flag="--noise-level",
        field="noise_level",
        metavar="SIGMA",
        help="noise that the model is told of: a standard deviation where white is 255, a column, or 'estimate'",
    ),
    Option(
        flag="--reference",
        field="reference",
        many=True,
        metavar="URI",
        help="clean images with the same keys in the same shards: adds psnr_reference and ssim_reference",
    ),
)

GENERATE = (
    Option(flag="--count", field="count", type=positive, required=True, metavar="N", help="how many images"),
    Option(
        flag="--seed",
        field="seed",
        type=count,
        default=0,
        metavar="S",
        help="image i of a seed is always the same one (default 0)",
    ),
    Option(
        flag="--interpolate",
        field="interpolate",
        arity=2,
        metavar="KEY",
        help="instead of sampling the prior, go from one encoded image to another; --input names the latent tables",
    ),
    *(
        replace(option, required=False)
        for option in INPUT
        if option.flag in ("--input", "--format", "--image", "--key")
    ),
)

_LATENTS = tuple(
    option for option in INPUT if option.flag not in ("--resize", "--color", "--exif-orientation", "--max-pixels")
)
_SECOND = ("--resize", "--color", "--exif-orientation", "--max-pixels", "--max-record-bytes")
_AS_BEFORE = ("--on-damage", "--max-reject-fraction", "--max-failed-units", "--threads")
RETRY = (
    *(replace(option, default=None) for option in INPUT if option.flag in _SECOND),
    *(option for option in RUN if option.flag in _AS_BEFORE),
    Option(
        flag="--input",
        field="input",
        many=True,
        metavar="URI",
        help="where the shards are now (default: where they were)",
    ),
    *STORES,
)
VERIFY = (
    Option(
        flag="--deep",
        field="deep",
        switch=True,
        default=False,
        help="read every byte and every row again (default: names, sizes, footers and counts)",
    ),
    Option(
        flag="--repair",
        field="repair",
        switch=True,
        default=False,
        help="do the units again whose files are wrong, and remove files that belong to none",
    ),
    *STORES,
)
JOBS: dict[str, tuple[Option, ...]] = {
    "encode": (*MODEL, *INPUT, VARIANCE, *RUN, *STORES),
    "reconstruct": (*MODEL, *INPUT, *IMAGES, NO_IMAGES, ERROR_MAP, *RUN, *STORES),
    "denoise": (*MODEL, *INPUT, *DENOISE, *IMAGES, ERROR_MAP, *RUN, *STORES),
    "decode": (*MODEL, *_LATENTS, *IMAGES, *RUN, *STORES),
    "generate": (*MODEL, *GENERATE, *IMAGES, *RUN, *STORES),
}
