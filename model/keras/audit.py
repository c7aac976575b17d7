"""Audit of a ``.keras`` file before Keras opens it.

A stranger's model must not run code, read files or fill the memory. Keras' own safe mode has been bypassed several
times (CVE-2024-3660, CVE-2025-1550, CVE-2025-8747, CVE-2025-9906, CVE-2025-12058, CVE-2025-12060, CVE-2026-0897), each
time by something that a plain autoencoder does not need. So this is an allow-list: of the archive's members, of the
configuration's classes, and of the kinds of HDF5 objects.
"""

import io
import re
import zipfile
import zlib
from pathlib import Path

from lake.core.errors import BundleError
from lake.core.printable import printable
from model.keras.archive import CONFIG, WEIGHTS, check_members, read_json, refused, write_copy
from model.keras.own_classes import own_classes
from model.keras.weights import check_weights
from model.spec import Json

_MAX_DEPTH = 200  # of nested JSON values; far below Python's recursion limit

MODEL_CLASSES = {"Functional", "Model", "Sequential"}
_SHAPING = """
    InputLayer Flatten Reshape Permute RepeatVector Cropping1D Cropping2D Cropping3D ZeroPadding1D ZeroPadding2D
    ZeroPadding3D UpSampling1D UpSampling2D UpSampling3D Identity Masking Add Subtract Multiply Average Maximum
    Minimum Concatenate Dot Rescaling Resizing CenterCrop Normalization
"""
_COMPUTING = """
    Dense EinsumDense Embedding Conv1D Conv2D Conv3D Conv1DTranspose Conv2DTranspose Conv3DTranspose DepthwiseConv1D
    DepthwiseConv2D SeparableConv1D SeparableConv2D MaxPooling1D MaxPooling2D MaxPooling3D AveragePooling1D
    AveragePooling2D AveragePooling3D GlobalAveragePooling1D GlobalAveragePooling2D GlobalAveragePooling3D
    GlobalMaxPooling1D GlobalMaxPooling2D GlobalMaxPooling3D AdaptiveAveragePooling1D AdaptiveAveragePooling2D
    AdaptiveAveragePooling3D AdaptiveMaxPooling1D AdaptiveMaxPooling2D AdaptiveMaxPooling3D BatchNormalization
    LayerNormalization GroupNormalization RMSNormalization UnitNormalization SpectralNormalization Activation ReLU
    LeakyReLU PReLU ELU Softmax Attention AdditiveAttention MultiHeadAttention GroupQueryAttention
    GroupedQueryAttention LSTM GRU SimpleRNN LSTMCell GRUCell SimpleRNNCell RNN Bidirectional TimeDistributed
"""
_RANDOM = """
    Dropout SpatialDropout1D SpatialDropout2D SpatialDropout3D AlphaDropout GaussianDropout GaussianNoise
    ActivityRegularization RandomFlip RandomRotation RandomZoom RandomTranslation RandomBrightness RandomContrast
    RandomCrop RandomErasing RandomShear RandomPerspective RandomElasticTransform RandomGaussianBlur RandomGrayscale
    RandomHue RandomSaturation RandomSharpness RandomInvert RandomPosterization RandomColorDegeneration
    RandomColorJitter
"""
LAYER_CLASSES = {*_SHAPING.split(), *_COMPUTING.split(), *_RANDOM.split()}
_POLICIES = {
    *("DTypePolicy", "FloatDTypePolicy", "QuantizedDTypePolicy", "QuantizedFloat8DTypePolicy", "Int4DTypePolicy"),
    "DTypePolicyMap",
}
# How ``quantize()`` has rounded weights. Those of AWQ and GPTQ hold a dataset and a tokenizer.
_QUANTIZERS = {"Int8QuantizationConfig", "Int4QuantizationConfig", "Float8QuantizationConfig", "AbsMaxQuantizer"}

