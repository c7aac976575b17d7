"""The flags of ``latentlake train``, as a table."""

from lake.cli.option import Option, finite_number, fraction, positive
from lake.cli.options import INPUT, POISSON_GAUSSIAN, STORES

_NOT_FOR_TRAINING = {"--key", "--carry"}
EPOCH_KINDS = ("autoencoder", "vae", "dense")  # trained in epochs over samples of one shape
TRAINABLE = (*EPOCH_KINDS, "denoiser")


def natural(text: str) -> int:
    """Parse a seed: an integer of 32 bits, not negative.

    Raises:
      ValueError: the text is something else.

    >>> natural("7")
    7
    """
    value = int(text)
    if not 0 <= value < 1 << 32:
        raise ValueError(text)
    return value


def rate(text: str) -> float:
    """Parse a positive finite number.

    Raises:
      ValueError: the text is something else.

    >>> rate("2e-3")
    0.002
    """
    value = float(text)
    if not 0 < value < float("inf"):
        raise ValueError(text)
    return value


def number_or_estimate(text: str) -> float | str:
    """Parse a noise level: a positive number, or the word 'estimate'.

    Raises:
      ValueError: the text is something else.

    >>> number_or_estimate("25"), number_or_estimate("estimate")
    (25.0, 'estimate')
    """
    return text if text == "estimate" else rate(text)


def rate_or_photons(text: str) -> float | str:
    """Parse what noise is: a positive number, its standard deviation, or the word 'poisson-gaussian'.

    Raises:
      ValueError: the text is something else.

    >>> rate_or_photons("25"), rate_or_photons("poisson-gaussian")
    (25.0, 'poisson-gaussian')
    """
    return text if text == POISSON_GAUSSIAN else rate(text)


