"""A bundle: the directory that a trained model travels in, checked file by file before anything is loaded."""

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import BinaryIO

from model.document import digest, from_json, to_json
from model.spec import FileEntry, Json, Spec
from pipeline.errors import BundleError, OutputError
from pipeline.storage import join, store_for

DESCRIPTION = "model.json"
MODEL = "model.keras"
GOLDEN = "golden.npz"
_MAX_DESCRIPTION = 16 << 20
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """A bundle whose files are what its ``model.json`` says.

    Attributes:
      uri: the directory.
      digest: SHA-256 of ``model.json`` in canonical spelling; it covers the digests of the other files.
      spec: the content of ``model.json``.
    """

    uri: str
    digest: str
    spec: Spec

    @classmethod
    def open(cls, uri: str) -> "Bundle":
        """Read ``model.json`` and check the size and digest of every file. TensorFlow is not needed.

        Raises:
          BundleError: nothing is there, or a file is missing or differs.
        """
        document = _document(uri)
        bundle = cls(uri=uri, digest=digest(document), spec=from_json(document, join(uri, DESCRIPTION)))
        for name in bundle.spec.files:
            bundle._check(name)
        return bundle

    def files(self) -> dict[str, str]:
        """Name -> URI of every file that makes the bundle; ``model.json`` is last."""
        return {name: join(self.uri, name) for name in (*self.spec.files, DESCRIPTION)}

    def read(self, name: str) -> bytes:
        """The bytes of ``model.keras`` or ``golden.npz``.

        Raises:
          BundleError: the file is missing, or is not the one that was bundled.
        """
        with self._open(name) as stream:
            data = stream.read(self.spec.files[name].size + 1)
        self._compare(name, len(data), hashlib.sha256(data).hexdigest())
        return data

    def copy(self, uri: str) -> "Bundle":
        """Copy to another directory, ``model.json`` last. A whole copy that stands there already is kept.

        Raises:
          BundleError: a file changed since the bundle was opened.
        """
        if not self._is_at(uri):
            _write(uri, {name: self.read(name) for name in self.spec.files}, self.spec)
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
                f"{DESCRIPTION} has {entry.size} and {entry.sha256[:16]}…; copy the bundle again or export the model"
            )


def write_bundle(uri: str, spec: Spec, files: Mapping[str, bytes]) -> Bundle:
    """Write a new bundle; it exists once ``model.json``, the last file, does.

    Args:
      uri: a directory that holds no bundle.
      spec: the description; its ``files`` are filled in from the bytes.
      files: the bytes of ``model.keras`` and ``golden.npz``.

    Raises:
      OutputError: a bundle is there already.
    """
    refuse_existing(uri)
    entries = {name: FileEntry(size=len(data), sha256=hashlib.sha256(data).hexdigest()) for name, data in files.items()}
    _write(uri, files, replace(spec, files=entries))
    return Bundle.open(uri)


def refuse_existing(uri: str) -> None:
    """Make sure that no bundle is at ``uri``.

    Raises:
      OutputError: one is.
    """
    if store_for(uri).stat(join(uri, DESCRIPTION)) is not None:
        raise OutputError(f"{uri}: holds a bundle already; remove it or choose another --output")


def _write(uri: str, files: Mapping[str, bytes], spec: Spec) -> None:
    document = to_json(spec)
    text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    for name, data in {**files, DESCRIPTION: text.encode()}.items():
        with store_for(uri).create(join(uri, name)) as sink:
            sink.write(data)


def _document(uri: str) -> Json:
    where = join(uri, DESCRIPTION)
    with _stream(where, _MAX_DESCRIPTION) as stream:
        data = stream.read(_MAX_DESCRIPTION)
    try:
        return json.loads(data, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{where}: not valid JSON ({error}); export the model again") from error


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number of JSON")


def _stream(where: str, largest: int) -> BinaryIO:
    try:
        stream = store_for(where).open(where)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        remedy = "name a directory made by 'python -m model train' or 'export'"
        raise BundleError(f"{where}: not there; {remedy}") from error
    if (size := stream.seek(0, io.SEEK_END)) > largest:
        stream.close()
        raise BundleError(f"{where}: {size} bytes, more than the {largest} it may have; export the model again")
    stream.seek(0)
    return stream