# Module -> allowed classes; None for all classes of a module that only has arithmetic.
_CLASSES: dict[str, set[str] | None] = {
    "keras": MODEL_CLASSES | _POLICIES,
    "keras.models": MODEL_CLASSES,
    "keras.src.models.functional": {"Functional"},
    "keras.src.models.sequential": {"Sequential"},
    "keras.layers": LAYER_CLASSES,
    "keras.dtype_policies": _POLICIES,
    "keras.quantizers": _QUANTIZERS,
    "keras.initializers": None,
    "keras.regularizers": None,
    "keras.constraints": None,
    "keras.src.ops.core": {"Cast", "Slice", "StopGradient"},
    "keras.src.ops.image": None,
    "keras.src.ops.math": None,
    "keras.src.ops.nn": None,
    "keras.src.ops.numpy": None,
    # Weights of one dimension, multiplied; and one that in training alone drops a branch.
    "keras.src.applications.convnext": {"LayerScale", "StochasticDepth"},
    "keras.src.applications.inception_resnet_v2": {"CustomScaleLayer"},  # a sum, one side of it scaled
    "model.layers": {"First", "LegacyHardSigmoid", "Sampling"},
}
_REGISTERED = {  # this project's own layers
    ("model.layers", "First"): "latentlake>First",
    ("model.layers", "LegacyHardSigmoid"): "latentlake>LegacyHardSigmoid",
    ("model.layers", "Sampling"): "latentlake>Sampling",
}
_OWN_CONFIG = {"name", "trainable", "dtype"}  # the fields that their configuration may have
# Values that Keras serializes as if they were objects, without a class to look up.
_PLAIN = {"__keras_tensor__", "__numpy__", "__tensor__", "__slice__", "__ellipsis__", "__bytes__"}
_ARRAYS = {"__numpy__", "__tensor__"}
_DTYPES = {"bool", "bfloat16", "float16", "float32", "float64"} | {
    f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)
}
_MAX_ARRAY = 1 << 20  # numbers and lists of an array
# The size of what they put out depends on values, not on the configuration alone.
_UNBOUNDED = {"Arange", "Bincount", "Histogram", "Linspace", "Geomspace", "Logspace", "Nonzero", "Unique"}
# Why the best-known classes that are not allowed are dangerous, for messages.
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
_CUSTOM = (
    "give the file of Python that defines it, --code my_layers.py, or save a part of the model that does without it "
    "(docs/recipes_models.md)"
)
_UNLISTED = "save the model without it, or with a layer in its place that computes the same"
_FUNCTIONAL = (
    "where the model is made, apply its parts to an input as its call() does, and save that: "
    "x = keras.Input((H, W, C)); keras.Model(x, model.decoder(model.encoder(x))).save('functional.keras'); "
    "or give the file of Python that defines it by --code"
)
_CLASS_NAME = re.compile(r"[A-Z][A-Za-z0-9_]*")


