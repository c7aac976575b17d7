"""The bundles that come with the project: whole, of bounded size, and good for what their cards say."""

from pathlib import Path

import numpy as np
import pytest

from lake.core.errors import BundleError
from model.bundle import SPEC_FILE, Bundle
from model.denoiser import Denoiser
from model.runtime import choose_executor, executors_of
from model.runtime.runtime import Runtime
from model.zoo import in_zoo, zoo_names, zoo_uri
from tests.conftest import long_forms

ZOO = Path(__file__).parents[2] / "model/zoo"
# What has been made with a bundle is made again where its digest changes.
DIGESTS = {
    "denoiser-color": "39c1ed00d637e66be61785395478fb6e1111b2c3e22fa4ae42153ba78c141704",
    "denoiser-color-int8": "d5ef645b76e4309f40eea0b15e2d54e9cc6d4df9c158c6903fa25ec274199c54",
    "denoiser-gray": "86698dada4215c1cb659bfcab648668e0b5f74b16a69effeec118e6919f1e2c8",
    "denoiser-gray-int8": "99dbff4637a0f16742dd0275a778b527e3b16f473f80441b3c556123bb6f87f0",
    "mnist-autoencoder": "b5b4beef9cf7a3c62be611a8ac88312e3a7c9960938e1935a0b97cf2272707d4",
    "mnist-vae": "338a9feafde8d503a7ac0ab958abb9443bbd7069617a2decf8aa0602c37649e1",
}
FUNCTIONS = {
    "denoiser-color": ("denoise",),
    "denoiser-color-int8": ("denoise",),
    "denoiser-gray": ("denoise",),
    "denoiser-gray-int8": ("denoise",),
    "mnist-autoencoder": ("encode", "reconstruct", "decode", "denoise"),
    "mnist-vae": ("encode", "reconstruct", "decode", "denoise", "generate"),
}


def test_every_bundle_has_a_card() -> None:
    assert {path.parent.name for path in ZOO.glob("*/README.md")} == set(FUNCTIONS)


def test_every_bundle_has_a_name() -> None:
    assert zoo_names() == tuple(sorted(FUNCTIONS))
    for name in FUNCTIONS:
        assert zoo_uri(f"zoo:{name}") == zoo_uri(f"zoo:{name}/") == str(ZOO / name)
        assert (Path(zoo_uri(f"zoo:{name}")) / SPEC_FILE).exists()


@pytest.mark.parametrize("uri", ["gs://lake/zoo:mnist-vae", "./zoo:mnist-vae", "bundle", "zoo/mnist-vae", ""])
def test_other_uris_stay(uri: str) -> None:
    assert zoo_uri(uri) == uri
    assert not in_zoo(uri)


@pytest.mark.parametrize(
    ("uri", "remedy"),
    [
        ("zoo:mnist-vea", "did you mean zoo:mnist-vae?"),
        ("zoo:denoiser-grey", "did you mean zoo:denoiser-gray?"),
        ("zoo:Denoiser", "did you mean zoo:denoiser-gray?"),
        ("zoo:resnet", f"it has {', '.join(sorted(FUNCTIONS))}"),
        ("zoo:", f"it has {', '.join(sorted(FUNCTIONS))}"),
        ("zoo:../zoo/mnist-vae", "did you mean zoo:mnist-vae?"),
    ],
)
def test_a_name_that_there_is_not(uri: str, remedy: str) -> None:
    with pytest.raises(BundleError) as error:
        zoo_uri(uri)
    assert str(error.value) == f"{uri}: the zoo has no bundle of this name; {remedy}"


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_bundle_is_what_it_was(name: str) -> None:
    bundle = Bundle.open(str(ZOO / name))
    assert bundle.digest == DIGESTS[name]
    assert bundle.spec.functions == FUNCTIONS[name]
    small = bundle.spec.quantization is not None
    assert sum(entry.size for entry in bundle.spec.files.values()) <= (3_500_000 if small else 20_000_000)
    assert executors_of(bundle) == (("onnx",) if small else ("onnx", "tensorflow"))
    assert choose_executor(bundle) == "onnx"


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if not name.endswith("-int8")])
@pytest.mark.parametrize("executor", ["onnx", *long_forms("tensorflow")])
def test_a_bundle_gives_its_golden_outputs(name: str, executor: str) -> None:
    """On each executor, but for the rounding of float32."""
    differences = Runtime.load(Bundle.open(str(ZOO / name)), executor).differences
    assert differences and max(differences.values()) < 1e-5


@pytest.mark.parametrize("level", [0.0, 1.0, *long_forms(0.5, 2.0, 3.0)])
def test_the_denoiser_leaves_no_image_worse(level: float) -> None:
    """Texture of a deviation of 10 from pixel to pixel, which is noise to a network that is told 5."""
    rng, denoiser = np.random.default_rng(8), Denoiser(Runtime.load(Bundle.open(str(ZOO / "denoiser-gray"))))
    clean = (0.5 + rng.normal(0, 10 / 255, (1, 96, 128, 1))).astype(np.float32)
    noisy = clean + rng.normal(0, level / 255, clean.shape).astype(np.float32)
    made = denoiser.denoise(noisy, np.array([level / 255], np.float32)).pixels
    before, after = (float(np.mean((image - clean) ** 2)) for image in (noisy, made))
    assert after <= before * 10**0.005, "at most 0.05 dB"


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if name.endswith("-int8")])
def test_a_bundle_in_int8_gives_its_golden_outputs(name: str) -> None:
    """But for a step of 8 bits that falls otherwise on another kind of processor."""
    bundle = Bundle.open(str(ZOO / name))
    differences = Runtime.load(bundle).differences
    assert differences and max(differences.values()) <= bundle.spec.golden.tolerance < 0.1
    assert bundle.spec.noise_range == Bundle.open(str(ZOO / name.removesuffix("-int8"))).spec.noise_range


@pytest.mark.parametrize("name", ["denoiser-color", "denoiser-color-int8", "denoiser-gray", "denoiser-gray-int8"])
@pytest.mark.parametrize(("level", "gain"), [(25, 10.0), *long_forms((15, 8.0), (50, 12.0))])
@pytest.mark.slow
def test_the_denoiser_takes_noise_out(name: str, level: int, gain: float) -> None:
    rows, columns = np.mgrid[:96, :120] / 20
    gray = (0.5 + 0.3 * np.sin(rows) * np.cos(columns) + 0.1 * (rows > 2.5)).astype(np.float32)
    bundle = Bundle.open(str(ZOO / name))
    clean = gray[..., None].repeat(bundle.spec.input.shape[2], axis=2)
    noise = np.random.default_rng(level).normal(0, level / 255, clean.shape).astype(np.float32)
    denoiser = Denoiser(Runtime.load(bundle))
    made = denoiser.denoise((clean + noise)[None], np.array([level / 255], np.float32)).pixels[0]
    before, after = (float(np.mean((image - clean) ** 2)) for image in (clean + noise, made))
    assert 10 * np.log10(before / after) > gain
