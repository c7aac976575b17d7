"""The trained bundles that come with the package, by name: ``zoo:denoiser-gray``."""

import difflib
from pathlib import Path

from lake.core.errors import BundleError

PREFIX = "zoo:"
_HOME = Path(__file__).parent


def zoo_names() -> tuple[str, ...]:
    """The names of the bundles, sorted.

    >>> "mnist-vae" in zoo_names()
    True
    """
    return tuple(sorted(path.parent.name for path in _HOME.glob("*/model.json")))


def in_zoo(uri: str) -> bool:
    """Whether a URI names a bundle of the zoo.

    >>> in_zoo("zoo:mnist-vae"), in_zoo("bundles/mnist-vae")
    (True, False)
    """
    return uri.startswith(PREFIX)


def zoo_uri(uri: str) -> str:
    """The directory of the bundle that ``zoo:NAME`` names; any other URI as it is.

    >>> zoo_uri("gs://lake/bundle")
    'gs://lake/bundle'

    Raises:
      BundleError: there is no bundle of that name; the text has the nearest one that there is.
    """
    if not in_zoo(uri):
        return uri
    name, known = uri.removeprefix(PREFIX).rstrip("/"), zoo_names()
    if name in known:
        return str(_HOME / name)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    remedy = f"did you mean {PREFIX}{near[0]}?" if near else f"it has {', '.join(known)}"
    raise BundleError(f"{uri}: the zoo has no bundle of this name; {remedy}")


def read_card(uri: str) -> str:
    """The card of a bundle of the zoo, which says how it was trained and what it reaches, as Markdown.

    Args:
      uri: ``zoo:NAME``.

    Raises:
      BundleError: there is no bundle of that name.
    """
    return (Path(zoo_uri(uri)) / "README.md").read_text(encoding="utf-8")
