"""Many objects removed by one request, ``DeleteObjects``.

The answer names each object that was removed and each that was not. Whatever it does not call removed is left for
requests of their own, which are retried, and whose errors name the object: so a key that was refused, an answer that
stops short and a server without the request are one case.
"""

import logging
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from lake.storage.redact import clean
from lake.storage.remote import split

MOST = 1_000  # objects of one request, the API's maximum
# What XML 1.0 can hold as it is. MinIO also takes a slash at the beginning away.
_IN_XML = re.compile("[^/\x00-\x1f\ud800-\udfff\ufffe\uffff][^\x00-\x1f\ud800-\udfff\ufffe\uffff]*")
_LOG = logging.getLogger(__name__)


class Deletions:
    """Requests that remove many objects, and the buckets whose server does not take them.

    Args:
      ask: makes a request by the name of the client's method, for an object, with arguments. It is retried, and raises
        ``OSError``.
    """

    def __init__(self, ask: Callable[..., Mapping[str, Any]]) -> None:
        self._ask = ask
        self._refused = set[str]()

    def remove(self, uris: Sequence[str]) -> Sequence[str]:
        """Remove objects of one bucket, as ``RemoteStore.remove_many``."""
        bucket = split(uris[0])[0]
        keys = [key for place, key in map(split, uris) if place == bucket and _IN_XML.fullmatch(key)]
        if not keys or bucket in self._refused:
            return uris
        removed = {f"s3://{bucket}/{key}" for key in self._removed(bucket, keys)}
        return [uri for uri in uris if uri not in removed]

    def _removed(self, bucket: str, keys: Sequence[str]) -> Collection[str]:
        # Not quiet: then what a server forgets to say would count as removed.
        what = {"Objects": [{"Key": key} for key in keys]}
        try:
            answer = self._ask("delete_objects", f"s3://{bucket}/{keys[0]}", Bucket=bucket, Delete=what)
        except TimeoutError:
            raise
        except OSError as error:
            self._refused.add(bucket)
            lacks = "its server does not remove many objects by one request, so each takes one of its own"
            _LOG.warning("s3://%s: %s (%s)", bucket, lacks, error.strerror)
            return ()
        _tell(bucket, answer.get("Errors", ()))
        return {one["Key"] for one in answer.get("Deleted", ())}


def _tell(bucket: str, errors: Iterable[Mapping[str, str]]) -> None:
    for code, count in Counter(error.get("Code", "no code") for error in errors).items():
        _LOG.info("s3://%s: %s for %d objects of many, each of which is removed by itself", bucket, clean(code), count)
