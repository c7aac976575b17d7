"""Denoisers of PyTorch, and its autoencoders of any size, as ONNX files. Sizes are theirs, or smaller."""

from pathlib import Path

import numpy as np

from tests.model.constructions.construction import Truth, construction, images
from tests.model.constructions.torch_like import Net
from tests.model.constructions.torch_models import signed, start_net, truth_of_file
from tests.model.onnx_import.networks import first, last, run


@construction("DnCNN of PyTorch (KAIR), any size")
def dncnn(folder: Path) -> Truth:
    net, x = start_net((1, "h", "w"))
    y = net.relu(net.conv(x, 1, 8))
    for _ in range(3):
        y = net.relu(net.norm(net.conv(y, 8, 8), 8))
    net.node("Sub", x, net.node("Mul", net.conv(y, 8, 1), net.number(0.05)), name="y")
    path, given = net.give("y").save(folder / "dncnn.onnx"), images(24, 40, 1)
    return truth_of_file(path, given, first(given), output="y")


_LEVELS = np.array([5, 25, 50], np.float32) / np.float32(255)


@construction("FFDNet of PyTorch (KAIR), told by a second input of one number")
def ffdnet(folder: Path) -> Truth:
    net, x = start_net((1, "h", "w"))
    sigma = net.take("sigma", ("n", 1, 1, 1))
    y = net.node("SpaceToDepth", x, blocksize=2)
    one = net.node("Slice", y, *(net.constant(np.array([i])) for i in (0, 1, 1)))
    told = net.node("Expand", sigma, net.node("Shape", one))
    y = net.relu(net.conv(net.node("Concat", y, told, axis=1), 5, 8))
    net.node("DepthToSpace", net.conv(net.relu(net.conv(y, 8, 8)), 8, 4), blocksize=2, mode="CRD", name="y")
    path, given = net.give("y").save(folder / "ffdnet.onnx"), images(24, 40, 1)
    (y,) = run(path.read_bytes(), ["y"], x=first(given), sigma=_LEVELS[:, None, None, None])
    return Truth(given=given, output=last(y), levels=_LEVELS)


@construction("DRUNet of PyTorch (KAIR), told by the last channel")
def drunet(folder: Path) -> Truth:
    net, x = start_net((4, "h", "w"))
    first_ = net.conv(x, 4, 8)
    down = net.conv(first_, 8, 16, kernel=2, stride=2, pad=0)
    y = net.node("Add", down, net.conv(net.relu(net.conv(down, 16, 16)), 16, 16))
    y = net.node("Add", net.up(y, 16, 8, kernel=2, pad=0), first_)
    net.node("Identity", net.conv(y, 8, 3), name="y")
    path, given = net.give("y").save(folder / "drunet.onnx"), images(24, 40, 3)
    maps = np.broadcast_to(_LEVELS[:, None, None, None], (3, 1, 24, 40))
    (y,) = run(path.read_bytes(), ["y"], x=np.concatenate([first(given), maps], axis=1))
    return Truth(given=given, output=last(y), levels=_LEVELS)


@construction("U-Net of PyTorch (milesial), as a denoiser of any size")
def unet(folder: Path) -> Truth:
    net, x = start_net((3, "h", "w"))
    skips, width = [], 3
    for made in (8, 16):
        x = net.relu(net.norm(net.conv(x, width, made), made))
        skips.append((x, made))
        x, width = net.half_size(x), made
    x, width = net.relu(net.conv(x, width, 32)), 32
    for skip, made in skips[::-1]:
        x = net.node("Concat", skip, net.up(x, width, made, kernel=2, pad=0), axis=1)
        x, width = net.relu(net.norm(net.conv(x, 2 * made, made), made)), made
    net.node("Identity", net.conv(x, width, 3, kernel=1), name="y")
    path, given = net.give("y").save(folder / "unet.onnx"), images(24, 40, 3)
    return truth_of_file(path, given, first(given), output="y")


