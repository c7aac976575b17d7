"""Where the ONNX graph of an export comes from: a file, or a SavedModel that somebody has allowed to be loaded."""

from pathlib import Path

from lake.core.errors import BundleError, UsageError
from lake.core.tensorflow import require_tensorflow
from model.export_parts import read_file
from model.file_kind import FileKind, refusal
from model.onnx_import.saved_model import convert_saved_model

GRAPH_KINDS = ("onnx", "saved-model")


def read_graph(path: Path, kind: FileKind, *, allow_graph: bool, signature: str | None) -> bytes | None:
    """The bytes of an ONNX graph; None for what is no graph but layers.

    Args:
      path: the file or directory.
      kind: what it is.
      allow_graph: whether a SavedModel, which is a program, may be loaded.
      signature: which of a SavedModel's signatures; None for the usual one.

    Raises:
      BundleError: it is a SavedModel, and may not be loaded or does not convert.
      UsageError: an option is for SavedModels, and it is none.
    """
    if kind.name == "saved-model":
        if not allow_graph:
            raise BundleError(refusal(kind, str(path)))
        require_tensorflow("export of a SavedModel")
        return convert_saved_model(path, signature)
    if allow_graph or signature is not None:
        flag = "--allow-graph" if allow_graph else "--serving-signature"
        raise UsageError(f"{path}: {flag} is for SavedModels, and this is {kind.what}; leave it out")
    return read_file(str(path)) if kind.name == "onnx" else None
