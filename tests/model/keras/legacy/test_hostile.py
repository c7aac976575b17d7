"""Old files that would fill memory, read other files or run code: refused at once, by name."""

import itertools
import json
import re
import resource
import time
from typing import Any

import h5py
import numpy as np
import pytest

from lake.core.errors import BundleError
from lake.core.tensorflow import keras
from model.keras.legacy.heap import check_heap
from model.keras.saved import read_saved
from tests.model.keras.legacy.old_files import archive, hdf5


@pytest.fixture(scope="module")
def network(layers):
    image = layers.Input((4, 4, 2), name="image")
    x = layers.Flatten(name="flat")(layers.ReLU(name="relu")(image))
    return keras().Model(image, layers.Dense(3, name="code")(x), name="theirs")


def _refused(data: bytes, reason: str) -> None:
    """In less than 2 s of a processor and 500 MB."""
    start, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(BundleError, match=reason) as raised:
        read_saved(data, "theirs.h5")
    assert str(raised.value).startswith("theirs.h5: ")
    assert time.process_time() - start < 2
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500 << 10


def _deep(file: h5py.File) -> None:
    group = file
    for _ in range(3000):
        group = group.create_group("x")


def _many(file: h5py.File) -> None:
    group = file.create_group("many")
    for name in range((1 << 16) + 1):
        group[str(name)] = file["model_weights"]


def _virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", (4,))
    file.create_virtual_dataset("x", layout)


def _reference(file: h5py.File) -> None:
    file.create_dataset("x", data=[file["model_weights"].ref], dtype=h5py.ref_dtype)


def _names(value: Any) -> Any:
    return lambda file: file["model_weights/code"].attrs.__setitem__("weight_names", value)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda f: f.update(x=h5py.ExternalLink("/etc/passwd", "/x")), "'x' in '/' of it is a link to another place"),
        (lambda f: f.update(x=h5py.SoftLink("/model_weights")), "'x' in '/' of it is a link to another place or file"),
        (lambda f: f.create_dataset("x", (4,), "f4", external=[("/etc/passwd", 0, 16)]), "its data from another file"),
        (_virtual, "takes its data from another file"),
        (_reference, "'/x' in it is of type object"),
        (lambda f: f.create_dataset("x", data=["text"]), "'/x' in it is of type object"),
        (lambda f: f.create_dataset("x", (1 << 40,), "f4", chunks=(1 << 10,)), "claims 43980.* bytes of weights in"),
        (
            lambda f: f.create_dataset("x", (1 << 20,), compression="gzip"),
            "compressed or filtered; copy it without: h5",
        ),
        (_many, "holds more than 65536 groups and arrays"),
        (_names(np.zeros((3, 3), "S4")), "'weight_names' of '/model_weights/code' is no list of names"),
        (_names(np.ones(9)), "'weight_names' of '/model_weights/code' is no list of names"),
        (_names(["no/such", "array"]), "layer 'code' has 2 weights, and the file 2"),
        (_names(["../../..", "/"]), "weights"),
        (lambda f: f.attrs.__setitem__("model_config", " " * (17 << 20)), "17825792 bytes, where 16777216 are allowed"),
        (lambda f: f.attrs.__setitem__("model_config", "[" * 100_000), "its configuration is not valid JSON"),
        (lambda f: f.attrs.__setitem__("model_config", '{"a":' * 900 + "1" + "}" * 900), "of the class None"),
    ],
)
def test_containers(network, change, reason):
    _refused(hdf5(network, change=change), reason)


def test_groups_in_groups(network):
    """Which hold nothing, and are visited without recursion."""
    read_saved(hdf5(network, change=_deep), "deep.h5")


def _long_texts(file: h5py.File, count: int) -> None:
    file["model_weights/code"].attrs["weight_names"] = ["y" * 2000] * count


def test_one_text_that_is_named_again_and_again(network):
    """HDF5 would read each of them, so that a small file fills memory."""
    _refused(hdf5(network, change=lambda f: _long_texts(f, 17)), "more than 16 texts of more than 1024 bytes")
    data = bytearray(hdf5(network, change=lambda f: _long_texts(f, 9)))
    check_heap(bytes(data), "whole")  # nothing is referred to twice
    starts = [found.start() for found in re.finditer(b"GCOL", data)]
    parts = itertools.product([2000], starts, range(1, 20))
    references = [b"".join(map(int.to_bytes, part, (4, 8, 4), ["little"] * 3)) for part in parts]
    places = [data.find(reference) for reference in references if reference in data]
    assert len(places) == 9
    for place in places:
        data[place : place + 16] = data[places[0] : places[0] + 16]
    _refused(bytes(data), "it refers to one text of 2000 bytes again and again")


