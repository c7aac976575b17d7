"""``model.json``: what is written, read back, and refused."""

import shutil
from dataclasses import replace
from math import prod
from pathlib import Path

import pytest

from lake.core.errors import BundleError
from lake.images.anscombe import PoissonGaussian
from model.bundle import SPEC_FILE, Bundle
from model.spec import FUNCTIONS
from model.spec_json import digest, from_json, to_json
from tests.model.bundles import describe, description

_BROKEN = [
    ({"schema": 2}, "schema 2 is not 1"),
    ({"schema": True}, "schema is True"),
    ({"kind": "magic"}, "kind is 'magic'"),
    ({"input": None}, "input is None"),
    ({"input.shape": [12, 10]}, r"input.shape is \[12, 10\]"),
    ({"input.shape": [12, 10, -3]}, r"input.shape is \[12, 10, -3\]"),
    ({"input.shape": [1 << 20, 1 << 20, 3]}, "input.shape is"),
    ({"input.shape": [12.0, 10, 3]}, "input.shape is"),
    ({"input.dtype": "float32"}, "input.dtype is 'float32'"),
    ({"input.color": "gray"}, "input.color is 'gray'"),
    ({"input.value_range": [1, 0]}, r"input.value_range is \[1, 0\]"),
    ({"input.value_range": [0, "1"]}, "input.value_range is"),
    ({"input.value_range": [0, 10**400]}, r"input.value_range is \[0, 1000.* \.\.\. 0*\], which"),
    ({"input.value_range": [-(10**400), 1]}, "input.value_range is"),
    ({"input.value_range": [-1e308, 1e308]}, "input.value_range is"),
    ({"input.resize": "squeeze"}, "input.resize is 'squeeze'"),
    ({"input.resize": {"shorter": 3, "interpolation": "bilinear"}}, "input.resize.shorter is 3"),
    ({"input.resize": {"shorter": 1 << 40, "interpolation": "bilinear"}}, "input.resize.shorter is"),
    ({"input.resize": {"shorter": 64, "interpolation": "sharp"}}, "input.resize.interpolation is 'sharp'"),
    ({"input.normalization": {"mean": [0.5]}}, r"input.normalization.mean is \[0.5\]"),
    ({"input.normalization": {"mean": [0] * 3, "std": [0] * 3}}, r"input.normalization.std is \[0, 0, 0\]"),
    ({"schema": 10**400}, r"schema 1000.* \.\.\. 0* is not 1"),
    ({"latent.layer": "encoded\n\x1b[2J"}, r"latent.layer is 'encoded\\n\\x1b\[2J'"),
    ({"latent.layer": "x" * 2000}, "latent.layer is 'xxx"),
    ({"latent.dimension": 9}, "latent.dimension is 9"),
    ({"latent.layer": None}, "latent.layer is None"),
    ({"golden.tolerance": 5.0}, "golden.tolerance is 5.0"),
    ({"golden.count": 0}, "golden.count is 0"),
    ({"files.model.keras": "x" * 1000}, r"files.model.keras is 'xxx.* \.\.\. x*'"),
    ({"files": {"../../etc/passwd": {}}}, "files is"),
    ({"training": []}, r"training is \[\]"),
]


@pytest.mark.parametrize(("change", "reason"), _BROKEN)
def test_a_wrong_description(copy, change, reason):
    document = description(copy)
    for place, value in change.items():
        *outer, name = place.split(".", 1)
        (document[outer[0]] if outer else document)[name] = value
    describe(copy, document)
    with pytest.raises(BundleError, match=rf"model\.json: {reason}"):
        Bundle.open(str(copy))


def test_what_is_as_usual_is_not_written(bundle, denoiser_bundle):
    """So bundles of earlier versions, which do not say it, keep their digest when they are copied."""
    spec = replace(bundle.spec, functions=("encode", "reconstruct"))
    document = to_json(spec)
    assert {*document} == {"schema", "kind", "input", "latent", "golden", "files", "training"}
    assert {*document["input"]} == {"shape", "dtype", "value_range", "color"}
    assert from_json(document, "here") == spec
    assert to_json(bundle.spec)["functions"] == ["encode", "reconstruct", "decode", "denoise"]
    assert "functions" not in to_json(denoiser_bundle.spec)


