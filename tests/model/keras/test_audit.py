import io
import json
import warnings
import zipfile
from importlib import import_module

import h5py
import numpy as np
import pytest

from lake.core.errors import BundleError
from lake.core.tensorflow import keras
from model.export import export
from model.keras.audit import check_config
from model.keras.load import load_model
from model.keras.save import serialize_model
from model.runtime import executors_of
from model.training.networks import build_vae


@pytest.fixture(scope="session")
def members(saved) -> dict[str, bytes]:
    with zipfile.ZipFile(saved) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _members(model) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(serialize_model(model))) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _zip(members, **options) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", **options) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return stream.getvalue()


def _refused(data: bytes, reason: str) -> None:
    with pytest.raises(BundleError, match=reason) as raised:
        load_model(data, "theirs.keras")
    assert str(raised.value).startswith("theirs.keras: ")


def _edited(members, edit) -> bytes:
    config = json.loads(members["config.json"])
    edit(config)
    return _zip({**members, "config.json": json.dumps(config).encode()})


def _weights(members, edit) -> bytes:
    stream = io.BytesIO(members["model.weights.h5"])
    with h5py.File(stream, "r+") as file:
        edit(file)
    return _zip({**members, "model.weights.h5": stream.getvalue()})


def test_an_unchanged_file_loads(members, network):
    loaded = load_model(_zip(members), "theirs.keras")
    for got, want in zip(loaded.get_weights(), network.get_weights(), strict=True):
        assert np.array_equal(got, want)
    load_model(_zip(members, compression=zipfile.ZIP_DEFLATED), "theirs.keras")  # zipped again by somebody


def test_a_lambda_layer(layers, save):
    image = layers.Input((4,))
    model = keras().Model(image, layers.Lambda(lambda x: x * 2, name="double")(image))
    _refused(
        save(model).read_bytes(), "refused, not loaded: 'double' within .* is a Lambda of keras.layers: it holds Python"
    )


def _layer(class_name, module="keras.layers", **more):
    return {"class_name": class_name, "module": module, "config": {"name": "evil"}, "registered_name": None, **more}


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (
            _layer("TFSMLayer"),
            "'evil' within 'autoencoder' is a TFSMLayer of keras.layers: it runs a TensorFlow program",
        ),
        (_layer("TorchModuleWrapper"), "is a TorchModuleWrapper of keras.layers: it unpickles"),
        (_layer("FlaxLayer"), "is a FlaxLayer of keras.layers: it calls Python code"),
        (_layer("JaxLayer"), "is a JaxLayer of keras.layers: it calls Python code"),
        (_layer("StringLookup"), "is a StringLookup of keras.layers: it reads files"),
        (_layer("TextVectorization"), "is a TextVectorization of keras.layers: it reads files"),
        (_layer("Layer"), "is a Layer of keras.layers, which is not on the list"),
        (_layer("Dense", module="theirs.layers"), "is a Dense of theirs.layers, which is not a part of Keras"),
        (_layer("Dense", module=None), "is a Dense of no module, which is not a part of Keras"),
        (_layer("Dense", registered_name="pkg>Dense"), "is a Dense of keras.layers, registered as 'pkg>Dense'"),
        (_layer("get_file", module="keras.utils"), "is a get_file of keras.utils, which is not a part of Keras"),
        (_layer("getLogger", module="logging"), "is a getLogger of logging"),
        (_layer("get", module="keras.initializers"), "is a get of keras.initializers, which is not on the list"),
        (_layer("__lambda__"), "is a __lambda__ of keras.layers: it holds Python code"),
        (_layer("__typespec__", spec_name="x"), "is a __typespec__ .*: it looks up a class by name"),
        (_layer("function", module="builtins", registered_name="function"), "a function looked up by name"),
        (_layer(["Dense"]), r"is a \['Dense'\] of keras.layers"),
    ],
)
def test_classes_that_are_not_arithmetic(members, layer, reason):
    _refused(
        _edited(members, lambda config: config["config"]["layers"].append(layer)), f"refused, not loaded: .*{reason}"
    )


