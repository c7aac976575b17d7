"""Descriptions of models that have no file."""

from dataclasses import replace

from model.input_spec import Input
from model.spec import Golden, Latent, Spec

ENCODER = Spec(
    kind="encoder",
    input=Input(shape=(8, 6, 3), dtype="uint8", value_range=(0.0, 1.0), color="rgb"),
    latent=Latent(layer="code", shape=(4,)),
    functions=("encode",),
    golden=Golden(count=4, seed=0, tolerance=1e-3),
    files={},
)
_TAKES = Input(
    shape=(64, 64, 1), dtype="uint8", value_range=(0.0, 1.0), color="gray", any_size=True, multiple=8, reach=8
)
DENOISER = replace(ENCODER, kind="denoiser", latent=None, functions=("denoise",), input=_TAKES)
