"""Names of datasets, as OpenLineage's naming convention has them, so that what other tools say of them meets.

See https://openlineage.io/docs/spec/naming.
"""

import posixpath
from dataclasses import dataclass
from urllib.parse import quote

from lake.inputs.globs import is_glob
from lake.storage.location import is_local, local_path
from model.zoo import in_zoo


@dataclass(frozen=True, slots=True)
class Dataset:
    """The name of a dataset.

    Attributes:
      namespace: of its source: ``s3://BUCKET``, ``gs://BUCKET`` or ``file``.
      name: key or path in it.
    """

    namespace: str
    name: str

    @property
    def uri(self) -> str:
        """URI of its source."""
        return "file:///" if self.namespace == "file" else quote(self.namespace, safe=":/")


def dataset_of(uri: str) -> Dataset:
    """Name what a URI leads to: of a glob the directory that all that it matches is in.

    Args:
      uri: a path, ``s3://``, ``gs://``, or ``zoo:NAME``.

    >>> dataset_of("s3://lake/photos/dt=*/*.tar")
    Dataset(namespace='s3://lake', name='photos')
    >>> dataset_of("/data/a.tar"), dataset_of("gs://lake")
    (Dataset(namespace='file', name='/data/a.tar'), Dataset(namespace='gs://lake', name='/'))
    """
    if in_zoo(uri):
        return Dataset("latentlake", uri)
    if is_local(uri):
        return Dataset("file", _fixed(str(local_path(uri).absolute())))
    scheme, _, rest = uri.partition("://")
    bucket, _, key = rest.partition("/")
    return Dataset(f"{scheme}://{bucket}", _fixed(key).strip("/") or "/")


def _fixed(path: str) -> str:
    """The part of a path before the first name with a wildcard or braces."""
    while is_glob(path) or "{" in path:
        path = posixpath.dirname(path)
    return path