@pytest.fixture(scope="module")
def vae(layers, tmp_path_factory):
    path = tmp_path_factory.mktemp("vae") / "vae.keras"
    build_vae((8, 8, 1), 3).save(path)
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_the_layer_of_this_project_loads(vae):
    layer = load_model(_zip(vae), "vae.keras").get_layer("z")
    assert type(layer) is import_module("model.layers").Sampling
    assert layer([np.ones((2, 3)), np.zeros((2, 3))]).numpy().tolist() == [[1, 1, 1]] * 2


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"registered_name": None}, "Sampling of model.layers, registered as None"),
        ({"registered_name": "theirs>Sampling"}, "registered as 'theirs>Sampling'"),
        ({"class_name": "Any"}, "is a Any of model.layers, which is not on the list"),
        ({"class_name": "keras"}, "is a keras of model.layers, which is not on the list"),
        ({"module": "model.train"}, "which is not a part of Keras that is allowed"),
        ({"config": {"name": "z", "file": "/etc/passwd"}}, "with more in its configuration than a Sampling has"),
        ({"config": [{}]}, "with more in its configuration than a Sampling has"),
    ],
)
def test_what_only_looks_like_the_layer_of_this_project(vae, change, reason):
    def edit(config):
        (layer,) = (layer for layer in config["config"]["layers"] if layer["class_name"] == "Sampling")
        layer.update(change)

    _refused(_edited(vae, edit), reason)


@pytest.mark.parametrize(
    "place", ["activation", "kernel_initializer", "kernel_regularizer", "bias_constraint", "dtype"]
)
def test_a_function_hidden_in_a_layer(members, place):
    function = {"class_name": "function", "module": "os", "config": "system", "registered_name": "system"}

    def edit(config):
        config["config"]["layers"][1]["config"][place] = function

    _refused(_edited(members, edit), "within 'down_1' is a function of os: it is a function looked up by name")


@pytest.fixture(scope="module")
def nested(layers):
    """A model within a model."""
    inner = keras().Sequential([layers.Input((4,)), layers.Dense(4, name="code")], name="inner")
    image = layers.Input((4,))
    return _members(keras().Model(image, inner(image)))


@pytest.mark.parametrize("level", ["outer", "inner"])
def test_what_only_training_needs_is_never_built(nested, level):
    """An AUC of 3e8 thresholds takes 5 GB; Keras builds that of a model within the model."""
    auc = {"class_name": "AUC", "module": "keras.metrics", "config": {"num_thresholds": 3 * 10**8}}
    parts = {"optimizer": "adam", "loss": "mse", "metrics": [{**auc, "registered_name": None}]}

    def edit(config):
        found = config if level == "outer" else config["config"]["layers"][1]
        assert found["class_name"] in ("Functional", "Sequential")
        found["compile_config"] = parts

    model = load_model(_edited(nested, edit), "theirs.keras")
    assert not model.compiled
    assert not model.get_layer("inner").compiled
    assert model(np.ones((1, 4))).shape == (1, 4)


@pytest.mark.parametrize("module", ["metrics", "losses", "optimizers"])
def test_what_only_training_needs_has_no_place_in_a_layer(members, module):
    theirs = {"class_name": "AUC", "module": f"keras.{module}", "config": {}, "registered_name": None}
    edit = lambda config: config["config"]["layers"][1]["config"].update(activation=theirs)  # noqa: E731
    _refused(_edited(members, edit), f"is a AUC of keras.{module}, which is not a part of Keras that is allowed")


def _call(*arguments, **more):
    operation = {"module": "keras.src.ops.numpy", "class_name": "Tile", "registered_name": "Tile", "name": "bomb"}
    config = {"name": "bomb", "repeats": [4]}
    return {**operation, "config": config, "inbound_nodes": [{"args": list(arguments), "kwargs": more}]}


def _array(value, dtype="float32", kind="__numpy__"):
    return {"class_name": kind, "config": {"value": value, "dtype": dtype}}


_TENSOR = {"class_name": "__keras_tensor__", "config": {"shape": [None], "dtype": "float32", "keras_history": None}}