SCHEDULE = (
    Option(
        flag="--latent-dim",
        group="training",
        field="latent_dim",
        type=positive,
        metavar="D",
        help="length of a latent (default {default}); not for a denoiser",
    ),
    Option(
        flag="--noise",
        group="training",
        field="noise",
        type=rate_or_photons,
        takes="a number above 0, where white is 255, or 'poisson-gaussian'",
        metavar="SIGMA",
        help="autoencoder only: train it to remove noise of this standard deviation, where white is 255; with "
        "--self-supervised 'poisson-gaussian': that of photons and electronics, which is made white first",
    ),
    Option(
        flag="--agreement",
        group="training",
        field="agreement",
        type=rate,
        takes="a number above 0",
        metavar="WEIGHT",
        help="autoencoder only: weight of a loss that makes latents of shifted and rotated copies of an image agree, "
        "so that they separate classes better (0.1 is usual)",
    ),
    Option(
        flag="--epochs",
        group="training",
        field="epochs",
        type=positive,
        metavar="N",
        help="largest number of passes over the data (default {default}); not for a denoiser",
    ),
    Option(
        flag="--batch-size",
        group="training",
        field="batch_size",
        type=positive,
        metavar="N",
        help="samples per step (default {default}); not for a denoiser",
    ),
    Option(
        flag="--patience",
        group="training",
        field="patience",
        type=positive,
        metavar="N",
        help="stop after this many epochs without a better validation loss (default {default}), with the best weights; "
        "with --self-supervised: after this many times 1,000 steps (default 10)",
    ),
    Option(
        flag="--input-shape",
        group="training",
        field="input_shape",
        type=positive,
        many=True,
        metavar="SIDE",
        help="shape of the network's input (default: that of the first record): H W C, or d; not for a denoiser",
    ),
    Option(
        flag="--steps",
        group="training",
        field="steps",
        type=positive,
        metavar="N",
        help="denoiser only: steps, of 8 crops each (default {default:,})",
    ),
    Option(
        flag="--start-from",
        group="training",
        field="start_from",
        metavar="BUNDLE",
        help="start from the weights of this bundle, of the same kind and shapes (default: from new weights)",
    ),
    Option(
        flag="--precision",
        group="training",
        field="precision",
        choices=("auto", "float32", "bfloat16"),
        help="denoiser only: precision of the training (default auto: bfloat16 if the processor has it)",
    ),
    Option(
        flag="--self-supervised",
        group="training",
        field="self_supervised",
        switch=True,
        help="denoiser only: learn from noisy images alone: by --pairs, or by --noise-level, or else by hiding pixels",
    ),
    Option(
        flag="--pairs",
        group="training",
        field="pairs",
        many=True,
        metavar="URI",
        help="with --self-supervised: second shots of the images of --input, with the same keys in the same shards",
    ),
    Option(
        flag="--pairs-by",
        group="training",
        field="pairs_by",
        metavar="COLUMN",
        help="with --self-supervised: column of --input whose value two shots of one scene have in common",
    ),
    Option(
        flag="--noise-level",
        group="training",
        field="noise_level",
        type=number_or_estimate,
        takes="a number above 0, where white is 255, or 'estimate'",
        metavar="SIGMA",
        help="with --self-supervised: standard deviation of the noise where white is 255, or 'estimate' for that of "
        "each image",
    ),
    Option(
        flag="--gain",
        group="training",
        field="gain",
        type=rate,
        takes="a number above 0",
        metavar="G",
        help="with --noise poisson-gaussian: numbers of a pixel for each electron (default: estimated over all images)",
    ),
    Option(
        flag="--read-noise",
        group="training",
        field="read_noise",
        type=finite_number,
        metavar="R",
        help="with --noise poisson-gaussian: standard deviation without light, in numbers of a pixel (default: "
        "estimated over all images)",
    ),
    Option(
        flag="--black-level",
        group="training",
        field="black_level",
        type=finite_number,
        metavar="B",
        help="with --noise poisson-gaussian: mean without light, in numbers of a pixel (default 0)",
    ),
    Option(
        flag="--learning-rate",
        group="training",
        field="learning_rate",
        type=rate,
        takes="a number above 0",
        metavar="R",
        help="largest learning rate (default {default})",
    ),
    Option(
        flag="--seed",
        group="training",
        field="seed",
        type=natural,
        takes="a whole number from 0 to 4294967295",
        metavar="N",
        help="seed of weights, order and noise (default {default})",
    ),
    Option(
        flag="--validation-fraction",
        group="training",
        field="validation_fraction",
        type=fraction,
        metavar="F",
        help="share of the samples that is held out (default 0.1; denoiser 0.02)",
    ),
)
SELF_SUPERVISED = (
    "pairs",
    "pairs_by",
    "noise_level",
    "gain",
    "read_noise",
    "black_level",
)  # fields that need --self-supervised
# Field -> kinds that it applies to, for fields that do not apply to all.
KINDS_OF_FIELD = {
    **dict.fromkeys(("latent_dim", "epochs", "batch_size", "patience", "input_shape", "resize", "decode"), EPOCH_KINDS),
    **dict.fromkeys(("steps", "precision", "self_supervised", *SELF_SUPERVISED), ("denoiser",)),
    **dict.fromkeys(("noise", "agreement"), ("autoencoder",)),
}

TRAIN = (
    Option(
        flag="--kind",
        group="training",
        field="kind",
        choices=TRAINABLE,
        help="autoencoder: convolutional, for images (default); vae: variational, for images; dense: for numeric "
        "vectors; denoiser: for images of any size",
    ),
    Option(
        flag="--output",
        group="output",
        field="output",
        required=True,
        metavar="BUNDLE",
        help="directory to write the bundle to",
    ),
    Option(
        flag="--resume",
        group="run",
        field="resume",
        switch=True,
        help="go on with a training that was interrupted, by the same command; the bundle that it left is replaced",
    ),
    *(option for option in INPUT if option.flag not in _NOT_FOR_TRAINING),
    *STORES,
    *SCHEDULE,
)