def test_the_learned_range_of_noise_levels(denoiser_bundle):
    """It is written where it is known, and of earlier bundles it is the extent of the levels of their training."""
    spec = denoiser_bundle.spec
    assert spec.noise_range is None and "range" not in to_json(spec)["input"]["noise"]
    known = replace(spec, input=replace(spec.input, noise=replace(spec.input.noise, range=(0.0, 75.0))))
    assert to_json(known)["input"]["noise"]["range"] == [0.0, 75.0]
    assert from_json(to_json(known), "here") == known
    earlier = replace(spec, training={"noise_levels": [5.0, 20.0, 55.0]})
    assert (earlier.noise_range, replace(known, training=earlier.training).noise_range) == ((5.0, 55.0), (0.0, 75.0))
    assert to_json(earlier)["input"] == to_json(spec)["input"]


@pytest.mark.parametrize("levels", [None, [], "5 to 55", [5.0, "55"], [True, 55], [55.0, 300.0], [0, 0], [10**400, 5]])
def test_levels_of_a_training_that_say_no_range(denoiser_bundle, levels):
    assert replace(denoiser_bundle.spec, training={"noise_levels": levels}).noise_range is None


@pytest.mark.parametrize("limits", [[5.0], [5.0, "55"], [55.0, 5.0], [-1, 5], [0, 256], [0, 0], "5 55", [False, 5]])
def test_a_wrong_range_of_noise_levels(denoiser_bundle, limits):
    document = to_json(denoiser_bundle.spec)
    document["input"]["noise"]["range"] = limits
    with pytest.raises(BundleError, match=r"here: input\.noise\.range is "):
        from_json(document, "here")


def test_a_camera_whose_noise_was_made_white(denoiser_bundle):
    spec, camera = denoiser_bundle.spec, PoissonGaussian(gain=2.2, read_noise=0.0, black_level=-100.0)
    known = replace(spec, input=replace(spec.input, noise=replace(spec.input.noise, camera=camera)))
    document = to_json(known)
    assert document["input"]["noise"]["camera"] == {"gain": 2.2, "read_noise": 0.0, "black_level": -100.0}
    assert from_json(document, "here") == known
    for name, value in (("gain", 0.0), ("gain", 2), ("read_noise", -1.0), ("black_level", float("inf"))):
        wrong = to_json(known)
        wrong["input"]["noise"]["camera"][name] = value
        with pytest.raises(BundleError, match=rf"here: input\.noise\.camera\.{name} is "):
            from_json(wrong, "here")


def test_a_bundle_of_an_earlier_version(copy, tmp_path):
    document = description(copy)
    del document["functions"]
    describe(copy, document)
    earlier = Bundle.open(str(copy))
    assert earlier.spec.functions == ("encode", "reconstruct")
    assert earlier.digest == digest(document)
    assert earlier.copy(str(tmp_path / "there")).digest == earlier.digest
    with pytest.raises(BundleError, match=r"the model cannot denoise: .* exported by this version"):
        earlier.spec.require("denoise")


def test_a_denoiser_is_read_back(denoiser_bundle, tmp_path):
    written = description(Path(denoiser_bundle.uri))["input"]
    assert written["noise"] == {"form": "map", "input": "noise_level", "scale": 255.0}
    assert (written["any_size"], written["multiple"], written["reach"]) == (True, 8, denoiser_bundle.spec.input.reach)
    assert denoiser_bundle.copy(str(tmp_path / "there")).spec == denoiser_bundle.spec
    assert (denoiser_bundle.spec.latent, denoiser_bundle.spec.dimension) == (None, 0)