@pytest.mark.parametrize(
    "call",
    [
        _call(_array([1.0])),
        _call(2.0),
        _call(),
        _call(x=_array([1.0])),
        _call(_call(_TENSOR)),  # the tensor is not what the operation is called with
        {**_call(_TENSOR), "inbound_nodes": [{"args": [_TENSOR], "kwargs": {}}, []]},
        {**_call(_TENSOR), "inbound_nodes": {"args": [_TENSOR]}},
    ],
)
def test_an_operation_that_would_run_while_loading(members, call):
    _refused(_edited(members, lambda config: config["config"]["layers"].append(call)), "'bomb' is called without a te")


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (_array(["x"] * 8, "S1073741824"), "an array within 'bomb' is of type 'S1073741824', which is no number"),
        (_array(["x"], "S1073741824", "__tensor__"), "is of type 'S1073741824'"),
        (_array([1], "object"), "is of type 'object'"),
        (_array([1], "V9999999999"), "is of type 'V9999999999'"),
        (_array([1], ["f4"]), r"is of type \['f4'\]"),
        (_array([1], None), "is of type None"),
        ({"class_name": "__numpy__"}, "is of type None"),
        (_array("x"), "holds something else than up to 1048576 numbers"),
        (_array([[1.0, None]]), "holds something else"),
        (_array([0] * (1 << 20)), "holds something else"),
    ],
)
def test_arrays_that_are_more_than_their_text(members, array, reason):
    call = _call(_TENSOR, array)
    _refused(_edited(members, lambda config: config["config"]["layers"].append(call)), reason)


def test_operations_whose_size_depends_on_values(members):
    call = _call(_TENSOR) | {"class_name": "Bincount", "registered_name": "Bincount"}
    _refused(_edited(members, lambda config: config["config"]["layers"].append(call)), "puts out any number of numbers")


def test_operations_and_arrays_as_people_use_them(layers):
    image = layers.Input((4,))
    x = keras().ops.concatenate([image, keras().ops.tile(image * np.arange(4, dtype="float32"), (1, 2))], axis=-1)
    model = keras().Model(image, 1.0 - x)
    given = np.arange(8, dtype=np.float32).reshape(2, 4)
    got = load_model(_zip(_members(model)), "theirs.keras")(given).numpy()
    assert np.array_equal(got, 1 - np.concatenate([given, *[given * np.arange(4)] * 2], axis=-1))


# What augments is idle but in training.
_AUGMENTING = {
    "RandomPerspective": {},
    "RandomElasticTransform": {},
    "RandomGaussianBlur": {"kernel_size": 3, "sigma": (0.1, 1.0)},
    "RandomGrayscale": {},
    "RandomHue": {"factor": 0.2},
    "RandomSaturation": {"factor": 0.2},
    "RandomSharpness": {"factor": 0.2},
    "RandomInvert": {},
    "RandomPosterization": {"factor": 4},
    "RandomColorDegeneration": {"factor": 0.2},
    "RandomColorJitter": {"brightness_factor": 0.2, "hue_factor": 0.1},
}
_POOLING = {f"Adaptive{kind}Pooling2D": {"output_size": (2, 3)} for kind in ("Average", "Max")}


@pytest.mark.parametrize(("name", "options"), (_AUGMENTING | _POOLING).items(), ids=str)
def test_layers_that_newer_versions_of_keras_have(layers, save, name, options):
    image = layers.Input((8, 6, 3))
    model = keras().Model(image, layers.Dense(3)(getattr(layers, name)(**options)(image)))
    given = np.random.default_rng(0).random((2, 8, 6, 3), np.float32)
    loaded = load_model(save(model).read_bytes(), "theirs.keras")
    assert np.array_equal(loaded(given, training=False).numpy(), model(given, training=False).numpy())


def test_attention_of_groups_has_another_name_in_files_than_its_class(layers, save):
    rows = layers.Input((5, 8))
    model = keras().Model(rows, layers.GroupQueryAttention(4, 4, 2)(rows, rows))
    given = np.random.default_rng(0).random((2, 5, 8), np.float32)
    loaded = load_model(save(model).read_bytes(), "theirs.keras")
    assert np.array_equal(loaded(given, training=False).numpy(), model(given, training=False).numpy())


def _quantized(layers, mode):
    """A small autoencoder of dense layers, quantized; of its other layers Keras warns that it leaves them."""
    keras().utils.set_random_seed(0)
    image = layers.Input((4, 4, 1))
    rows = layers.Dense(8, "relu", name="latent")(layers.Flatten()(image))
    model = keras().Model(image, layers.Reshape((4, 4, 1))(layers.Dense(16, "sigmoid")(rows)))
    with warnings.catch_warnings(action="ignore"):
        model.quantize(mode)
    return model


