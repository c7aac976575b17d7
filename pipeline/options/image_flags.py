"""The command-line flags of images: how they are written, resized to buckets, and denoised."""

from lake.cli.option import Option, area, ensemble, finite_number, number_or_word, percent, positive
from lake.cli.options import GAUSSIAN as GAUSSIAN
from lake.cli.options import POISSON_GAUSSIAN as POISSON_GAUSSIAN
from lake.formats import FORMATS
from lake.images.types import Alpha

ESTIMATE = "estimate"

BUCKETS = (
    Option(
        flag="--bucket",
        group="images",
        field="bucket",
        type=positive,
        metavar="N",
        help="for a model of any size: resize and crop each image to the one of a few sizes whose aspect ratio is "
        "nearest; their sides are multiples of N pixels, as 64 for SDXL (default: images keep their sizes)",
    ),
    Option(
        flag="--max-area",
        group="images",
        field="max_area",
        type=area,
        metavar="HxW",
        help="with --bucket: largest area of these sizes, in pixels or as height and width (default 1024x1024)",
    ),
)

IMAGES = (
    Option(
        flag="--output-format",
        group="output",
        field="output_format",
        choices=tuple(name for name, known in FORMATS.items() if known.writer_class),
        help="write new shards in this format (default: copies of the input's shards with new images)",
    ),
    Option(
        flag="--image-format",
        group="images",
        field="image_format",
        choices=("lossless", "png", "jpeg", "webp", "tiff", "same"),
        help="format of each image (default lossless: PNG, or TIFF for float pixels); same: that of the input image",
    ),
    Option(
        flag="--quality",
        group="images",
        field="quality",
        type=percent,
        metavar="N",
        help="quality of JPEG and lossy WebP, 1 to 100 (default {default})",
    ),
)

ERROR_MAP = Option(
    flag="--error-map",
    group="images",
    field="error_map",
    switch=True,
    help="also write the absolute difference from the input for each pixel, as error_maps/",
)

NO_IMAGES = Option(
    flag="--no-images", group="images", field="images", switch=True, help="write latents and errors only, no images"
)

DENOISE = (
    Option(
        flag="--noise-level",
        group="input",
        field="noise_level",
        type=number_or_word,
        metavar="SIGMA",
        help="noise level given to the model: a standard deviation where white is 255, a column, or 'estimate'",
    ),
    Option(
        flag="--ensemble",
        group="images",
        field="ensemble",
        type=ensemble,
        metavar="N",
        help="show each image to the model N times, turned (4) and mirrored (8) too, and take the mean of what it "
        "gives (default {default}): a little better, and it takes N times as long",
    ),
    Option(
        flag="--noise",
        group="input",
        field="noise",
        choices=(GAUSSIAN, POISSON_GAUSSIAN),
        help="what the noise is (default {default}); poisson-gaussian: that of photons and electronics, which is made "
        "white before the model sees the image",
    ),
    Option(
        flag="--gain",
        group="input",
        field="gain",
        type=number_or_word,
        metavar="G",
        help="with --noise poisson-gaussian: numbers of a pixel for each electron (default 'estimate', by each image)",
    ),
    Option(
        flag="--read-noise",
        group="input",
        field="read_noise",
        type=number_or_word,
        metavar="R",
        help="with --noise poisson-gaussian: standard deviation without light, in numbers of a pixel (default "
        "'estimate', by each image)",
    ),
    Option(
        flag="--black-level",
        group="input",
        field="black_level",
        type=finite_number,
        metavar="B",
        help="with --noise poisson-gaussian: mean without light, in numbers of a pixel (default {default:g})",
    ),
    Option(
        flag="--alpha",
        group="input",
        field="alpha",
        choices=tuple(Alpha),
        help="whether the last of two or four channels is alpha, which stays as it is, or data: auto (usual): what the "
        "image file says, of arrays alpha in four channels of 8 bits alone; last: alpha; none: data",
    ),
    Option(
        flag="--reference",
        group="input",
        field="reference",
        many=True,
        metavar="URI",
        help="clean images with the same keys in the same shards: adds psnr_reference and ssim_reference",
    ),
)
