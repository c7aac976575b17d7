"""Networks as PyTorch users have them, built by hand: channels first, with seeded weights."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

SIDES = ("batch", 3, 12, 8)  # N C H W
LATENT = 5


class Graph:
    """A graph in the making."""

    def __init__(self, opset: int = 17, dtype: int = TensorProto.FLOAT) -> None:
        self.opset, self.dtype = opset, dtype
        self.nodes, self.weights, self.inputs, self.outputs = [], [], [], []
        self._rng = np.random.default_rng(4)

    def take(self, name: str, sides) -> str:
        self.inputs.append(helper.make_tensor_value_info(name, self.dtype, sides))
        return name

    def weight(self, *sides: int, scale: float = 0.2) -> str:
        return self.constant((self._rng.standard_normal(sides) * scale).astype(self._numpy))

    def constant(self, values) -> str:
        name = f"weight {len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def node(self, kind: str, *given: str, name: str = "", **attributes) -> str:
        made = name or f"{kind} {len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, given, [made], name=f"/{made}", **attributes))
        return made

    def give(self, *names: str) -> "Graph":
        self.outputs += [helper.make_tensor_value_info(name, self.dtype, None) for name in names]
        return self

    def data(self) -> bytes:
        graph = helper.make_graph(self.nodes, "net", self.inputs, self.outputs, self.weights)
        opsets = [helper.make_opsetid("", self.opset)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=8, producer_name="pytorch")
        return model.SerializeToString()

    def save(self, path: Path) -> Path:
        path.write_bytes(self.data())
        return path

    @property
    def _numpy(self):
        return helper.tensor_dtype_to_np_dtype(self.dtype)


def autoencoder(sides=SIDES, rows: int = -1, **options) -> Graph:
    """Convolution, latent ``z``, and back to the output ``y``. It reshapes to a number of rows, as some exports do."""
    graph = Graph(**options)
    x = graph.node("Conv", graph.take("x", sides), graph.weight(4, 3, 3, 3), strides=[2, 2], pads=[1, 1, 1, 1])
    h = graph.node("Reshape", graph.node("Relu", x), graph.constant(np.array([rows, 96])))
    z = graph.node("Gemm", h, graph.weight(96, LATENT), name="z")
    return _decoded(graph, z, rows).give("y", "z")


def _decoded(graph: Graph, z: str, rows: int) -> Graph:
    h = graph.node(
        "Reshape", graph.node("Gemm", z, graph.weight(LATENT, 96)), graph.constant(np.array([rows, 4, 6, 4]))
    )
    graph.node("Sigmoid", graph.node("ConvTranspose", h, graph.weight(4, 3, 2, 2), strides=[2, 2]), name="y")
    return graph


def vae(*outputs: str) -> Graph:
    """A variational autoencoder, whose latent is drawn: mean + exp(log-variance / 2) * random."""
    graph = Graph()
    h = graph.node("Flatten", graph.node("Relu", graph.take("x", SIDES)))
    mean, logarithm = (graph.node("Gemm", h, graph.weight(288, LATENT), name=name) for name in ("mean", "log_variance"))
    drawn = graph.node("RandomNormalLike", mean)
    deviation = graph.node("Exp", graph.node("Mul", logarithm, graph.constant(np.float32(0.5))))
    z = graph.node("Add", mean, graph.node("Mul", drawn, deviation), name="z")
    return _decoded(graph, z, -1).give(*outputs)


def denoiser(sides=("batch", 1, "h", "w"), level=None, told: int = 0, sign: float = -0.1, **options) -> Graph:
    """Like DnCNN: the noise taken off the image. ``level`` is the shape of an input that says how much there is."""
    graph = Graph(**options)
    image = given = graph.take("x", sides)
    if level is not None:
        image = graph.node("Add", given, graph.node("Mul", graph.take("sigma", level), graph.constant(np.float32(0.5))))
    h = graph.node("Relu", graph.node("Conv", image, graph.weight(6, sides[1], 3, 3), pads=[1] * 4))
    noise = graph.node("Conv", h, graph.weight(sides[1] - told, 6, 3, 3), pads=[1] * 4)
    if told:
        image = graph.node("Slice", given, *(graph.constant(np.array([i])) for i in (0, sides[1] - told, 1)))
    scale = graph.constant(np.array(sign, graph._numpy))
    graph.node("Add", image, graph.node("Mul", noise, scale), name="y")
    return graph.give("y")


def run(data: bytes, outputs, **feed) -> list[np.ndarray]:
    """The bare file on ONNX Runtime, tensors within it too."""
    model = onnx.load_from_string(data)
    known = {value.name for value in model.graph.output}
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in outputs if name not in known)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(list(outputs), feed)


def first(images: np.ndarray) -> np.ndarray:
    """Images [n, H, W, C] of 0..255 as a network takes them: [n, C, H, W] in 0..1."""
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2)) / np.float32(255)


def last(images: np.ndarray) -> np.ndarray:
    return images.transpose(0, 2, 3, 1)


def encoder(sides=SIDES, *outputs: str, **options) -> Graph:
    """A convolution, and from it ``mean``, ``log_variance``, and ``z``, drawn of both; or those that are named."""
    graph = Graph(**options)
    rows = sides[0] if isinstance(sides[0], int) else -1
    x = graph.node("Conv", graph.take("x", sides), graph.weight(4, 3, 3, 3), strides=[2, 2], pads=[1, 1, 1, 1])
    h = graph.node("Reshape", graph.node("Relu", x), graph.constant(np.array([rows, 96])))
    mean, logarithm = (graph.node("Gemm", h, graph.weight(96, 8), name=name) for name in ("mean", "log_variance"))
    drawn = graph.node("Mul", graph.node("RandomNormalLike", mean), graph.node("Exp", logarithm))
    graph.node("Add", mean, drawn, name="z")
    return graph.give(*(outputs or ("mean", "log_variance", "z")))


def decoder(sides=("batch", 8), **options) -> Graph:
    """From a latent of 8 numbers, which may be a grid, to the image ``x``, by names that the encoder has too."""
    graph = Graph(**options)
    rows = sides[0] if isinstance(sides[0], int) else -1
    h = graph.node("Reshape", graph.take("mean", sides), graph.constant(np.array([rows, 8])))
    h = graph.node("Reshape", graph.node("Gemm", h, graph.weight(8, 96)), graph.constant(np.array([rows, 4, 6, 4])))
    graph.node("Sigmoid", graph.node("ConvTranspose", h, graph.weight(4, 3, 2, 2), strides=[2, 2]), name="x")
    return graph.give("x")


def open_autoencoder(last: bool = False, skip: bool = False, **options) -> Graph:
    """Images of any size, a quarter of their sides in the grid ``z``, and its ``log_variance``; ``y`` is the image.

    Args:
      last: channels come and go last, as in what is converted from Keras.
      skip: the image also reaches the output around the latent.
    """
    graph = Graph(**options)
    x = given = graph.take("x", ("n", "h", "w", 3) if last else ("n", 3, "h", "w"))
    x = graph.node("Transpose", x, perm=[0, 3, 1, 2]) if last else x
    for channels, width in ((3, 6), (6, 8)):
        x = graph.node("Conv", x, graph.weight(width, channels, 3, 3), strides=[2, 2], pads=[1] * 4)
        x = graph.node("Relu", x)
    for name in ("z", "log_variance"):
        made = graph.node("Conv", x, graph.weight(2, 8, 1, 1), name=f"{name} first" if last else name)
        if last:
            graph.node("Transpose", made, perm=[0, 2, 3, 1], name=name)
    x = graph.node("Transpose", "z", perm=[0, 3, 1, 2]) if last else "z"
    for channels, width in ((2, 6), (6, 3)):
        x = graph.node("ConvTranspose", x, graph.weight(channels, width, 4, 4), strides=[2, 2], pads=[1] * 4)
    x = graph.node("Sigmoid", x)
    x = graph.node("Transpose", x, perm=[0, 2, 3, 1]) if last else x
    graph.node("Add", x, given, name="y") if skip else graph.node("Identity", x, name="y")
    return graph.give("y", "z", "log_variance")
