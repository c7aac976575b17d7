"""Constructions of PyTorch as ONNX files, built as its exporter writes them. Sizes are theirs, or smaller."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests.model.constructions.construction import Truth, construction, images, unit
from tests.model.constructions.torch_like import Net
from tests.model.onnx_import.networks import first, last, run


def start_net(sides: tuple[int | str, ...], name: str = "x") -> tuple[Net, str]:
    net = Net()
    return net, net.take(name, ("n", *sides))


def truth_of_file(path: Path, given: np.ndarray, shown: np.ndarray, *, flat: bool = False, **names: str) -> Truth:
    """What the bare file gives for images as it takes them; ``names`` of its tensors by what they are."""
    made = dict(zip(names, run(path.read_bytes(), list(names.values()), x=shown), strict=True))
    if "output" in made:
        made["output"] = made["output"].reshape(given.shape) if flat else last(made["output"])
    if "variance" in made:
        made["variance"] = np.exp(made["variance"])
    return Truth(given=given, **made)


def signed(given: np.ndarray) -> np.ndarray:
    return first(given) * 2 - 1


@construction("PyTorch: dense autoencoder of 784 numbers")
def dense(folder: Path) -> Truth:
    net, x = start_net((784,))
    for given, made in ((784, 128), (128, 64)):
        x = net.relu(net.linear(x, given, made))
    z = net.linear(x, 64, 12, name="z")
    x = net.relu(net.linear(z, 12, 64))
    net.node("Sigmoid", net.linear(net.relu(net.linear(x, 64, 128)), 128, 784), name="y")
    path, given = net.give("y", "z").save(folder / "mlp.onnx"), images(28, 28, 1)
    return truth_of_file(path, given, unit(given).reshape(-1, 784), flat=True, latent="z", output="y")


@construction("PyTorch's examples: variational autoencoder (400 and 20 units)")
def examples_vae(folder: Path) -> Truth:
    net, x = start_net((784,))
    h = net.relu(net.linear(x, 784, 400))
    mu, logvar = net.linear(h, 400, 20, name="mu"), net.linear(h, 400, 20, name="logvar")
    deviation = net.node("Exp", net.node("Mul", logvar, net.number(0.5)))
    z = net.node("Add", mu, net.node("Mul", net.node("RandomNormalLike", deviation), deviation))
    net.node("Sigmoid", net.linear(net.relu(net.linear(z, 20, 400)), 400, 784), name="recon")
    path, given = net.give("recon", "mu", "logvar").save(folder / "vae.onnx"), images(28, 28, 1)
    found = truth_of_file(path, given, unit(given).reshape(-1, 784), latent="mu", variance="logvar")
    return Truth(given=given, latent=found.latent, variance=found.variance)  # the bare file draws its image


@construction("PyTorch: convolutional autoencoder (Udacity's)")
def udacity(folder: Path) -> Truth:
    net, x = start_net((1, 28, 28))
    x = net.half_size(net.relu(net.conv(x, 1, 16)))
    z = net.node("Identity", net.half_size(net.relu(net.conv(x, 16, 4))), name="z")
    x = net.relu(net.up(z, 4, 16, kernel=2, pad=0))
    net.node("Sigmoid", net.up(x, 16, 1, kernel=2, pad=0), name="y")
    path, given = net.give("y").save(folder / "conv.onnx"), images(28, 28, 1)
    return truth_of_file(path, given, first(given), latent="z", output="y")


@construction("PyTorch Lightning's tutorial: autoencoder of CIFAR-10 (GELU, -1..1)")
def lightning(folder: Path) -> Truth:
    net, x = start_net((3, 32, 32))
    for given, made, stride in ((3, 8, 2), (8, 8, 1), (8, 16, 2), (16, 16, 1), (16, 16, 2)):
        x = net.gelu(net.conv(x, given, made, stride=stride))
    z = net.linear(net.flatten(x), 256, 32, name="z")
    x = net.shaped(net.gelu(net.linear(z, 32, 256)), -1, 16, 4, 4)
    for _ in range(2):
        x = net.gelu(net.conv(net.gelu(net.up(x, 16, 16)), 16, 16))
    net.node("Tanh", net.up(x, 16, 3), name="y")
    path, given = net.give("y", "z").save(folder / "cifar.onnx"), images(32, 32, 3)
    return truth_of_file(path, given, signed(given), latent="z", output="y")


def _vanilla(net: Net, x: str) -> tuple[str, str]:
    for given, made in ((3, 8), (8, 16), (16, 32)):
        x = net.leaky(net.norm(net.conv(x, given, made, stride=2), made))
    h = net.flatten(x)
    return net.linear(h, 512, 16, name="mu"), net.linear(h, 512, 16, name="log_var")


def _vanilla_decoder(net: Net, z: str) -> None:
    x = net.shaped(net.linear(z, 16, 512), -1, 32, 4, 4)
    for given, made in ((32, 16), (16, 8), (8, 8)):
        x = net.leaky(net.norm(net.up(x, given, made), made))
    net.node("Tanh", net.conv(x, 8, 3), name="y")


@construction("PyTorch-VAE: `VanillaVAE` (BatchNorm, LeakyReLU, -1..1)")
def vanilla(folder: Path) -> Truth:
    net, x = start_net((3, 32, 32))
    mu, _ = _vanilla(net, x)
    _vanilla_decoder(net, mu)
    path, given = net.give("y", "mu", "log_var").save(folder / "vanilla.onnx"), images(32, 32, 3)
    return truth_of_file(path, given, signed(given), latent="mu", variance="log_var", output="y")


@construction("PyTorch-VAE: encoder and decoder apart")
def apart(folder: Path) -> Truth:
    encoder, x = start_net((3, 32, 32))
    _vanilla(encoder, x)
    decoder, z = start_net((16,), "z")
    _vanilla_decoder(decoder, z)
    path, given = encoder.give("mu", "log_var").save(folder / "e.onnx"), images(32, 32, 3)
    other = decoder.give("y").save(folder / "d.onnx")
    mu, logarithm = run(path.read_bytes(), ["mu", "log_var"], x=signed(given))
    (y,) = run(other.read_bytes(), ["y"], z=mu)
    return Truth(given=given, latent=mu, variance=np.exp(logarithm), output=last(y))


@construction("PyTorch's tutorial: DCGAN, its generator")
def generator(folder: Path) -> Truth:
    net, x = start_net((100, 1, 1), "noise")
    x = net.relu(net.norm(net.up(x, 100, 16, stride=1, pad=0), 16))
    for given, made in ((16, 8), (8, 8)):
        x = net.relu(net.norm(net.up(x, given, made), made))
    net.node("Tanh", net.up(x, 8, 3), name="image")
    path = net.give("image").save(folder / "generator.onnx")
    codes = np.random.default_rng(1).standard_normal((3, 100)).astype(np.float32)
    (image,) = run(path.read_bytes(), ["image"], noise=codes[:, :, None, None])
    return Truth(given=codes, output=last(image))


@construction("PyTorch: VQ-VAE")
def vqvae(folder: Path) -> Truth:
    net, x = start_net((3, 32, 32))
    x = net.conv(net.relu(net.conv(net.relu(net.conv(x, 3, 8, stride=2)), 8, 8, stride=2)), 8, 4, kernel=1)
    rows = net.shaped(net.node("Transpose", x, perm=[0, 2, 3, 1]), -1, 4)
    book = net.weight(16, 4, scale=1.0)
    squares = net.node("ReduceSum", net.node("Mul", book, book), net.constant(np.array([1])), keepdims=0)
    product = net.node("MatMul", rows, net.node("Transpose", book, perm=[1, 0]))
    distances = net.node("Sub", squares, net.node("Mul", product, net.number(2)))
    chosen = net.node("Gather", book, net.node("ArgMin", distances, axis=1, keepdims=0), axis=0)
    z = net.node("Transpose", net.shaped(chosen, -1, 8, 8, 4), perm=[0, 3, 1, 2], name="quantized")
    net.node("Sigmoid", net.up(net.relu(net.up(z, 4, 8)), 8, 3), name="y")
    path, given = net.give("y").save(folder / "vqvae.onnx"), images(32, 32, 3)
    return truth_of_file(path, given, first(given), latent="quantized", output="y")


_IMAGENET = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
_CLIP = np.float32([0.48145466, 0.4578275, 0.40821073]), np.float32([0.26862954, 0.26130258, 0.27577711])


def _normalized(given: np.ndarray, by: tuple[np.ndarray, np.ndarray] = _IMAGENET) -> np.ndarray:
    return np.ascontiguousarray(((unit(given) - by[0]) / by[1]).transpose(0, 3, 1, 2))


def _transformer(net: Net, x: str, width: int, depth: int = 2, *, class_token: bool = True) -> str:
    """Patches of 16 of an image of 64, a class token before them, and blocks."""
    x = net.tokens(net.conv(x, 3, width, kernel=16, stride=16, pad=0), width)
    if class_token:
        rows = net.node("Gather", net.node("Shape", x), net.constant(np.array([0])))
        shape = net.node("Concat", rows, net.constant(np.array([1, width])), axis=0)
        x = net.node("Concat", net.node("Expand", net.weight(1, 1, width), shape), x, axis=1)
    x = net.node("Add", x, net.weight(1, 16 + class_token, width))
    for _ in range(depth):
        x = net.block(x, width)
    return net.layer_norm(x, width)


@construction("timm, torchvision: vision transformer, its class token")
def vit(folder: Path) -> Truth:
    net, x = start_net((3, 64, 64))
    tokens = _transformer(net, x, 24)
    net.node("Gather", tokens, net.constant(np.array(0)), axis=1, name="features")
    path, given = net.give("features").save(folder / "vit.onnx"), images(64, 64, 3)
    return truth_of_file(path, given, _normalized(given), latent="features")


@construction("DINOv2: all tokens (`last_hidden_state`)")
def dino(folder: Path) -> Truth:
    net, x = start_net((3, 64, 64))
    net.node("Identity", _transformer(net, x, 24), name="last_hidden_state")
    path, given = net.give("last_hidden_state").save(folder / "dinov2.onnx"), images(64, 64, 3)
    return truth_of_file(path, given, _normalized(given), latent="last_hidden_state")


@construction("CLIP: its image encoder (`image_embeds`)")
def clip(folder: Path) -> Truth:
    net, x = start_net((3, 64, 64))
    token = net.node("Gather", _transformer(net, x, 24), net.constant(np.array(0)), axis=1)
    made = net.node("MatMul", token, net.weight(24, 16))
    net.node("Div", made, net.node("ReduceL2", made, axes=[1], keepdims=1), name="image_embeds")
    path, given = net.give("image_embeds").save(folder / "clip.onnx"), images(64, 64, 3)
    return truth_of_file(path, given, _normalized(given, _CLIP), latent="image_embeds")


@construction("Masked autoencoder of PyTorch, its encoder without masks")
def masked(folder: Path) -> Truth:
    net, x = start_net((3, 64, 64))
    tokens = _transformer(net, x, 24, class_token=False)
    net.node("ReduceMean", tokens, axes=[1], keepdims=0, name="pooled")
    path, given = net.give("pooled").save(folder / "mae.onnx"), images(64, 64, 3)
    return truth_of_file(path, given, _normalized(given), latent="pooled")


def _residual(net: Net, x: str, given: int, made: int, stride: int) -> str:
    y = net.relu(net.norm(net.conv(x, given, made, stride=stride), made))
    y = net.norm(net.conv(y, made, made), made)
    if (given, stride) != (made, 1):
        x = net.norm(net.conv(x, given, made, kernel=1, stride=stride, pad=0), made)
    return net.relu(net.node("Add", x, y))


def _inverted(net: Net, x: str, given: int, made: int, stride: int) -> str:
    """With ``ReLU6``, as of MobileNetV2."""
    wide, low, high = 4 * given, net.number(0), net.number(6)
    y = net.node("Clip", net.norm(net.conv(x, given, wide, kernel=1), wide), low, high)
    y = net.node("Clip", net.norm(net.conv(y, wide, wide, stride=stride, group=wide), wide), low, high)
    y = net.norm(net.conv(y, wide, made, kernel=1), made)
    return net.node("Add", x, y) if (given, stride) == (made, 1) else y


def _next(net: Net, x: str, given: int, made: int, stride: int) -> str:
    """Of ConvNeXt, whose norm is of the channels, put last."""
    x = net.conv(x, given, made, kernel=stride, stride=stride, pad=0) if stride > 1 else x
    y = net.node("Transpose", net.conv(x, made, made, kernel=7, group=made), perm=[0, 2, 3, 1])
    y = net.project(net.gelu(net.project(net.layer_norm(y, made), made, 4 * made)), 4 * made, made)
    y = net.node("Transpose", net.node("Mul", y, net.weight(made)), perm=[0, 3, 1, 2])
    return net.node("Add", x, y)


def _squeezed(net: Net, x: str, given: int, made: int, stride: int) -> str:
    """With squeeze and excitation, and SiLU, as of EfficientNet."""
    y = net.silu(net.norm(net.conv(x, given, given, stride=stride, group=given), given))
    s = net.silu(net.conv(net.node("GlobalAveragePool", y), given, 4, kernel=1))
    y = net.node("Mul", y, net.node("Sigmoid", net.conv(s, 4, given, kernel=1)))
    return net.norm(net.conv(y, given, made, kernel=1), made)


def _backbone(title: str, file: str, stage: Callable[[Net, str, int, int, int], str]) -> None:
    @construction(title)
    def make(folder: Path) -> Truth:
        net, x = start_net((3, 64, 64))
        x = net.relu(net.norm(net.conv(x, 3, 8, kernel=7, stride=2), 8))
        for given, made, stride in ((8, 8, 1), (8, 16, 2), (16, 24, 2)):
            x = stage(net, x, given, made, stride)
        net.flatten(net.node("GlobalAveragePool", x), name="features")
        path, given = net.give("features").save(folder / file), images(64, 64, 3)
        return truth_of_file(path, given, _normalized(given), latent="features")


_backbone("torchvision, timm: ResNet", "resnet18.onnx", _residual)
_backbone("torchvision, timm: MobileNetV2", "mobilenet_v2.onnx", _inverted)
_backbone("torchvision, timm: ConvNeXt", "convnext_tiny.onnx", _next)
_backbone("torchvision, timm: EfficientNet", "efficientnet_b0.onnx", _squeezed)