# float8 is quantized in training alone, and ONNX has no such matrix product.
@pytest.mark.parametrize(("mode", "executors"), [("int8", 2), ("int4", 2), ("float8", 1)])
def test_models_that_keras_has_quantized(layers, save, tmp_path, mode, executors):
    model = _quantized(layers, mode)
    file, given = save(model), np.random.default_rng(0).random((5, 4, 4, 1), np.float32)
    loaded = load_model(file.read_bytes(), "theirs.keras")
    assert np.array_equal(loaded(given).numpy(), model(given).numpy())
    bundle = export(file, "latent", str(tmp_path / "bundle"))
    assert len(executors_of(bundle)) == executors


@pytest.mark.parametrize("kind", ["GPTQConfig", "AWQConfig"])
def test_a_quantization_that_holds_data_is_refused(layers, save, kind):
    model = _quantized(layers, "int8")

    def edit(config):
        for layer in config["config"]["layers"]:
            if found := layer["config"].get("quantization_config"):
                found["class_name"] = kind

    _refused(_edited(_members(model), edit), f"{kind} of keras.quantizers, which is not on the list")


def test_a_layer_of_keras_that_is_not_allowed_says_what_to_do(layers, save):
    image = layers.Input((8, 6, 3))
    model = keras().Model(image, layers.Solarization()(image))
    _refused(save(model).read_bytes(), "not on the list of allowed classes; save the model without it")


def test_a_custom_model_class(members):
    _refused(_edited(members, lambda config: config.update(class_name="Theirs")), "it is of the class 'Theirs'")


def test_deep_nesting(members):
    def edit(config):
        for _ in range(300):
            config["config"] = {"layers": [], "more": config["config"]}

    _refused(_edited(members, edit), "nested too deeply")
    _refused(_zip({**members, "config.json": b"[" * 100_000}), "config.json is not valid JSON")
    with pytest.raises(BundleError, match="class 'list'"):
        check_config([], "x")


@pytest.mark.parametrize("name", ["assets/vocabulary.txt", "../config.json", "/etc/passwd", "model.weights.npz"])
def test_other_members(members, name):
    _refused(_zip({**members, name: b""}), f"it has the member '{name}'")


@pytest.mark.parametrize("name", ["config.json", "metadata.json", "model.weights.h5"])
def test_missing_members(members, name):
    _refused(_zip({k: v for k, v in members.items() if k != name}), f"not a whole .keras file.*{name} is missing")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_member_twice(members):
    stream = io.BytesIO(_zip(members))
    with zipfile.ZipFile(stream, "a") as archive:
        archive.writestr("config.json", b"{}")
    _refused(stream.getvalue(), "a member twice")


def test_a_zip_bomb(members):
    bomb = _zip({**members, "config.json": b" " * (10 << 20)}, compression=zipfile.ZIP_DEFLATED)
    _refused(bomb, "config.json claims 10485760 bytes in 10")
    _refused(_zip({**members, "config.json": b" " * (17 << 20)}), "config.json claims 17825792 bytes")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
@pytest.mark.parametrize("name", ["config.json", "metadata.json", "model.weights.h5"])
def test_members_that_expand_at_once(members, method, name):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for member, content in members.items():
            archive.writestr(member, content, method if member == name else zipfile.ZIP_STORED)
    _refused(stream.getvalue(), f"{name} is compressed with another method than deflate")


@pytest.mark.parametrize("claimed", [100, 1 << 14])
def test_a_member_whose_size_lies(members, claimed):
    """The archive's directory says another size than the deflated member has."""
    data = bytearray(_zip({**members, "metadata.json": b" " * 5000}, compression=zipfile.ZIP_DEFLATED))
    entry = data.rindex(b"metadata.json") - 46
    data[entry + 24 : entry + 28] = claimed.to_bytes(4, "little")
    _refused(bytes(data), "not a whole .keras file|claims 16384 bytes in")


@pytest.mark.parametrize("keep", [0, 10, 5_000, -1])
def test_a_cut_file(members, keep):
    _refused(_zip(members)[:keep], "not a whole .keras file|damaged")