@construction("NAFNet of PyTorch (SimpleGate, channel attention), any size")
def nafnet(folder: Path) -> Truth:
    net, image = start_net((3, "h", "w"))
    x = net.conv(image, 3, 8)
    for _ in range(2):
        y = net.node("Transpose", net.layer_norm(net.node("Transpose", x, perm=[0, 2, 3, 1]), 8), perm=[0, 3, 1, 2])
        y = net.conv(net.conv(y, 8, 16, kernel=1), 16, 16, group=16)
        halves = [net.node("Slice", y, *(net.constant(np.array([i])) for i in (at, at + 8, 1))) for at in (0, 8)]
        y = net.node("Mul", *halves)
        y = net.node("Mul", y, net.conv(net.node("GlobalAveragePool", y), 8, 8, kernel=1))
        x = net.node("Add", x, net.node("Mul", net.conv(y, 8, 8, kernel=1), net.weight(1, 8, 1, 1)))
    net.node("Add", image, net.node("Mul", net.conv(x, 8, 3), net.number(0.05)), name="y")
    path, given = net.give("y").save(folder / "nafnet.onnx"), images(24, 40, 3)
    return truth_of_file(path, given, first(given), output="y")


def _kl_block(net: Net, x: str, width: int) -> str:
    """Residual, with GroupNorm and SiLU."""
    y = net.conv(net.silu(net.group_norm(x, width, 4)), width, width)
    return net.node("Add", x, net.conv(net.silu(net.group_norm(y, width, 4)), width, width))


def _kl_attention(net: Net, x: str, width: int) -> str:
    rows = net.attention(net.tokens(net.group_norm(x, width, 4), width), width, heads=1)
    made = net.node("Reshape", net.node("Transpose", rows, perm=[0, 2, 1]), net.node("Shape", x))
    return net.node("Add", x, made)


@construction("diffusers: `AutoencoderKL`, encoder and decoder, any size")
def kl(folder: Path) -> Truth:
    net, x = start_net((3, "h", "w"))
    x = net.conv(x, 3, 8)
    for given, made in ((8, 8), (8, 8), (8, 16)):
        x = net.conv(_kl_block(net, x, given), given, made, stride=2)
    x = net.conv(net.silu(net.group_norm(_kl_attention(net, x, 16), 16, 4)), 16, 8)
    for name, at in (("mean", 0), ("logvar", 4)):
        net.node("Slice", x, *(net.constant(np.array([i])) for i in (at, at + 4, 1)), name=name)
    path, given = net.give("mean", "logvar").save(folder / "vae_encoder.onnx"), images(64, 96, 3)
    mean, logarithm = run(path.read_bytes(), ["mean", "logvar"], x=signed(given))
    net, x = start_net((4, "h", "w"), "z")
    x = _kl_attention(net, net.conv(x, 4, 16), 16)
    for width, made in ((16, 8), (8, 8), (8, 8)):
        x = net.conv(net.twice(_kl_block(net, x, width)), width, made)
    net.node("Identity", net.conv(net.silu(net.group_norm(x, 8, 4)), 8, 3), name="sample")
    other = net.give("sample").save(folder / "vae_decoder.onnx")
    (y,) = run(other.read_bytes(), ["sample"], z=mean)
    return Truth(given=given, latent=last(mean), variance=np.exp(last(logarithm)), output=last(y))


@construction("TAESD: tiny autoencoder, any size")
def taesd(folder: Path) -> Truth:
    net, x = start_net((3, "h", "w"))
    x = net.conv(x, 3, 8)
    for _ in range(3):
        x = net.conv(x, 8, 8, stride=2)
        x = net.relu(net.node("Add", x, net.conv(net.relu(net.conv(x, 8, 8)), 8, 8)))
    z = net.node("Identity", net.conv(x, 8, 4), name="latents")
    x = net.node("Mul", net.node("Tanh", net.node("Div", z, net.number(3))), net.number(3))
    x = net.relu(net.conv(x, 4, 8))
    for _ in range(3):
        x = net.conv(net.twice(net.relu(net.node("Add", x, net.conv(net.relu(net.conv(x, 8, 8)), 8, 8)))), 8, 8)
    net.node("Identity", net.conv(x, 8, 3), name="y")
    path, given = net.give("y", "latents").save(folder / "taesd.onnx"), images(64, 96, 3)
    (z, y) = run(path.read_bytes(), ["latents", "y"], x=first(given))
    return Truth(given=given, latent=last(z), output=last(y))
