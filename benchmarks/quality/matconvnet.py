"""Published denoisers as ONNX files: FFDNet and DnCNN, from the files of MatConvNet that their authors give.

    python -m benchmarks.quality.matconvnet FFDNet_color.mat ffdnet.onnx
    latentlake export ffdnet.onnx --noise-input noise_level --output ffdnet

The files are in https://github.com/cszn/FFDNet (``models``) and https://github.com/cszn/DnCNN (``model``). They are
MAT-files of version 7.3, which are HDF5: arrays have their sides in the reverse order of MATLAB's.

FFDNet (Zhang, Zuo, Zhang 2018) works on four images of half the size, with a map of the noise level beside them. DnCNN
(Zhang, Zuo, Chen, Meng, Zhang 2017) puts out the noise, so here it is subtracted from the image.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

LEVEL = "noise_level"  # name of FFDNet's second input
_OPSET = 17
_PHASES = [0, 2, 1, 3]  # MATLAB's order of the pixels of a square, down first, in that of ONNX, right first


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One convolution.

    Attributes:
      weights: float32 ``[out, in, 3, 3]``.
      bias: float32 ``[out]``.
      relu: whether negative values become 0 after it.
    """

    weights: npt.NDArray[np.float32]
    bias: npt.NDArray[np.float32]
    relu: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A published network.

    Attributes:
      layers: its convolutions, first to last.
      halves: it works on images of half the size and is told the noise level (FFDNet); else it puts out the noise
        (DnCNN).
    """

    layers: tuple[Layer, ...]
    halves: bool

    @property
    def channels(self) -> int:
        """Of an image: 1 grey, 3 colour."""
        return len(self.layers[-1].bias) // (4 if self.halves else 1)

    @property
    def mflop_per_pixel(self) -> float:
        """Multiplications and additions for each pixel of an image, in millions."""
        uses = 2 * sum(layer.weights.size for layer in self.layers)
        return uses / (4 if self.halves else 1) / 1e6


def read_published(path: Path) -> Published:
    """Read a network from a file of MatConvNet's SimpleNN.

    Args:
      path: of the ``.mat`` file.

    Raises:
      ValueError: the file has other layers than these networks.
    """
    with h5py.File(path) as file:
        kinds = [bytes(np.array(layer["type"]).ravel().astype(np.uint8)).decode() for layer in _layers(file)]
        convolved = [i for i, kind in enumerate(kinds) if kind == "conv"]
        halves = "SubP" in kinds
        expected = ["SubP", "concat"] * halves + ["conv", "relu"] * (len(convolved) - 1) + ["conv"] + ["SubP"] * halves
        if kinds != expected:
            raise ValueError(f"{path}: layers {', '.join(kinds)}; those of FFDNet or DnCNN are expected")
        layers = list(_layers(file))
        found = tuple(_convolution(file, layers[i], relu=i != convolved[-1]) for i in convolved)
    return Published(layers=found, halves=halves)


def _layers(file: Any) -> Iterator[Any]:
    return (file[one] for one in np.array(file["net/layers"]).ravel())


def _convolution(file: Any, layer: Any, *, relu: bool) -> Layer:
    weights, bias = (np.array(file[one], np.float32) for one in np.array(layer["weights"]).ravel())
    if weights.ndim == 3:  # MATLAB drops a last side of 1, which is the first one here
        weights = weights[None]
    return Layer(weights=weights.swapaxes(2, 3), bias=bias.ravel(), relu=relu)


def to_onnx(network: Published) -> bytes:
    """The network as an ONNX file of images of any size.

    Its input is ``image`` ``[n, C, H, W]`` of values in 0..1, and its output ``denoised`` is alike. FFDNet also takes
    ``noise_level``, ``[n, 1, H, W]`` with standard deviations as fractions of white, and even H and W.

    Args:
      network: as ``read_published`` gives it.
    """
    return _halved(network) if network.halves else _residual(network)


def _halved(network: Published) -> bytes:
    channels, (first, *middle, last) = network.channels, network.layers
    # SpaceToDepth and DepthToSpace have the pixels of a square outside and colours inside, MATLAB the other way about.
    order = np.arange(4 * channels).reshape(channels, 4)[:, _PHASES].T.ravel()
    told = np.arange(4 * channels, first.weights.shape[1])
    if len(told) != 1:
        raise ValueError(
            f"the first convolution takes {len(told)} values beside the image; one noise level is expected"
        )
    layers = [
        Layer(weights=first.weights[:, [*order, *told]], bias=first.bias, relu=True),
        *middle,
        Layer(weights=last.weights[order], bias=last.bias[order], relu=False),
    ]
    convolutions, arrays = _chain(layers, "told", "made")
    nodes = [
        helper.make_node("SpaceToDepth", ["image"], ["squares"], blocksize=2),
        helper.make_node("AveragePool", [LEVEL], ["half_level"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Concat", ["squares", "half_level"], ["told"], axis=1),
        *convolutions,
        helper.make_node("DepthToSpace", ["made"], ["denoised"], blocksize=2, mode="DCR"),
    ]
    return _file(nodes, arrays, {"image": channels, LEVEL: 1}, channels)


def _residual(network: Published) -> bytes:
    convolutions, arrays = _chain(network.layers, "image", "noise")
    nodes = [*convolutions, helper.make_node("Sub", ["image", "noise"], ["denoised"])]
    return _file(nodes, arrays, {"image": network.channels}, network.channels)


def _chain(layers: Any, source: str, target: str) -> tuple[list[Any], list[Any]]:
    """Nodes and weights of convolutions one after another."""
    nodes, arrays, x = list[Any](), list[Any](), source
    for i, layer in enumerate(layers):
        arrays += [numpy_helper.from_array(np.ascontiguousarray(layer.weights), f"weights{i}")]
        arrays += [numpy_helper.from_array(layer.bias, f"bias{i}")]
        y = f"conv{i}" if layer.relu else target
        nodes.append(helper.make_node("Conv", [x, f"weights{i}", f"bias{i}"], [y], pads=[1, 1, 1, 1]))
        x = f"relu{i}"
        if layer.relu:
            nodes.append(helper.make_node("Relu", [y], [x]))
    return nodes, arrays


def _file(nodes: list[Any], arrays: list[Any], inputs: dict[str, int], channels: int) -> bytes:
    def image(name: str, count: int) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", count, "h", "w"])

    taken = [image(name, count) for name, count in inputs.items()]
    graph = helper.make_graph(nodes, "denoiser", taken, [image("denoised", channels)], arrays)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=8)
    onnx.checker.check_model(made)
    return bytes(made.SerializeToString())


def main() -> None:
    """Convert one file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, metavar="FILE.mat")
    parser.add_argument("output", type=Path, metavar="FILE.onnx")
    given = parser.parse_args()
    given.output.write_bytes(to_onnx(read_published(given.source)))


if __name__ == "__main__":
    main()
