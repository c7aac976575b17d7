"""What a file or directory is that somebody has as a model, told by its first bytes, and the way on with it.

Nothing is loaded: a kind is told by signatures, names of members and names in a directory.
"""

import io
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import PurePosixPath
from typing import BinaryIO

from lake.core.errors import BundleError, UsageError
from lake.core.printable import printable
from lake.storage import store_for
from lake.storage.store import Listing

_HEAD = 1 << 12  # bytes that are looked at
_LISTED = 1000  # names of a directory that are looked at

_EXPORT = "latentlake export {where} --latent LAYER --output BUNDLE"
_SAVE = "load it where it was made, and save the model whole: model.save('model.keras')"
_ARCHITECTURE = (
    f"it has no architecture: build the network in Python, load_weights() it, {_SAVE.partition(', and ')[2]}"
)
_GRAPH = (
    "if you trust it: latentlake export {where} --allow-graph --latent OUTPUT --output BUNDLE, which checks its "
    "operations, loads it, and converts it to ONNX; or save the Keras model that it was made from as .keras"
)
_TORCH = (
    "where its network's code is, write it as an ONNX file: torch.onnx.export(model.eval(), example, 'model.onnx'), "
    "and export that"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileKind:
    """A kind of file.

    Attributes:
      name: one word for it.
      what: what it is, as a message says it.
      remedy: the one way on; ``{where}`` stands for the file's name.
      exported: whether ``latentlake export`` takes it.
    """

    name: str
    what: str
    remedy: str
    exported: bool = False


def _kinds(*rows: tuple[str, str, str] | tuple[str, str, str, bool]) -> dict[str, FileKind]:
    return {row[0]: FileKind(name=row[0], what=row[1], remedy=row[2], exported=len(row) == 4) for row in rows}


FILE_KINDS = _kinds(
    ("keras", "a .keras file", f"make a bundle of it: {_EXPORT}", True),
    ("hdf5", "an HDF5 file, as Keras 2 saves models", f"make a bundle of it: {_EXPORT}", True),
    ("hdf5-weights", "an HDF5 file with weights alone (save_weights)", _ARCHITECTURE),
    ("hdf5-data", "an HDF5 file that holds no Keras model", f"if it should: {_SAVE}"),
    ("bundle", "a bundle already", "name it as it is: --model {where}"),
    ("saved-model", "a TensorFlow SavedModel, a program", _GRAPH, True),
    ("checkpoint", "a TensorFlow checkpoint", _ARCHITECTURE),
    ("frozen-graph", "a TensorFlow graph (.pb), a program whose layers have no names", _SAVE),
    ("tflite", "a TensorFlow Lite file", f"it was made from a Keras model: {_SAVE}"),
    ("onnx", "an ONNX file", "make a bundle of it: latentlake export {where} --latent TENSOR --output BUNDLE", True),
    ("torch", "a PyTorch file (.pt, .pth), which is unpickled by running code", _TORCH),
    ("torch-script", "a TorchScript file, which is a program", _TORCH),
    ("safetensors", "a safetensors file, which holds weights alone", _TORCH),
    ("pickle", "a pickle (also of joblib), which is read by running code", _SAVE),
    ("matlab", "a MAT-file of MATLAB", "write the network whose weights it has as an ONNX file, and export that"),
    ("numpy", "an archive of NumPy arrays (.npz)", _ARCHITECTURE),
    ("json", "a JSON text, perhaps of model.to_json()", f"it has no weights: {_SAVE}"),
    ("html", "an HTML page", "download the file itself, not the page that shows it (on GitHub: 'Download raw file')"),
    ("lfs-pointer", "a pointer of git-lfs, not the file", "fetch the file: git lfs pull"),
    ("gzip", "a gzip file", "unpack it: gunzip, or tar -xzf"),
    ("tar", "a tar archive", "unpack it: tar -xf"),
    ("zip", "a zip archive that is no .keras file", f"unpack it if the model is in it, or {_SAVE}"),
    ("directory", "a directory without a model", "name the file or directory that model.save() wrote"),
    ("empty", "an empty file", "copy or download it again"),
    ("unknown", "no file that latentlake knows as a model", _SAVE),
)


def tell_kind(uri: str) -> FileKind:
    r"""Tell what a file or directory is.

    Args:
      uri: a path or URI.

    Raises:
      OSError: it cannot be read, or nothing is there.

    >>> import tempfile; from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     _ = Path(directory, "model.h5").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    ...     tell_kind(f"{directory}/model.h5").what
    'a pointer of git-lfs, not the file'
    """
    store = store_for(uri)
    if store.is_directory(uri):
        return FILE_KINDS[_kind_of_directory(uri)]
    with store.open(uri) as stream:
        return FILE_KINDS[_kind_of_file(stream, uri)]


def refusal(kind: FileKind, where: str) -> str:
    """What a message says of a file that is not taken.

    Args:
      kind: what it is.
      where: its name.

    >>> refusal(FILE_KINDS["empty"], "model.h5")
    'model.h5: this is an empty file; copy or download it again'
    """
    return f"{where}: this is {kind.what}; {kind.remedy.format(where=where)}"


def refuse_other(uri: str) -> FileKind:
    """Tell what a file is that should be exported.

    Args:
      uri: a path or URI.

    Raises:
      BundleError: ``latentlake export`` does not take such a file; the text says what it is and the way on.
      UsageError: it cannot be read.
    """
    try:
        kind = tell_kind(uri)
    except OSError as error:
        why = printable(error.strerror or str(error))
        raise UsageError(f"{uri}: cannot be read: {why}; name a file written by model.save()") from error
    if not kind.exported:
        raise BundleError(refusal(kind, uri))
    return kind


def _kind_of_directory(uri: str) -> str:
    listed = islice(store_for(uri).list(uri, Listing(deep=False)), _LISTED)
    names = {entry.uri.rpartition("/")[2] for entry in listed}
    if "model.json" in names and names & {"model.keras", "golden.npz"}:
        return "bundle"
    if "saved_model.pb" in names or "saved_model.pbtxt" in names:
        return "saved-model"
    return "checkpoint" if "checkpoint" in names or any(map(_is_of_checkpoint, names)) else "directory"


def _is_of_checkpoint(name: str) -> bool:
    return name.endswith((".ckpt", ".ckpt.index", ".index")) or ".data-00000-of-" in name


def _kind_of_file(stream: BinaryIO, uri: str) -> str:
    name = PurePosixPath(uri).name.lower()
    size = stream.seek(0, io.SEEK_END)
    stream.seek(0)
    head = stream.read(_HEAD)
    if zipfile.is_zipfile(stream):
        return _kind_of_zip(stream)
    for kind, fits in _SIGNATURES:
        if fits(head):
            return kind
    if _is_of_checkpoint(name):
        return "checkpoint"
    if _looks_like_onnx(head, name):
        return "onnx"
    return "frozen-graph" if name.endswith((".pb", ".pbtxt")) else "unknown" if size else "empty"


def _starts(*signatures: bytes) -> Callable[[bytes], bool]:
    return lambda head: head.startswith(signatures)


def _is_safetensors(head: bytes) -> bool:
    length = int.from_bytes(head[:8], "little")
    return head[8:9] == b"{" and 2 <= length < 100 << 20


def _is_html(head: bytes) -> bool:
    return head.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith((b"<!doctype", b"<html", b"<head", b"<?xml"))


def _is_json(head: bytes) -> bool:
    return head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith((b'{"', b"{ ", b"{\n", b"{\r", b'"{', b"[{"))


# Whoever knows a file by its first bytes; the first that fits is believed.
_SIGNATURES: Sequence[tuple[str, Callable[[bytes], bool]]] = (
    ("hdf5", _starts(b"\x89HDF\r\n\x1a\n")),
    ("matlab", _starts(b"MATLAB 5.0 MAT-file", b"MATLAB 7.3 MAT-file")),  # the latter is HDF5 from byte 512 on
    ("tflite", lambda head: head[4:8] == b"TFL3"),
    ("lfs-pointer", _starts(b"version https://git-lfs", b"version https://hawser")),
    ("safetensors", _is_safetensors),
    ("torch", _starts(b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P")),  # PyTorch before 1.6: a pickled number first
    ("pickle", _starts(*(bytes((0x80, protocol)) for protocol in range(2, 6)))),
    ("pickle", _starts(b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")),  # joblib, compressed
    ("gzip", _starts(b"\x1f\x8b")),
    ("tar", lambda head: head[257:262] == b"ustar"),
    ("html", _is_html),
    ("json", _is_json),
)


def _looks_like_onnx(head: bytes, name: str) -> bool:
    # A ModelProto begins with its ir_version, a small number, and mostly with the producer's name.
    return name.endswith(".onnx") or (
        head[:1] == b"\x08" and b"\x00" < head[1:2] < b"\x20" and head[2:3] in (b"\x12", b"\x3a")
    )


def _kind_of_zip(stream: BinaryIO) -> str:
    try:
        with zipfile.ZipFile(stream) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError):
        return "keras"  # damaged, which the audit says better
    last = {name.rpartition("/")[2] for name in names}
    if "model.weights.h5" in last and "config.json" in names:
        return "keras"
    if "data.pkl" in last:
        return "torch-script" if any("/code/" in name for name in names) else "torch"
    return "numpy" if names and all(name.endswith(".npy") for name in names) else "zip"
