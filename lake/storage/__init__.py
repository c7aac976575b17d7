"""Where bytes live: one folder or file per store, and one line of ``_STORES`` for each URI scheme.

All other code knows only the ``Store`` and ``Sink`` interfaces. A path without a scheme is a local file.

>>> import tempfile
>>> uri = join(tempfile.mkdtemp(), "notes", "hello.txt")
>>> put(uri, b"hello")
>>> store_for(uri).stat(uri).size
5
>>> with store_for(uri).open(uri) as file:
...     file.read()
b'hello'
"""

from contextvars import ContextVar
from functools import cache
from importlib import import_module
from urllib.parse import urlsplit

from lake.core.errors import UsageError
from lake.storage.guard import Guard
from lake.storage.options import DEFAULTS, StoreOptions
from lake.storage.redact import check_no_user, clean
from lake.storage.store import Sink, Stat, Store, join, measured

__all__ = [
    "Guard",
    "Sink",
    "Stat",
    "Store",
    "StoreOptions",
    "configure",
    "configured",
    "join",
    "measured",
    "put",
    "store_for",
]

# By scheme. A module is imported when the first URI of its scheme appears: client libraries take seconds to load.
_STORES = {
    "": ("lake.storage.local", "LocalStore"),
    "file": ("lake.storage.local", "LocalStore"),
    "gs": ("lake.storage.gcs.store", "GcsStore"),
    "s3": ("lake.storage.s3.store", "S3Store"),
}
_REMOTE = ("gs", "s3")
# Jobs of one process may have other endpoints each, so every context, and so every thread, has its options. A thread
# that nobody has configured, such as one of an engine, has the options that were set last in the process.
_options: ContextVar[StoreOptions] = ContextVar("stores")
_latest = DEFAULTS


def configure(options: StoreOptions) -> None:
    """Set how this thread, and the tasks that it starts by ``lake.core.ordered_map``, reach stores.

    Args:
      options: for every store that is opened afterwards.
    """
    global _latest
    _latest = options
    _options.set(options)


def configured() -> StoreOptions:
    """The options that ``configure`` set."""
    return _options.get(_latest)


def store_for(uri: str) -> Store:
    """The store that holds a URI.

    Args:
      uri: a local path, or a URI of scheme ``file``, ``gs`` or ``s3``.

    Raises:
      UsageError: the URI's scheme has no store, or the URI holds a user or key.

    >>> type(store_for("/data/x.parquet")).__name__
    'LocalStore'
    >>> store_for("ftp://x")
    Traceback (most recent call last):
    ...
    lake.core.errors.UsageError: 'ftp://x': no store for the scheme 'ftp'; use a path or one of file://, gs://, s3://
    """
    scheme = urlsplit(uri).scheme if "://" in uri else ""
    if scheme not in _STORES:
        known = ", ".join(f"{name}://" for name in _STORES if name)
        raise UsageError(f"{clean(uri)!r}: no store for the scheme {scheme!r}; use a path or one of {known}")
    if scheme in _REMOTE:
        check_no_user(uri)
    return _open(scheme, configured())


def put(uri: str, data: bytes, guard: Guard | None = None, *, durable: bool = True) -> None:
    """Write a small object at once, replacing what was there. Readers see all of it or nothing.

    Args:
      uri: of the object.
      data: all of its bytes.
      guard: the right to write it; None if nobody else writes there.
      durable: as of ``Store.create``.

    Raises:
      OSError: the store failed, or it holds other bytes than were written.
      HeldError: the right is lost.
    """
    with store_for(uri).create(uri, guard, durable=durable) as sink:
        sink.write(data)


@cache
def _open(scheme: str, options: StoreOptions) -> Store:
    module, name = _STORES[scheme]
    store: Store = getattr(import_module(module), name)(options)
    return store
