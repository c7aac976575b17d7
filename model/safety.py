"""Audit of a ``.keras`` file before Keras opens it: a stranger's model must not run code, read files or fill memory.

Keras' own safe mode has been bypassed more than once (CVE-2024-3660, CVE-2025-1550, CVE-2025-8747, CVE-2025-9906,
CVE-2025-12058, CVE-2025-12060, CVE-2026-0897), each time by something that a plain autoencoder does not need. So this
is an allow-list: the members of the archive, the classes of the configuration, the kinds of HDF5 objects.
"""

import json
import re
import zipfile
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

from model.spec import Json
from pipeline.errors import BundleError

_MEMBERS = {"metadata.json": 1 << 20, "config.json": 16 << 20, "model.weights.h5": 8 << 30}  # largest size in bytes
_MAX_DEPTH = 200

_MODELS = {"Functional", "Model", "Sequential"}
_SHAPING = """
    InputLayer Flatten Reshape Permute RepeatVector Cropping1D Cropping2D Cropping3D ZeroPadding1D ZeroPadding2D
    ZeroPadding3D UpSampling1D UpSampling2D UpSampling3D Identity Masking Add Subtract Multiply Average Maximum
    Minimum Concatenate Dot Rescaling Resizing CenterCrop Normalization
"""
_COMPUTING = """
    Dense EinsumDense Embedding Conv1D Conv2D Conv3D Conv1DTranspose Conv2DTranspose Conv3DTranspose DepthwiseConv1D
    DepthwiseConv2D SeparableConv1D SeparableConv2D MaxPooling1D MaxPooling2D MaxPooling3D AveragePooling1D
    AveragePooling2D AveragePooling3D GlobalAveragePooling1D GlobalAveragePooling2D GlobalAveragePooling3D
    GlobalMaxPooling1D GlobalMaxPooling2D GlobalMaxPooling3D BatchNormalization LayerNormalization
    GroupNormalization RMSNormalization UnitNormalization SpectralNormalization Activation ReLU LeakyReLU PReLU ELU
    Softmax Attention AdditiveAttention MultiHeadAttention GroupedQueryAttention LSTM GRU SimpleRNN LSTMCell GRUCell
    SimpleRNNCell RNN Bidirectional TimeDistributed
"""
_RANDOM = """
    Dropout SpatialDropout1D SpatialDropout2D SpatialDropout3D AlphaDropout GaussianDropout GaussianNoise
    ActivityRegularization RandomFlip RandomRotation RandomZoom RandomTranslation RandomBrightness RandomContrast
    RandomCrop RandomErasing
"""
_LAYERS = {*_SHAPING.split(), *_COMPUTING.split(), *_RANDOM.split()}
_POLICIES = {"DTypePolicy", "FloatDTypePolicy", "QuantizedDTypePolicy", "QuantizedFloat8DTypePolicy", "DTypePolicyMap"}

# module -> classes; None for every class of a module whose classes are arithmetic only
_CLASSES: dict[str, set[str] | None] = {
    "keras": _MODELS | _POLICIES,
    "keras.models": _MODELS,
    "keras.src.models.functional": {"Functional"},
    "keras.src.models.sequential": {"Sequential"},
    "keras.layers": _LAYERS,
    "keras.dtype_policies": _POLICIES,
    "keras.initializers": None,
    "keras.regularizers": None,
    "keras.constraints": None,
    "keras.optimizers": None,
    "keras.optimizers.schedules": None,
    "keras.losses": None,
    "keras.metrics": None,
    "keras.src.ops.core": {"Cast", "Slice", "StopGradient"},
    "keras.src.ops.image": None,
    "keras.src.ops.math": None,
    "keras.src.ops.nn": None,
    "keras.src.ops.numpy": None,
    "model.layers": {"Sampling"},
}
_REGISTERED = {("model.layers", "Sampling"): "latentlake>Sampling"}  # this project's own
_OWN_CONFIG = {"name", "trainable", "dtype"}  # all that its configuration may hold
_PLAIN = {"__keras_tensor__", "__numpy__", "__tensor__", "__slice__", "__ellipsis__", "__bytes__"}
_WHY = {
    "Lambda": "it holds Python code",
    "__lambda__": "it holds Python code",
    "TFSMLayer": "it runs a TensorFlow program from elsewhere",
    "TorchModuleWrapper": "it unpickles Python objects",
    "FlaxLayer": "it calls Python code",
    "JaxLayer": "it calls Python code",
    "function": "it is a function looked up by name",
    "__typespec__": "it looks up a class by name",
    "StringLookup": "it reads files",
    "IntegerLookup": "it reads files",
    "TextVectorization": "it reads files",
}
_CLASS_NAME = re.compile(r"[A-Z][A-Za-z0-9_]*")


