"""The command-line flags of latents: how they are made from what the model gives, and how they are written."""

from lake.cli.option import Option, count, finite_number, level
from lake.formats.common.vector_storage import VECTOR_TYPES
from pipeline.options.latent_form import LATENT_FORMATS, NORMALIZE, POOL

DIMENSION, TABLE = "dimension", "table"

LATENT = Option(
    flag="--latent",
    group="output",
    field="latent",
    repeated=True,
    metavar="NAME",
    help="which latent of the bundle to write; given several times, all of one pass: the first as the column latent, "
    "each other one as latent_NAME (default: the model's own)",
)
LATENT_FORMAT = Option(
    flag="--latent-format",
    group="output",
    field="latent_format",
    choices=LATENT_FORMATS,
    help="how latents are written: as tables (default {default}), or for trainers as tars of WebDataset with .npy "
    "or .safetensors members, as MDS of MosaicML, or as ArrayRecord, which Grain reads",
)

STORED = (
    Option(
        flag="--latent-type",
        group="output",
        field="latent_type",
        choices=VECTOR_TYPES,
        help="type of the written numbers (default {default}); what is beyond its range is clipped, and counted",
    ),
    Option(
        flag="--latent-quantization",
        group="output",
        field="latent_quantization",
        metavar="dimension|table|URI",
        help="scale and offset of int8, uint8 and binary: chosen from a first sample by dimension (the default) or for "
        "the whole table, or those of a JSON file",
    ),
    Option(
        flag="--latent-scale",
        group="output",
        field="latent_scale",
        type=level,
        metavar="F",
        help="write (latent - shift) * F, such as 0.18215 (default {default}); decode undoes it",
    ),
    Option(
        flag="--latent-shift",
        group="output",
        field="latent_shift",
        type=finite_number,
        metavar="S",
        help="write (latent - S) * scale (default {default}); decode undoes it",
    ),
)

MADE = (
    Option(
        flag="--pool",
        group="output",
        field="pool",
        choices=POOL,
        help="one vector of a grid of tokens or places: the mean of all, or the first token (default: the whole grid)",
    ),
    Option(
        flag="--normalize",
        group="output",
        field="normalize",
        choices=NORMALIZE,
        help="divide each latent by its Euclidean length; one of zeros stays zeros (default: as the model gives it)",
    ),
    Option(
        flag="--sample",
        group="output",
        field="sample",
        type=count,
        metavar="SEED",
        help="write a sample of each latent's distribution (variational autoencoders only; default: its mean)",
    ),
    Option(
        flag="--flip",
        group="output",
        field="flip",
        switch=True,
        help="also write the latent of each mirrored image, as the column latent_flip",
    ),
)
