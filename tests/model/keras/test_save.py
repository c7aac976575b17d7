"""Files of models: the same for equal models, and nothing lost in them."""

import io
import time
import zipfile

import h5py
import numpy as np

from model.keras.load import load_model
from model.keras.save import serialize_model


def weights(data: bytes) -> dict[str, np.ndarray]:
    found = {}
    with zipfile.ZipFile(io.BytesIO(data)) as archive, h5py.File(io.BytesIO(archive.read("model.weights.h5"))) as file:
        file.visititems(lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    return found


def test_a_file_holds_what_keras_saves_in_less_space(network, tmp_path):
    network.save(tmp_path / "theirs.keras")
    theirs, ours = (tmp_path / "theirs.keras").read_bytes(), serialize_model(network)
    wanted, found = weights(theirs), weights(ours)
    assert wanted.keys() == found.keys()
    assert all(np.array_equal(wanted[name], found[name]) for name in wanted)
    assert len(ours) < len(theirs)


def test_a_file_does_not_depend_on_when_it_is_made_and_loads(network):
    data = serialize_model(network)
    time.sleep(1.1)  # time stamps count seconds
    assert serialize_model(network) == data
    again = load_model(data, "here")
    assert all(np.array_equal(*pair) for pair in zip(network.get_weights(), again.get_weights(), strict=True))