def audit(path: Path, where: str) -> int:
    """Check a ``.keras`` file without loading it.

    Args:
      path: the file, which nobody else may change until it is loaded.
      where: what to call it in errors.

    Returns:
      How many numbers its weights are.

    Raises:
      BundleError: something in it is not on the allow-list, or larger than it should be; the text says what.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            _check_members(archive, where)
            check_config(_config(archive, where), where)
            with archive.open("model.weights.h5") as weights:
                return _check_weights(weights, archive.getinfo("model.weights.h5").file_size, where)
    except (zipfile.BadZipFile, NotImplementedError, EOFError) as error:
        raise BundleError(f"{where}: not a whole .keras file ({error}); save the model again") from error


def refused(where: str, what: str) -> BundleError:
    """The error for a file that is not loaded because of ``what``."""
    return BundleError(
        f"{where}: refused, not loaded: {what}; rebuild the model from Keras' own layers and save it again"
    )


def _check_members(archive: zipfile.ZipFile, where: str) -> None:
    names = [info.filename for info in archive.infolist()]
    if strange := sorted(set(names) - set(_MEMBERS)):
        raise refused(where, f"it has the member {strange[0]!r}, where only {', '.join(_MEMBERS)} belong")
    if missing := sorted(set(_MEMBERS) - set(names)):
        raise BundleError(f"{where}: not a whole .keras file ({missing[0]} is missing); save the model again")
    if len(names) != len(set(names)):
        raise refused(where, "it has a member twice")
    for info in archive.infolist():
        if info.flag_bits & 0x1:
            raise refused(where, f"{info.filename} is encrypted")
        # What Keras writes is not compressed; somebody may have zipped it again.
        if info.file_size > min(_MEMBERS[info.filename], 1024 + 100 * info.compress_size):
            raise refused(where, f"{info.filename} claims {info.file_size} bytes in {info.compress_size}")


def _config(archive: zipfile.ZipFile, where: str) -> Json:
    try:
        return json.loads(archive.read("config.json"))
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{where}: config.json is not valid JSON ({error}); save the model again") from error


def check_config(config: Json, where: str) -> None:
    """Check that a model's configuration names nothing but Keras' own arithmetic.

    Raises:
      BundleError: it names something else.
    """
    if not isinstance(config, dict) or config.get("class_name") not in _MODELS:
        name = config.get("class_name") if isinstance(config, dict) else type(config).__name__
        raise refused(where, f"it is of the class {name!r}, where only {', '.join(sorted(_MODELS))} are allowed")
    # The optimizer and loss of the outermost model are never built; those of models within it are.
    _walk({key: value for key, value in config.items() if key != "compile_config"}, where, "", 0)


def _walk(value: Json, where: str, name: str, depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise refused(where, "its configuration is nested too deeply")
    if isinstance(value, list):
        for item in value:
            _walk(item, where, name, depth + 1)
    elif isinstance(value, dict):
        if "class_name" in value:
            _check_class(value, where, name)
            name = _name(value) or name
        for item in value.values():
            _walk(item, where, name, depth + 1)


def _check_class(value: Json, where: str, name: str) -> None:
    class_name, module = str(value["class_name"]), value.get("module")
    if class_name in _PLAIN:
        return
    within = f" within {name!r}" if name else ""
    what = f"{_name(value) or 'an object'!r}{within} is a {class_name} of {module or 'no module'}"
    if class_name in _WHY:
        raise refused(where, f"{what}: {_WHY[class_name]}")
    if not isinstance(module, str) or module not in _CLASSES:
        raise refused(where, f"{what}, which is not a part of Keras that is allowed")
    allowed = _CLASSES[module]
    if not (class_name in allowed if allowed else _CLASS_NAME.fullmatch(class_name)):
        raise refused(where, f"{what}, which is not on the list of allowed classes")
    own, config = _REGISTERED.get((module, class_name)), value.get("config")
    if value.get("registered_name") not in ((own,) if own else (None, class_name)):
        raise refused(where, f"{what}, registered as {value.get('registered_name')!r}")
    if own and not (isinstance(config, dict) and set(config) <= _OWN_CONFIG):
        raise refused(where, f"{what} with more in its configuration than a {class_name} has")


def _name(value: Json) -> str | None:
    config = value.get("config")
    name = config.get("name") if isinstance(config, dict) else None
    return name if isinstance(name, str) else None


def _check_weights(stream: Any, size: int, where: str) -> int:
    import h5py

    try:
        with h5py.File(stream, "r") as file:
            datasets = list(_datasets(file, where))
            count = sum(prod(item.shape or ()) for item in datasets)
            claimed = sum(prod(item.shape or ()) * item.dtype.itemsize for item in datasets)
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise BundleError(f"{where}: model.weights.h5 is damaged ({error}); save the model again") from error
    if claimed > size:  # what Keras writes is not compressed
        raise refused(where, f"model.weights.h5 claims {claimed} bytes of weights in {size}")
    return count


def _datasets(file: Any, where: str) -> Iterator[Any]:
    """Every dataset of an HDF5 file once, checked; groups may form a ring, so they are visited once too."""
    import h5py

    visited, waiting = set(), [file]
    while waiting:
        group = waiting.pop()
        for name in group:
            if type(group.get(name, getlink=True)) is not h5py.HardLink:
                raise refused(
                    where, f"{name!r} in {group.name!r} of model.weights.h5 is a link to another place or file"
                )
            item = group[name]
            address = h5py.h5o.get_info(item.id).addr
            if address in visited:
                continue
            visited.add(address)
            if isinstance(item, h5py.Group):
                waiting.append(item)
            else:
                _check_dataset(item, where)
                yield item


def _check_dataset(item: Any, where: str) -> None:
    import h5py

    what = f"{item.name!r} in model.weights.h5"
    if not isinstance(item, h5py.Dataset):
        raise refused(where, f"{what} is a {type(item).__name__}")
    if item.external or item.is_virtual:
        raise refused(where, f"{what} takes its data from another file")
    if item.id.get_create_plist().get_nfilters():
        raise refused(where, f"{what} is compressed or filtered")
    if item.dtype.kind not in "fiubV" or item.dtype.hasobject:
        raise refused(where, f"{what} is of type {item.dtype}")
