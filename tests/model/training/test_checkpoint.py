import numpy as np
import pytest

from lake.core.errors import OutputError
from model.training.checkpoint import FILE, Checkpoint

_SETTINGS = {"steps": 10, "seed": 3, "levels": [5.0, 55.0]}


@pytest.fixture
def variables(layers):
    from lake.core.tensorflow import keras

    make = keras().Variable
    return [make(np.arange(6, dtype=np.float32).reshape(2, 3)), make(7, dtype="int64"), make(0.25)]


def _values(variables):
    return [np.asarray(variable).tolist() for variable in variables]


def test_what_was_saved_comes_back(variables, tmp_path):
    checkpoint = Checkpoint(str(tmp_path), _SETTINGS)
    assert checkpoint.restore(variables) is None
    saved = _values(variables)
    checkpoint.save({"step": 4}, variables)
    for variable in variables:
        variable.assign(variable * 0)
    assert checkpoint.restore(variables) == {"step": 4}
    assert _values(variables) == saved
    checkpoint.save({"step": 5}, variables)
    assert Checkpoint(str(tmp_path), dict(reversed(_SETTINGS.items()))).restore(variables) == {"step": 5}
    checkpoint.remove()
    assert list(tmp_path.iterdir()) == []
    assert checkpoint.restore(variables) is None


@pytest.mark.parametrize("change", [{"steps": 11}, {"levels": [5.0, 50.0]}, {"more": 1}])
def test_other_settings_are_refused(variables, tmp_path, change):
    Checkpoint(str(tmp_path), _SETTINGS).save({}, variables)
    (name,) = change
    found = repr(_SETTINGS.get(name)).replace("[", r"\[")
    with pytest.raises(OutputError, match=f"of a training with {name} {found}.*, not .*; give the same options"):
        Checkpoint(str(tmp_path), _SETTINGS | change).restore(variables)


@pytest.mark.parametrize("damage", [lambda data: data[:-40], lambda data: b"", lambda data: b"x" * 3000])
def test_damage_is_an_error(variables, tmp_path, damage):
    checkpoint = Checkpoint(str(tmp_path), _SETTINGS)
    checkpoint.save({}, variables)
    (tmp_path / FILE).write_bytes(damage((tmp_path / FILE).read_bytes()))
    with pytest.raises(OutputError, match=r"checkpoint\.npz: a damaged checkpoint .*; remove it"):
        checkpoint.restore(variables)
