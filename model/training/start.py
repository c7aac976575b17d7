"""Where a training starts: at weights of its own, or at those of a bundle."""

from math import prod
from typing import Any

from lake.core.errors import UsageError
from model.bundle import MODEL_FILE, Bundle
from model.keras.bundled import load_bundled
from model.spec import Json


def open_start(uri: str) -> Bundle | None:
    """Open the bundle that a training starts from, before any data is read.

    Args:
      uri: its directory, or ``zoo:NAME``; "" for none.

    Raises:
      UsageError: it has no weights.
      BundleError: it is not there, or damaged.
    """
    bundle = Bundle.open(uri) if uri else None
    if bundle is not None and MODEL_FILE not in bundle.spec.files:
        raise UsageError(f"--start-from {uri} has no {MODEL_FILE}, and so no weights; give the bundle it was made of")
    return bundle


def began(uri: str, *models: Any) -> dict[str, Json]:
    """Give networks the weights that a training starts from.

    Args:
      uri: the directory of a bundle, or ``zoo:NAME``; "" to leave the networks as they are.
      models: networks of one kind, which are changed in place.

    Returns:
      What a checkpoint and a model card say of it: the bundle's digest.

    Raises:
      UsageError: the bundle is of another network, or has no weights.
      BundleError: it is not there, or damaged.
    """
    bundle = open_start(uri)
    if bundle is None:
        return {}
    weights = load_bundled(bundle).get_weights()
    theirs, ours = ([tuple(weight.shape) for weight in one] for one in (weights, models[0].get_weights()))
    if theirs != ours:
        raise UsageError(
            f"--start-from {uri} is of another network, with {_count(theirs)} instead of {_count(ours)}; give a bundle "
            "of the same --kind, for inputs and latents of the same shape; denoisers that learn from hidden pixels are "
            "another network than others"
        )
    for model in models:
        model.set_weights(weights)
    return {"start_from": bundle.digest}


def _count(shapes: list[tuple[int, ...]]) -> str:
    return f"{len(shapes)} arrays of {sum(prod(shape) for shape in shapes):,} weights"
