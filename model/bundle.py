"""A bundle: the directory that a trained model travels in, checked file by file before anything is loaded."""

import errno
import hashlib
import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from math import isfinite
from typing import BinaryIO

from lake.core.errors import BundleError, OutputError
from lake.core.printable import printable
from lake.storage import Guard, join, put, store_for
from lake.storage.buckets import check_bucket
from model.file_kind import FILE_KINDS, refusal, tell_kind
from model.spec import FileEntry, Json, Spec
from model.spec_json import digest, from_json, to_json
from model.zoo import zoo_uri

SPEC_FILE = "model.json"
MODEL_FILE = "model.keras"
GOLDEN_FILE = "golden.npz"
_MAX_DESCRIPTION = 16 << 20
_MAX_DEPTH = 100  # of nested JSON values: writing them needs more of Python's stack than reading
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """A bundle whose files are what its ``model.json`` says.

    Attributes:
      uri: the directory.
      digest: SHA-256 of ``model.json`` in canonical spelling; it covers the digests of the other files.
      spec: the content of ``model.json``.
      allow_code: whether somebody has allowed to run the code that the bundle holds, if it holds any.
    """

    uri: str
    digest: str
    spec: Spec
    allow_code: bool = False

    @classmethod
    def open(cls, uri: str, *, allow_code: bool = False) -> "Bundle":
        """Read ``model.json`` and check the size and digest of every file. TensorFlow is not needed.

        Args:
          uri: the directory, or ``zoo:NAME`` for one that comes with the package.
          allow_code: as the attribute. Nothing is run here.

        Raises:
          BundleError: nothing is there, or a file is missing or differs.
        """
        uri = zoo_uri(uri)
        document = _document(uri)
        bundle = cls(
            uri=uri, digest=digest(document), spec=from_json(document, join(uri, SPEC_FILE)), allow_code=allow_code
        )
        for name in bundle.spec.files:
            bundle._check(name)
        return bundle

    def files(self) -> dict[str, str]:
        """Name -> URI of every file that makes the bundle; ``model.json`` is last."""
        return {name: join(self.uri, name) for name in (*self.spec.files, SPEC_FILE)}

    def read(self, name: str) -> bytes:
        """The bytes of ``model.keras``, ``golden.npz`` or a graph.

        Raises:
          BundleError: the file is missing, or is not the one that was bundled.
        """
        with self._open(name) as stream:
            data = stream.read(self.spec.files[name].size + 1)
        self._compare(name, len(data), hashlib.sha256(data).hexdigest())
        return data

    def copy(self, uri: str, guard: Guard | None = None) -> "Bundle":
        """Copy to another directory, ``model.json`` last. A whole copy that stands there already is kept.

        Args:
          uri: the directory.
          guard: the right to write there; None if nobody else does.

        Raises:
          BundleError: a file changed since the bundle was opened.
        """
        if not self._is_at(uri):
            _write(uri, {name: self.read(name) for name in self.spec.files}, self.spec, guard)
        return Bundle.open(uri)

    def _is_at(self, uri: str) -> bool:
        try:
            return Bundle.open(uri).digest == self.digest
        except BundleError:  # nothing is there, or a copy that was damaged since
            return False

    def _check(self, name: str) -> None:
        sha256, size = hashlib.sha256(), 0
        with self._open(name) as stream:
            while chunk := stream.read(_CHUNK):
                sha256.update(chunk)
                size += len(chunk)
        self._compare(name, size, sha256.hexdigest())

    def _open(self, name: str) -> BinaryIO:
        return _stream(join(self.uri, name), self.spec.files[name].size)

    def _compare(self, name: str, size: int, sha256: str) -> None:
        entry = self.spec.files[name]
        if (size, sha256) != (entry.size, entry.sha256):
            raise BundleError(
                f"{join(self.uri, name)}: damaged or replaced: {size} bytes with SHA-256 {sha256[:16]}…, where "
                f"{SPEC_FILE} has {entry.size} and {entry.sha256[:16]}…; copy the bundle again or export the model"
            )