_BROKEN_DENOISER = [
    ({"kind": "autoencoder"}, "latent is None|input.noise is|input.any_size is"),
    ({"latent": {"layer": "x", "shape": [3], "dimension": 3}}, "latent is "),
    ({"functions": ["encode"]}, r"functions is \['encode'\]"),
    ({"functions": ["denoise", "denoise"]}, "functions is"),
    ({"functions": ["denoise", "decode"]}, "functions is"),
    ({"functions": ["denoise", []]}, "functions is"),
    ({"functions": {"denoise": 1}}, "functions is"),
    ({"variance": "x"}, "variance is 'x'"),
    ({"input.shape": [64]}, r"input.shape is \[64\]"),
    ({"input.shape": [60, 64, 1]}, "input.multiple is 8"),
    ({"input.any_size": 1}, "input.any_size is 1"),
    ({"input.multiple": 3}, "input.multiple is 3"),
    ({"input.multiple": 128}, "input.multiple is 128"),
    ({"input.multiple": 0}, "input.multiple is 0"),
    ({"input.reach": 0}, "input.reach is 0"),
    ({"input.reach": 1 << 40}, "input.reach is 1099511627776"),
    ({"input.noise": "map"}, "input.noise is 'map'"),
    ({"input.noise": {"form": "sphere", "input": "x", "scale": 1.0}}, "input.noise.form is 'sphere'"),
    ({"input.noise": {"form": "map", "input": None, "scale": 1.0}}, "input.noise.input is None"),
    ({"input.noise": {"form": "map", "input": "x", "scale": 0.0}}, "input.noise.scale is 0.0"),
]


@pytest.mark.parametrize(("change", "reason"), _BROKEN_DENOISER)
def test_a_wrong_description_of_a_denoiser(denoiser_bundle, tmp_path, change, reason):
    copy = Path(shutil.copytree(denoiser_bundle.uri, tmp_path / "copy"))
    document = description(copy)
    for place, value in change.items():
        *outer, name = place.split(".", 1)
        (document[outer[0]] if outer else document)[name] = value
    describe(copy, document)
    with pytest.raises(BundleError, match=rf"model\.json: ({reason})"):
        Bundle.open(str(copy))


_OPEN = {"any_size": True, "multiple": 16, "reach": 32, "shape": [64, 64, 3], "color": "rgb"}
_GRID = {"layer": "z", "shape": [8, 8, 4], "dimension": 256}


def test_a_description_of_a_model_of_any_size_with_a_latent(bundle):
    document = description(Path(bundle.uri))
    document["input"] |= _OPEN
    document["latent"] = _GRID
    spec = from_json(document, "model.json")
    assert (spec.stride, spec.local, spec.latent.shape) == (8, True, (8, 8, 4))
    assert to_json(spec)["input"] == document["input"] and to_json(spec)["latent"] == _GRID


@pytest.mark.parametrize(
    ("takes", "shape", "reason"),
    [
        ({}, [256], "latent.shape is"),
        ({}, [8, 16, 2], "latent.shape is"),
        ({}, [7, 7, 4], "latent.shape is"),
        ({"multiple": 4}, [8, 8, 4], "latent.shape is"),
        ({"reach": 12}, [8, 8, 4], "latent.shape is"),
        ({"reach": 512}, [8, 8, 4], "input.reach is 512"),
        ({"shape": [64], "color": None, "dtype": "float32"}, [64], "input.any_size is True"),
    ],
)
def test_a_wrong_description_of_a_model_of_any_size_with_a_latent(bundle, takes, shape, reason):
    document = description(Path(bundle.uri))
    document["input"] |= _OPEN | takes
    document["latent"] = {"layer": "z", "shape": shape, "dimension": prod(shape)}
    document.pop("functions", None)
    with pytest.raises(BundleError, match=reason):
        from_json(document, "model.json")


def test_a_model_of_any_size_samples_nothing(bundle):
    document = description(Path(bundle.uri))
    document["input"] |= _OPEN
    document |= {"latent": _GRID, "kind": "vae", "variance": "v", "functions": list(FUNCTIONS)}
    with pytest.raises(BundleError, match="functions is"):
        from_json(document, "model.json")


_HUGE, _DEEP = b'{"schema": 1e400}', b"[" * 200 + b"]" * 200


@pytest.mark.parametrize("text", [b"", b"{", b"\xff", b"[" * 100_000, b'{"schema": NaN}', _HUGE, _DEEP])
def test_a_description_that_is_no_json(copy, text):
    (copy / SPEC_FILE).write_bytes(text)
    with pytest.raises(BundleError, match=r"model\.json: not valid JSON"):
        Bundle.open(str(copy))
