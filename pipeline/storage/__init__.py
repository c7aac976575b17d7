"""Where bytes live. One file per store, one line of ``_STORES`` each; the rest of the job knows only ``Store``."""

from functools import cache
from importlib import import_module
from urllib.parse import urlsplit

from pipeline.errors import UsageError
from pipeline.storage.base import Sink, Stat, Store, join, measured
from pipeline.storage.failures import clean
from pipeline.storage.options import DEFAULTS, StoreOptions

__all__ = ["Sink", "Stat", "Store", "StoreOptions", "configure", "configured", "join", "measured", "put", "store_for"]

# scheme -> module and class, imported when the first URI of that scheme appears
_STORES = {
    "": ("pipeline.storage.local", "LocalStore"),
    "file": ("pipeline.storage.local", "LocalStore"),
    "gs": ("pipeline.storage.gcs", "GcsStore"),
    "s3": ("pipeline.storage.s3", "S3Store"),
}
_options = DEFAULTS


def configure(options: StoreOptions) -> None:
    """Reach stores in this way from now on, in this process; a worker process serves one job."""
    global _options
    _options = options


def configured() -> StoreOptions:
    """How this process reaches stores."""
    return _options


def store_for(uri: str) -> Store:
    """The store that holds ``uri``.

    Raises:
      UsageError: no store is known for the URI's scheme.
    """
    scheme = urlsplit(uri).scheme if "://" in uri else ""
    if scheme not in _STORES:
        known = ", ".join(f"{name}://" for name in _STORES if name)
        raise UsageError(f"{clean(uri)!r}: no store for the scheme {scheme!r}; use a path or one of {known}")
    return _open(scheme, _options)


def put(uri: str, data: bytes) -> None:
    """Make a small object of these bytes, whole, replacing what was there."""
    with store_for(uri).create(uri) as sink:
        sink.write(data)


@cache
def _open(scheme: str, options: StoreOptions) -> Store:
    module, name = _STORES[scheme]
    store: Store = getattr(import_module(module), name)(options)
    return store
