"""Golden inputs and outputs."""

import io
import zipfile
from contextlib import suppress

import numpy as np
import pytest

from lake.core.errors import BundleError
from model.bundle import GOLDEN_FILE, Bundle
from model.golden import golden_inputs, pack, unpack
from model.input_spec import Input
from model.runtime.runtime import Runtime
from tests.model.bundles import put_file


@pytest.mark.parametrize(
    ("golden", "reason"),
    [
        (b"PK", "not the golden outputs of this model"),
        (pack({"input": np.zeros((4, 12, 10, 3), np.uint8)}), "no item named 'latent.npy'"),
        (
            pack({"input": np.zeros((4, 120, 10, 9), np.uint8)}),
            r"input has [0-9]+ bytes for the shape \(4, 12, 10, 3\)",
        ),
        (pack({"input": np.zeros((4, 10, 12, 3), np.uint8)}), r"not uint8 \(4, 12, 10, 3\)"),
        (pack({"input": np.zeros((4, 12, 10, 3), np.int8)}), r"not uint8 \(4, 12, 10, 3\)"),
    ],
)
def test_wrong_golden_outputs(copy, golden, reason):
    put_file(copy, GOLDEN_FILE, golden)
    with pytest.raises(BundleError, match=reason):
        Runtime.load(Bundle.open(str(copy)))


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_golden_outputs_that_expand_at_once(copy, method):
    stream = io.BytesIO()
    with zipfile.ZipFile(copy / GOLDEN_FILE) as packed, zipfile.ZipFile(stream, "w", method) as archive:
        for name in packed.namelist():
            archive.writestr(name, packed.read(name))
    put_file(copy, GOLDEN_FILE, stream.getvalue())
    with pytest.raises(BundleError, match=r"compressed with method (12|14), not with deflate"):
        Runtime.load(Bundle.open(str(copy)))


@pytest.mark.parametrize("position", range(0, 900, 37))
def test_every_damage_to_golden_outputs_is_one_error(bundle, copy, position):
    stream = io.BytesIO()
    with zipfile.ZipFile(copy / GOLDEN_FILE) as packed, zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in packed.namelist():
            archive.writestr(name, packed.read(name))
    damaged = bytearray(stream.getvalue())
    damaged[-position % len(damaged)] ^= 0x3C
    with suppress(BundleError):  # what is read nevertheless is compared with the model
        unpack(bytes(damaged), bundle.spec, "golden")


def test_golden_inputs_are_seeded_and_of_full_contrast():
    takes = Input(shape=(30, 20, 3), dtype="uint8", value_range=(0.0, 1.0), color="rgb")
    assert np.array_equal(golden_inputs(takes, 1), golden_inputs(takes, 1))
    assert not np.array_equal(golden_inputs(takes, 1), golden_inputs(takes, 2))
    assert np.ptp(golden_inputs(takes, 1), axis=(1, 2, 3)).min() > 128
    vectors = golden_inputs(Input(shape=(1000,), dtype="float32", value_range=(-3.0, 7.0), color=None), 1)
    assert -3 <= vectors.min() < -2.9
    assert 6.9 < vectors.max() <= 7


def test_pack_is_deterministic_and_numpy_reads_it(tmp_path):
    arrays = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.zeros(3, np.uint8)}
    assert pack(arrays) == pack(arrays)
    (tmp_path / "x.npz").write_bytes(pack(arrays))
    with np.load(tmp_path / "x.npz", allow_pickle=False) as found:
        assert {name: found[name].tolist() for name in found} == {name: a.tolist() for name, a in arrays.items()}
