"""Where the ONNX graphs of an export come from: files, or a SavedModel that somebody has allowed to be loaded."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lake.core.errors import BundleError, UsageError
from lake.core.tensorflow import require_tensorflow
from model.export_parts import read_file
from model.file_kind import FileKind, refusal, refuse_other
from model.onnx_import.outside import with_weights
from model.onnx_import.saved_model import convert_saved_model
from model.parts import Parts


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphFile:
    """An ONNX file.

    Attributes:
      data: its bytes.
      where: its name, for messages.
    """

    data: bytes
    where: str


def read_graphs(path: Path | Parts, *, allow_graph: bool, signature: str | None) -> Mapping[str, GraphFile] | None:
    """The ONNX graphs of an export, by 'model', 'encoder' and 'decoder'; None for what is no graph but layers.

    Args:
      path: the file or directory, or the files of an encoder and a decoder.
      allow_graph: whether a SavedModel, which is a program, may be loaded.
      signature: which of a SavedModel's signatures; None for the usual one.

    Raises:
      BundleError: a file is not taken, or is a SavedModel that may not be loaded or does not convert.
      UsageError: an option is for SavedModels, and it is none; or parts are of different kinds.
    """
    if isinstance(path, Parts):
        return _read_parts(path, {role: refuse_other(str(file)) for role, file in path.files.items()})
    kind = refuse_other(str(path))
    if kind.name == "saved-model":
        if not allow_graph:
            raise BundleError(refusal(kind, str(path)))
        require_tensorflow("export of a SavedModel")
        return {"model": GraphFile(data=convert_saved_model(path, signature), where=str(path))}
    if allow_graph or signature is not None:
        flag = "--allow-graph" if allow_graph else "--serving-signature"
        raise UsageError(f"{path}: {flag} is for SavedModels, and this is {kind.what}; leave it out")
    return _read({"model": path}) if kind.name == "onnx" else None


def _read_parts(parts: Parts, kinds: Mapping[str, FileKind]) -> Mapping[str, GraphFile] | None:
    for role, kind in kinds.items():
        if kind.name == "saved-model":
            raise UsageError(
                f"{parts.files[role]}: parts are Keras models or ONNX files, and this is {kind.what}; convert it "
                "with tf2onnx, or export the whole network"
            )
    graphs = [kind.name == "onnx" for kind in kinds.values()]
    if any(graphs) and not all(graphs):
        shown = ", ".join(f"{parts.files[role]} is {kind.what}" for role, kind in kinds.items())
        raise UsageError(
            f"{shown}: both parts have to be of one kind; in Keras, model.export('part.onnx', format='onnx') writes "
            "the other one as an ONNX file"
        )
    return _read(parts.files) if any(graphs) else None


def _read(files: Mapping[str, Path]) -> Mapping[str, GraphFile]:
    return {
        role: GraphFile(data=with_weights(read_file(str(file)), str(file)), where=str(file))
        for role, file in files.items()
    }


def check_options_of_graph(precision: str | None, *, kind: str | None, code: Path | None) -> None:
    """Refuse what is for Keras models alone.

    Raises:
      UsageError: one of the arguments is.
    """
    if code is not None:
        raise UsageError("--code is for Keras models; an ONNX file has no layers of its own, leave it out")
    if precision not in (None, "float32", "int8"):
        raise UsageError(
            f"--precision {precision} is for Keras models; an ONNX file computes in its own or in int8, leave it out"
        )
    if kind is not None:
        raise UsageError(f"kind {kind!r}: of an ONNX file it is told by its latent and outputs; leave it out")
