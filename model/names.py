"""Names in a bundle: of layers, inputs, columns and classes, and of latents where a model has several."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from lake.core.choices import quoted
from lake.core.errors import UsageError

_NAME = re.compile(r"[A-Za-z0-9_]{1,64}")
_OTHER = re.compile(r"[^A-Za-z0-9_]+")
MAX_NAME = 1000  # characters of a layer's path, of an input, a column or a class
MAX_LATENTS = 16  # of one model
# What columns of latents are called besides: latent_flip, latent_shape and latent_variance.
_TAKEN = ("flip", "shape", "variance")


@dataclass(frozen=True, slots=True, kw_only=True)
class LatentRequest:
    """A latent beside the first one, as a user names it.

    Attributes:
      name: that it gets.
      layer: as ``--latent`` takes it.
    """

    name: str
    layer: str


def is_name(text: str) -> bool:
    r"""Whether a bundle can have this name of a layer, an input, a column or a class: it can be printed, and is short.

    >>> is_name("encoder/z mean"), is_name("two\nlines"), is_name("")
    (True, False, False)
    """
    return 0 < len(text) <= MAX_NAME and text.isprintable()


def latent_name(layer: str) -> str:
    """The name of a latent that has none of its own: the last part of its layer's path, in letters, digits and _.

    Args:
      layer: path of the layer, or name of the tensor.

    >>> latent_name("encoder/z_mean"), latent_name("/net/Relu_3:0")
    ('z_mean', 'Relu_3_0')
    """
    last = layer.rstrip("/").rpartition("/")[2]
    return _OTHER.sub("_", last).strip("_")[:64] or "latent"


def is_latent_name(name: str) -> bool:
    """Whether a latent may have this name, which is a part of the names of columns and files.

    >>> is_latent_name("z_mean"), is_latent_name("flip"), is_latent_name("a/b")
    (True, False, False)
    """
    return bool(_NAME.fullmatch(name)) and name.lower() not in _TAKEN and not name.lower().endswith("_flip")


def read_requests(asked: str | Sequence[str] | None) -> tuple[str | None, tuple[LatentRequest, ...], str | None]:
    """What a user asks of the export by ``--latent``.

    Args:
      asked: a layer, or several: each alone, or as ``NAME=LAYER``. A single one is a layer in any case.

    Returns:
      The first layer, the others with their names, and the name of the first; this is None for a single one, and the
      layer for a model without a latent.

    Raises:
      UsageError: two have one name, or a name is none.

    >>> read_requests(["encoder/z", "head=projection"])
    ('encoder/z', (LatentRequest(name='head', layer='projection'),), 'z')
    >>> read_requests("a=b")
    ('a=b', (), None)
    """
    several = [asked] if isinstance(asked, str) else [*(asked or ())]
    if len(several) < 2:
        return (several[0] if several else None), (), None
    if len(several) > MAX_LATENTS:
        raise UsageError(f"{len(several)} latents; a bundle has at most {MAX_LATENTS}, so leave some out")
    found = [_request(text) for text in several]
    for request in found:
        if not is_latent_name(request.name):
            raise UsageError(
                f"--latent {quoted(request.layer)}: {quoted(request.name)} is no name of a latent; give another, of "
                f"letters, digits and _ and none of {', '.join(_TAKEN)}: --latent NAME={request.layer}"
            )
    # Engines of SQL tell names of columns without regard to case.
    names = [request.name.lower() for request in found]
    if twice := next((request for request in found if names.count(request.name.lower()) > 1), None):
        raise UsageError(f"two latents would be called {quoted(twice.name)}; name them: --latent NAME={twice.layer}")
    first, *others = found
    return first.layer, tuple(others), first.name


def _request(text: str) -> LatentRequest:
    name, equals, layer = text.partition("=")
    if equals and layer and _NAME.fullmatch(name):
        return LatentRequest(name=name, layer=layer)
    return LatentRequest(name=latent_name(text), layer=text)
