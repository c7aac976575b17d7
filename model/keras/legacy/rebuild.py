"""Rebuild a model that Keras 2 saved as one of Keras 3: audit its configuration, build that, and copy the weights."""

import hashlib
import io
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any, TypeAlias

from lake.core.errors import BundleError, LatentlakeError
from lake.core.printable import printable
from model.keras.archive import CONFIG, METADATA, WEIGHTS, check_members, read_json
from model.keras.audit import MODEL_CLASSES, check_config
from model.keras.legacy.hdf5 import keras_version, known_version, read_architecture
from model.keras.legacy.heap import check_heap
from model.keras.legacy.repair import repaired
from model.keras.legacy.weights import copy_weights, pairs_of_archive, pairs_of_hdf5
from model.keras.load import build_model, keras_reason
from model.keras.save import serialize_model
from model.keras.weights import check_weights
from model.spec import Json
from model.zip_members import member_chunks

_HDF5 = b"\x89HDF\r\n\x1a\n"
_Pairs: TypeAlias = Callable[[Any, Json], Iterable[tuple[Any, Any]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuilt:
    """A model as Keras 3 saves it.

    Attributes:
      data: bytes of the ``.keras`` file.
      source: what it was, for the provenance of a bundle.
    """

    data: bytes
    source: Json


def rebuild_legacy(data: bytes, where: str) -> Rebuilt | None:
    """Rebuild a model that is in an HDF5 file, or in a ``.keras`` file of Keras 2.

    Nothing of the file is run: its configuration is rewritten as Keras 3 has it, audited like that of any other file,
    and built; its arrays are copied.

    Args:
      data: bytes of the whole file.
      where: name of the file, for messages.

    Returns:
      None for a ``.keras`` file of Keras 3, which needs none of this.

    Raises:
      BundleError: the file is damaged, something in it is not on the allow-list, or its weights do not fit.
    """
    if data.startswith(_HDF5):
        return _from_hdf5(data, where)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return _from_archive(archive, data, where)
    except (zipfile.BadZipFile, NotImplementedError, EOFError, zlib.error):
        return None  # the audit says what is wrong


def _from_hdf5(data: bytes, where: str) -> Rebuilt:
    check_heap(data, where)
    stored = check_weights(io.BytesIO(data), len(data), where, "it")
    with _open(data, where) as file:
        config, version = read_architecture(file, where), keras_version(file, where)
        root = file.get("model_weights", {})
        made = _build(config, version, stored, lambda model, config: pairs_of_hdf5(model, config, root, where), where)
    return _described(made, data, "hdf5", version)


def _from_archive(archive: zipfile.ZipFile, data: bytes, where: str) -> Rebuilt | None:
    check_members(archive, where)
    metadata = read_json(archive, METADATA, where)
    version = known_version(metadata.get("keras_version") if isinstance(metadata, dict) else None)
    if not version.startswith("2."):
        return None
    weights = b"".join(member_chunks(archive, archive.getinfo(WEIGHTS)))
    stored = check_weights(io.BytesIO(weights), len(weights), where)
    config = read_json(archive, CONFIG, where)
    with _open(weights, where) as file:
        made = _build(
            config, version, stored, lambda model, config: pairs_of_archive(model, config, file, where), where
        )
    return _described(made, data, "keras", version)


def _build(config: Json, version: str, stored: int, pairs: _Pairs, where: str) -> bytes:
    try:
        new = repaired(config, version, where)
    except LatentlakeError:
        raise
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, RecursionError) as error:
        if not isinstance(config, dict) or config.get("class_name") not in MODEL_CLASSES:
            check_config(config, where)  # says what it is instead
        why = printable(f"{type(error).__name__}: {error}")
        raise BundleError(f"{where}: its configuration has not the form of a Keras model ({why})") from error
    check_config(new, where)
    import_module("model.layers")
    try:
        model = build_model(new, stored, where)
        copy_weights(model, pairs(model, config), where)
        return serialize_model(model)
    except LatentlakeError:
        raise
    except Exception as error:  # Keras raises errors of any class
        raise BundleError(f"{where}: Keras 3 cannot rebuild it: {keras_reason(error)}") from error


def _described(made: bytes, data: bytes, form: str, version: str) -> Rebuilt:
    source = {"format": form, "keras": version, "sha256": hashlib.sha256(data).hexdigest()}
    return Rebuilt(data=made, source=source)


@contextmanager
def _open(data: bytes, where: str) -> Iterator[Any]:
    import h5py

    try:
        with h5py.File(io.BytesIO(data), "r") as file:
            yield file
    except (OSError, RuntimeError, KeyError) as error:
        why = printable(str(error))
        raise BundleError(f"{where}: the HDF5 file is damaged ({why}); copy or save it again") from error
