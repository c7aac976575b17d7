"""The options of ``python -m model train``."""

from pipeline.option import Option, fraction, positive
from pipeline.options import INPUT, STORES

_NOT_FOR_TRAINING = {"--key", "--carry"}
PASSES = ("autoencoder", "vae", "dense")  # kinds that are trained in passes over samples of one shape
KINDS = (*PASSES, "denoiser")


def natural(text: str) -> int:
    """A number from 0 on that fits 32 bits.

    Raises:
      ValueError: it is not.
    """
    value = int(text)
    if not 0 <= value < 1 << 32:
        raise ValueError(text)
    return value


def rate(text: str) -> float:
    """A positive number.

    Raises:
      ValueError: it is not.
    """
    value = float(text)
    if not 0 < value < float("inf"):
        raise ValueError(text)
    return value


# What has no default here has one for each kind: that of the settings' field of this name.
COURSE = (
    Option(
        flag="--latent-dim",
        field="latent_dim",
        type=positive,
        metavar="D",
        help="length of a latent (default 128); not for a denoiser",
    ),
    Option(
        flag="--noise",
        field="noise",
        type=rate,
        metavar="SIGMA",
        help="autoencoder only: noise of this standard deviation on its input, where white is 255, to be taken out",
    ),
    Option(
        flag="--agreement",
        field="agreement",
        type=rate,
        metavar="WEIGHT",
        help="autoencoder only: also make latents of slightly moved copies of an image agree, for latents that tell "
        "classes apart (0.1 is usual)",
    ),
    Option(
        flag="--epochs",
        field="epochs",
        type=positive,
        metavar="N",
        help="most passes over the data (default 20); not for a denoiser",
    ),
    Option(
        flag="--batch-size",
        field="batch_size",
        type=positive,
        metavar="N",
        help="samples per step (default 128); not for a denoiser",
    ),
    Option(
        flag="--patience",
        field="patience",
        type=positive,
        metavar="N",
        help="stop after this many epochs without a better validation loss (default 3), the best weights are kept; not "
        "for a denoiser",
    ),
    Option(
        flag="--steps",
        field="steps",
        type=positive,
        metavar="N",
        help="denoiser only: steps of 8 pieces of images each (default 33,000)",
    ),
    Option(
        flag="--precision",
        field="precision",
        choices=("auto", "float32", "bfloat16"),
        help="denoiser only: what to compute in (default auto: bfloat16 where the processor has it)",
    ),
    Option(
        flag="--learning-rate",
        field="learning_rate",
        type=rate,
        metavar="R",
        help="of Adam at its highest (default 0.002)",
    ),
    Option(flag="--seed", field="seed", type=natural, metavar="N", help="of all that is drawn (default 0)"),
    Option(
        flag="--validation-fraction",
        field="validation_fraction",
        type=fraction,
        metavar="F",
        help="share of the samples that is not trained on (default 0.1; denoiser 0.02)",
    ),
)
# fields of what only some kinds have
OF_KINDS = {
    **dict.fromkeys(("latent_dim", "epochs", "batch_size", "patience", "input_shape", "resize"), PASSES),
    **dict.fromkeys(("steps", "precision"), ("denoiser",)),
    **dict.fromkeys(("noise", "agreement"), ("autoencoder",)),
}

TRAIN = (
    Option(
        flag="--kind",
        field="kind",
        default="autoencoder",
        choices=KINDS,
        help="autoencoder: convolutional, for images (default); vae: variational, for images; dense: for numeric "
        "vectors; denoiser: for images of any size",
    ),
    Option(flag="--output", field="output", required=True, metavar="BUNDLE", help="directory to write the bundle to"),
    *(option for option in INPUT if option.flag not in _NOT_FOR_TRAINING),
    *STORES,
    *COURSE,
)
