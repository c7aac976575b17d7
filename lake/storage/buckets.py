"""Buckets that do not exist: said where a name was not found, since there can be none in them."""

from contextlib import suppress

from lake.core.errors import UsageError
from lake.storage import store_for
from lake.storage.location import is_local


def check_bucket(uri: str, kind: type[UsageError] = UsageError) -> None:
    """Check that a bucket exists, once something was not found there. A local path has none.

    It takes one request, so nobody asks for a name that is there.

    Args:
      uri: what was not found.
      kind: of the error.

    Raises:
      UsageError: there is no such bucket.
      OSError: the store failed.
    """
    if is_local(uri):
        return
    try:
        with suppress(PermissionError):  # who may read what is there need not be allowed to list it
            next(iter(store_for(uri).list(uri)), None)
    except FileNotFoundError as error:
        raise kind(f"{uri}: its bucket does not exist; make it, or correct its name") from error