def audited_copy(data: bytes, path: Path, where: str) -> int:
    """Check a ``.keras`` file without loading it, and write a copy for Keras to open.

    The copy holds what was checked and nothing else: its members are stored as they are, and its configuration is
    without optimizers, losses and metrics.

    Args:
      data: bytes of the whole file.
      path: of the copy. Nobody else may be able to change it before it is loaded.
      where: name of the file, for messages.

    Returns:
      Number of elements of all weights.

    Raises:
      BundleError: something in it is not on the allow-list, is too large, or is damaged; the text names it.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            check_members(archive, where)
            config = read_json(archive, CONFIG, where)
            check_config(config, where)
            write_copy(archive, config, path)
        with zipfile.ZipFile(path) as copy, copy.open(WEIGHTS) as weights:
            return check_weights(weights, copy.getinfo(WEIGHTS).file_size, where)
    except (zipfile.BadZipFile, NotImplementedError, EOFError, zlib.error) as error:
        why = printable(str(error))
        raise BundleError(f"{where}: not a whole .keras file ({why}); save the model again") from error


def check_config(config: Json, where: str) -> None:
    """Check that a model's configuration only names arithmetic of Keras and this project's own layers.

    Args:
      config: the parsed ``config.json``.
      where: name of the file, for messages.

    Raises:
      BundleError: it names something else.
    """
    if not isinstance(config, dict) or config.get("class_name") not in {*MODEL_CLASSES, *own_classes()}:
        name = config.get("class_name") if isinstance(config, dict) else type(config).__name__
        allowed = ", ".join(sorted(MODEL_CLASSES))
        what = f"it is of the class {name!r}, whose code is not in the file, where only {allowed} are"
        raise refused(where, what, _FUNCTIONAL)
    _walk(config, where, "", 0)


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
        if "inbound_nodes" in value:
            _check_calls(value["inbound_nodes"], where, name)
        for item in value.values():
            _walk(item, where, name, depth + 1)


def _check_class(value: Json, where: str, name: str) -> None:
    class_name, module = str(value["class_name"]), value.get("module")
    if class_name in _PLAIN:
        if class_name in _ARRAYS:
            _check_array(value.get("config"), where, name)
        return
    within = f" within {name!r}" if name else ""
    what = f"{_name(value) or 'an object'!r}{within} is a {class_name} of {module or 'no module'}"
    if _is_own(value, module):
        return
    if class_name in _WHY:
        raise refused(where, f"{what}: {_WHY[class_name]}")
    if not isinstance(module, str) or module not in _CLASSES:
        raise refused(where, f"{what}, which is not a part of Keras that is allowed", _CUSTOM)
    allowed = _CLASSES[module]
    if class_name in _UNBOUNDED:
        raise refused(where, f"{what}, which puts out any number of numbers")
    if not (class_name in allowed if allowed else _CLASS_NAME.fullmatch(class_name)):
        raise refused(where, f"{what}, which is not on the list of allowed classes", _UNLISTED)
    own, config = _REGISTERED.get((module, class_name)), value.get("config")
    if value.get("registered_name") not in ((own,) if own else (None, class_name)):
        raise refused(where, f"{what}, registered as {value.get('registered_name')!r}")
    if own and not (isinstance(config, dict) and set(config) <= _OWN_CONFIG):
        raise refused(where, f"{what} with more in its configuration than a {class_name} has")


def _is_own(value: Json, module: Json) -> bool:
    """Whether it is a class or function of the model's own code, which somebody has allowed to run."""
    own, plain = own_classes(), str(module).partition(".")[0] != "keras"
    if value["class_name"] == "function":
        return value.get("config") in own if isinstance(value.get("config"), str) else False
    # By both names: Keras would import the module of one that is not registered.
    return plain and value["class_name"] in own and value.get("registered_name") in own


def _check_array(config: Json, where: str, name: str) -> None:
    """Check an array in the configuration: its memory must not be more than that of its numbers as text."""
    known = isinstance(config, dict) and set(config) == {"value", "dtype"}
    dtype = config["dtype"] if known else None
    if not isinstance(dtype, str) or dtype not in _DTYPES:
        raise refused(where, f"an array within {name!r} is of type {dtype!r}, which is no number")
    if not _are_numbers(config["value"]):
        raise refused(where, f"an array within {name!r} holds something else than up to {_MAX_ARRAY} numbers")


def _are_numbers(value: Json) -> bool:
    waiting, count = [value], 0
    while waiting and count <= _MAX_ARRAY:
        item = waiting.pop()
        count += 1
        if isinstance(item, list):
            waiting += item
        elif not isinstance(item, (int, float)):
            return False
    return count <= _MAX_ARRAY


def _check_calls(nodes: Json, where: str, name: str) -> None:
    """Check that every call of a layer or operation is given a tensor: one without would be computed while loading."""
    if not isinstance(nodes, list) or not all(_takes_tensor(node) for node in nodes):
        raise refused(where, f"{name!r} is called without a tensor, so that it would run while the model is loaded")


def _takes_tensor(node: Json) -> bool:
    if isinstance(node, list):  # as Keras 2 wrote them: each item names a layer whose output is taken
        return bool(node)
    return isinstance(node, dict) and any(map(_has_tensor, (node.get("args"), node.get("kwargs"))))


def _has_tensor(value: Json) -> bool:
    # Not in the configuration of other objects: what those hold is not what the operation is called with.
    if isinstance(value, list):
        return any(map(_has_tensor, value))
    if not isinstance(value, dict):
        return False
    if "class_name" in value:
        return bool(value["class_name"] == "__keras_tensor__")
    return any(map(_has_tensor, value.values()))


def _name(value: Json) -> str | None:
    config = value.get("config")
    name = config.get("name") if isinstance(config, dict) else None
    return name if isinstance(name, str) else None