def test_every_kind_of_flipped_byte_is_found(members):
    whole = _zip(members)
    for position in np.random.default_rng(0).integers(0, len(whole), 25):
        damaged = bytearray(whole)
        damaged[position] ^= 0x10
        try:
            load_model(bytes(damaged), "damaged")
        except BundleError:
            continue  # what loads nevertheless is caught by its digest


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (
            lambda f: f.update(x=h5py.ExternalLink("/etc/passwd", "/x")),
            "'x' in '/' of .* is a link to another place or file",
        ),
        (
            lambda f: f["layers"].update(x=h5py.SoftLink("/layers")),
            "'x' in '/layers' .* is a link to another place or file",
        ),
        (
            lambda f: f.create_dataset("x", (4,), "f4", external=[("/etc/passwd", 0, 16)]),
            "takes its data from another file",
        ),
        (lambda f: f.create_dataset("x", (1 << 40,), "f4"), "claims 43980.* bytes of weights in"),
        (lambda f: f.create_dataset("x", (9, 9), "f4", compression="gzip"), "is compressed or filtered"),
        (lambda f: f.create_dataset("x", data=["text"]), "is of type object"),
        (lambda f: f.update(x=np.dtype("f4")), "is a Datatype"),
    ],
)
def test_weights_from_elsewhere(members, edit, reason):
    _refused(_weights(members, edit), f"refused, not loaded: .*{reason}")


def test_a_virtual_dataset(members, tmp_path):
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "x", (4,))
    _refused(_weights(members, lambda f: f.create_virtual_dataset("x", layout)), "takes its data from another file")


def test_groups_in_a_ring_end(members):
    def edit(file):
        for name in "abc":
            file["layers"][name] = file["/"]

    load_model(_weights(members, edit), "ring")


def test_layers_that_claim_more_than_the_file_holds(members):
    def edit(config):
        for layer in config["config"]["layers"]:
            layer.pop("build_config", None)
            if layer["config"]["name"] == "encoded":
                layer["config"]["units"] = 1 << 24

    _refused(_edited(members, edit), "its layers claim [0-9]{11} weights, and the file holds [0-9]+; rebuild")


def test_layers_that_put_out_more_than_fits(layers, save):
    image = layers.Input((8, 8, 1))
    wide = layers.UpSampling2D(1 << 12, name="wide")(image)
    small = layers.AveragePooling2D(1 << 12)(wide)
    _refused(save(keras().Model(image, small)).read_bytes(), "layer 'wide' puts out 1073741824 numbers for one record")


@pytest.mark.parametrize("side", [8, None])
def test_operations_that_put_out_more_than_fits(layers, side):
    image = layers.Input((side, side, 1))
    narrow = layers.AveragePooling2D(2)(keras().ops.tile(image, (1, 1, 1, 1 << 23)))
    model = keras().Model(image, keras().ops.sum(narrow, axis=-1, keepdims=True))
    _refused(serialize_model(model), "layer 'tile.*' puts out [0-9]+ numbers for one record")


def test_what_is_computed_within_a_layer_is_bounded_before_it_runs(layers, save, tmp_path):
    """The attention of 2^16 places to each other is 2^32 numbers, which no layer puts out."""
    image = layers.Input((256, 256, 1))
    places = layers.Reshape((1 << 16, 1))(image)
    model = keras().Model(image, layers.Reshape((256, 256, 1), name="code")(layers.Attention()([places, places])))
    with pytest.raises(BundleError, match="puts out 4294967296 numbers for one record, where 268435456 are allowed"):
        export(save(model), "code", str(tmp_path / "b"))


def test_a_refused_model_leaves_nothing_behind(members, network):
    """What was not allocated must not be when Keras next runs a model without its own weights."""
    global_state = import_module("keras.src.backend.common.global_state")
    for _ in range(2):
        load_model(_zip(members), "theirs.keras")
    assert global_state.get_global_attribute("uninitialized_variables") == []
    weights = [[v.numpy() for v in some] for some in (network.trainable_variables, network.non_trainable_variables)]
    assert network.stateless_call(*weights, np.zeros((1, 12, 10, 3)))[0].shape == (1, 12, 10, 3)