def _entry(config: Any, name: str) -> Any:
    return next(entry for entry in config["config"]["layers"] if entry["name"] == name)


def _instead(**fields: Any) -> Any:
    return lambda config: _entry(config, "relu").update(fields)


def _called(function: str, **named: Any) -> Any:
    config = {"name": "relu", "function": function}
    nodes = [["image", 0, 0, named]]
    return _instead(class_name="TFOpLambda", config=config, inbound_nodes=nodes)


_OURS = {
    "class_name": "LegacyHardSigmoid",
    "module": "model.layers",
    "registered_name": "latentlake>LegacyHardSigmoid",
}
_LAMBDA = {"name": "relu", "function": ["4wEAAAAAAAAAAA==", None, None], "function_type": "lambda"}


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (_instead(class_name="Lambda", config=_LAMBDA), "'relu' within 'theirs' is a Lambda of no module: it holds Py"),
        (_instead(class_name="Theirs"), "'relu' within 'theirs' is a Theirs of no module, which is not a part of"),
        (_instead(class_name="ReLU", module="os"), "'relu' within 'theirs' is a ReLU of os, which is not a part"),
        (_instead(class_name="ReLU", registered_name="a>ReLU"), "is a ReLU of no module"),
        (_instead(class_name="TensorFlowOpLayer"), "'relu' within 'theirs' is a TensorFlowOpLayer of no module"),
        (
            _called("io.read_file"),
            "'relu' is a TFOpLambda of the TensorFlow function 'io.read_file', which is no arith",
        ),
        (_called("numpy_function"), "the TensorFlow function 'numpy_function', which is no arithmetic operation"),
        (_called("math.add"), "the TensorFlow function 'math.add' without its second argument"),
        (_called("nn.relu", other=3), "the TensorFlow function 'nn.relu' with other=3"),
        (_called("reshape", shape=["image", 0, 0]), "function 'reshape' with shape="),
        (_called("reshape", shape=[-1, 1 << 20, 1 << 20]), "its layers claim 3.* weights, and the file holds"),
        (
            _instead(class_name="SlicingOpLambda", config={"name": "relu", "function": "__operators__.getitem"}),
            "'__operators__.getitem' with something else than numbers in brackets",
        ),
        (
            lambda c: _entry(c, "code")["config"].update(units=1 << 40),
            "its layers claim 3.* weights, and the file holds",
        ),
        (
            lambda c: _entry(c, "code")["config"].update(activation=_OURS | {"config": {"x": 1}}),
            "is a LegacyHardSigmoid of model.layers with more in its configuration",
        ),
        (
            lambda c: _entry(c, "relu")["config"].update(renorm=True, x=7),
            "a ReLU, has x=7, which Keras 3 does not have",
        ),
        (
            lambda c: _entry(c, "code")["config"].update(
                activation={"class_name": "function", "module": "os", "config": {}}
            ),
            "a function looked up by name",
        ),
        (lambda c: _entry(c, "relu").update(inbound_nodes=[[["nobody", 0, 0, {}]]]), "has not the form|called without"),
        (lambda c: _entry(c, "relu").update(inbound_nodes=5), "has not the form of a Keras model"),
        (lambda c: c["config"].update(layers=[]), "has not the form of a Keras model"),
    ],
)
@pytest.mark.parametrize("write", [hdf5, archive])
def test_configurations(network, write, edit, reason):
    _refused(write(network, edit), reason)


def test_text_that_forges_a_line(network):
    edit = lambda config: _entry(config, "relu").update(class_name="Evil\n\x1b[31mERROR")  # noqa: E731
    with pytest.raises(BundleError) as raised:
        read_saved(hdf5(network, edit), "theirs.h5")
    assert str(raised.value).isprintable()


def test_every_kind_of_flipped_byte(network):
    """Damage is an error of this project, or has no effect that matters here."""
    whole = hdf5(network)
    for position in np.random.default_rng(0).integers(0, len(whole), 15):
        damaged = bytearray(whole)
        damaged[position] ^= 0x10
        try:
            read_saved(bytes(damaged), "damaged")
        except BundleError as error:
            assert str(error).startswith("damaged: ")


def test_metrics_that_fill_memory(network):
    """What only training needs is dropped at every level."""
    huge = {"class_name": "AUC", "module": "keras.metrics", "config": {"num_thresholds": 3 * 10**8}}
    data = archive(network, lambda config: _entry(config, "code").update(compile_config={"metrics": [huge]}))
    assert not read_saved(data, "theirs").model.compiled
    assert json.dumps(huge).encode()[:20] in data
