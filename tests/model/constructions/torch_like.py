"""Layers as PyTorch's exporter writes them, channels first; weights are seeded and of usual size."""

from math import prod, sqrt

import numpy as np

from tests.model.onnx_import.networks import Graph


class Net(Graph):
    """A network in the making, with the layers of ``torch.nn``."""

    def conv(
        self, x: str, given: int, made: int, kernel: int = 3, stride: int = 1, pad: int | None = None, group: int = 1
    ):
        weight = self._he(made, given // group, kernel, kernel, fan=given // group * kernel**2)
        pads = [kernel // 2 if pad is None else pad] * 4
        return self.node("Conv", x, weight, self.weight(made), strides=[stride] * 2, pads=pads, group=group)

    def up(self, x: str, given: int, made: int, kernel: int = 4, stride: int = 2, pad: int = 1) -> str:
        """``ConvTranspose2d``."""
        weight = self._he(given, made, kernel, kernel, fan=given * (kernel / stride) ** 2)
        return self.node("ConvTranspose", x, weight, self.weight(made), strides=[stride] * 2, pads=[pad] * 4)

    def linear(self, x: str, given: int, made: int, name: str = "") -> str:
        return self.node("Gemm", x, self._he(made, given, fan=given), self.weight(made), transB=1, name=name)

    def project(self, x: str, given: int, made: int) -> str:
        """``Linear`` of tokens ``[n, tokens, width]``."""
        return self.node("Add", self.node("MatMul", x, self._he(given, made, fan=given)), self.weight(made))

    def norm(self, x: str, channels: int) -> str:
        """``BatchNorm2d`` in evaluation mode."""
        ones = [self.constant(self._rng.uniform(0.5, 1.5, channels).astype(np.float32)) for _ in range(2)]
        return self.node("BatchNormalization", x, ones[0], self.weight(channels), self.weight(channels), ones[1])

    def layer_norm(self, x: str, width: int) -> str:
        scale = self.constant(self._rng.uniform(0.5, 1.5, width).astype(np.float32))
        return self.node("LayerNormalization", x, scale, self.weight(width), axis=-1, epsilon=1e-6)

    def group_norm(self, x: str, channels: int, groups: int) -> str:
        """As the exporter has it: groups are the channels of ``InstanceNormalization``."""
        flat = self.node("Reshape", x, self.constant(np.array([0, groups, -1])))
        ones = self.constant(np.ones(groups, np.float32)), self.constant(np.zeros(groups, np.float32))
        made = self.node("InstanceNormalization", flat, *ones, epsilon=1e-6)
        shaped = self.node("Reshape", made, self.node("Shape", x))
        scale, shift = self.weight(channels, 1, 1, scale=1.0), self.weight(channels, 1, 1)
        return self.node("Add", self.node("Mul", shaped, scale), shift)

    def relu(self, x: str) -> str:
        return self.node("Relu", x)

    def leaky(self, x: str) -> str:
        return self.node("LeakyRelu", x, alpha=0.2)

    def gelu(self, x: str) -> str:
        half = self.node("Mul", x, self.number(0.5))
        return self.node(
            "Mul", half, self.node("Add", self.node("Erf", self.node("Div", x, self.number(sqrt(2)))), self.number(1))
        )

    def silu(self, x: str) -> str:
        return self.node("Mul", x, self.node("Sigmoid", x))

    def number(self, value: float) -> str:
        return self.constant(np.float32(value))

    def flatten(self, x: str, name: str = "") -> str:
        return self.node("Flatten", x, axis=1, name=name)

    def shaped(self, x: str, *sides: int) -> str:
        return self.node("Reshape", x, self.constant(np.array(sides)))

    def tokens(self, x: str, width: int) -> str:
        """``[n, width, h, w]`` as ``[n, h * w, width]``."""
        return self.node("Transpose", self.shaped(x, 0, width, -1), perm=[0, 2, 1])

    def attention(self, x: str, width: int, heads: int = 2) -> str:
        """Of tokens ``[n, tokens, width]``, by all heads."""
        each = width // heads
        parts = [
            self.node("Transpose", self.shaped(self.project(x, width, width), 0, -1, heads, each), perm=[0, 2, 1, 3])
            for _ in range(3)
        ]
        keys = self.node("Transpose", parts[1], perm=[0, 1, 3, 2])
        scores = self.node("Mul", self.node("MatMul", parts[0], keys), self.number(each**-0.5))
        made = self.node("MatMul", self.node("Softmax", scores, axis=-1), parts[2])
        return self.project(self.shaped(self.node("Transpose", made, perm=[0, 2, 1, 3]), 0, -1, width), width, width)

    def block(self, x: str, width: int) -> str:
        """Of a vision transformer."""
        x = self.node("Add", x, self.attention(self.layer_norm(x, width), width))
        y = self.gelu(self.project(self.layer_norm(x, width), width, 2 * width))
        return self.node("Add", x, self.project(y, 2 * width, width))

    def half_size(self, x: str) -> str:
        return self.node("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])

    def twice(self, x: str) -> str:
        """``Upsample(scale_factor=2)``, nearest."""
        scales = self.constant(np.array([1, 1, 2, 2], np.float32))
        return self.node(
            "Resize", x, "", scales, mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor"
        )

    def _he(self, *sides: int, fan: float = 0) -> str:
        return self.weight(*sides, scale=sqrt(2 / (fan or prod(sides[1:]))))