def write_bundle(uri: str, spec: Spec, files: Mapping[str, bytes]) -> Bundle:
    """Write a new bundle; it exists once ``model.json``, the last file, does.

    Args:
      uri: a directory that holds no bundle.
      spec: the description; its ``files`` are filled in from the bytes.
      files: the bytes of ``golden.npz``, and of ``model.keras``, graphs or both.

    Raises:
      OutputError: a bundle is there already.
    """
    refuse_existing(uri)
    _write(uri, files, replace(spec, files=_entries(files)))
    return Bundle.open(uri)


def add_files(bundle: Bundle, files: Mapping[str, bytes]) -> Bundle:
    """Add files to a bundle, which is what it was until ``model.json``, the last file, is replaced.

    Args:
      bundle: the bundle.
      files: the bytes of files that it does not have.
    """
    _write(bundle.uri, files, replace(bundle.spec, files={**bundle.spec.files, **_entries(files)}))
    return Bundle.open(bundle.uri)


def _entries(files: Mapping[str, bytes]) -> dict[str, FileEntry]:
    return {
        name: FileEntry(size=len(data), sha256=hashlib.sha256(data).hexdigest()) for name, data in sorted(files.items())
    }


def refuse_existing(uri: str) -> None:
    """Make sure that no bundle is at ``uri``, and that one can be.

    Raises:
      OutputError: one is, or there is no such bucket.
    """
    if store_for(uri).stat(join(uri, SPEC_FILE)) is not None:
        raise OutputError(f"{uri}: holds a bundle already; remove it or choose another --output")
    check_bucket(uri, OutputError)


def _write(uri: str, files: Mapping[str, bytes], spec: Spec, guard: Guard | None = None) -> None:
    document = to_json(spec)
    text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    for name, data in {**files, SPEC_FILE: text.encode()}.items():
        put(join(uri, name), data, guard)


def _document(uri: str) -> Json:
    where = join(uri, SPEC_FILE)
    with _stream(where, _MAX_DESCRIPTION) as stream:
        data = stream.read(_MAX_DESCRIPTION)
    try:
        document = json.loads(data, parse_constant=_finite, parse_float=_finite)
        _check_depth(document)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{where}: not valid JSON ({printable(str(error))}); export the model again") from error
    return document


def _finite(text: str) -> float:
    if not isfinite(number := float(text)):
        raise ValueError(f"{printable(text, 40)} is not a number of JSON, or too large")
    return number


def _check_depth(document: Json) -> None:
    level, depth = [document], 0
    while level := [item for value in level for item in _items(value)]:
        depth += 1
        if depth > _MAX_DEPTH:
            raise ValueError("nested too deeply")


def _items(value: Json) -> Iterable[Json]:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def _missing(where: str) -> str:
    """What to say of a file of a bundle that is not there: people name the model itself, which is no bundle yet."""
    directory = where.rpartition("/")[0]
    try:
        kind = tell_kind(directory)
    except OSError:
        kind = FILE_KINDS["directory"]
    check_bucket(directory, BundleError)
    if kind.name not in ("directory", "bundle"):
        return refusal(kind, directory)
    return f"{where}: not there; name a directory made by 'latentlake train' or 'export', or one of the zoo: zoo:NAME"


def _stream(where: str, largest: int) -> BinaryIO:
    try:
        stream = store_for(where).open(where)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise BundleError(_missing(where)) from error
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENXIO):  # of the local disk: a pipe, a device, a socket
            raise
        raise BundleError(f"{where}: not a regular file but a pipe or device; copy the bundle again") from error
    if (size := stream.seek(0, io.SEEK_END)) > largest:
        stream.close()
        raise BundleError(f"{where}: {size} bytes, more than the {largest} it may have; export the model again")
    stream.seek(0)
    return stream
