"""The functions of a network as graphs of a bundle: what is before it and after it."""

from dataclasses import dataclass
from math import prod

import numpy as np

from model.graphs import CONDITION, DIVISOR, graph_outputs
from model.input_spec import Shape
from model.onnx_import.builder import FunctionGraph
from model.onnx_import.network import OURS, Network, Value
from model.onnx_import.network_signature import FIRST, FLAT, LAST, PLANE, NetworkSignature, condition_sides, net_shape
from model.spec import Spec


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """A tensor of a network.

    Attributes:
      name: as the file has it.
      shape: of one record.
      dtype: its type.
    """

    name: str
    shape: Shape
    dtype: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ends:
    """Where in a network the values of a bundle's functions are.

    Attributes:
      takes: its inputs.
      latent: the latent; None of a denoiser.
      variance: the logarithm of its variance, if it has one.
      output: the image or vector that it puts out, if it has one.
      layout: of the output.
      further: latents besides, in the order of the description.
      grid: layout of the latent and its variance where images have any size; None where latents are vectors.
    """

    takes: NetworkSignature
    latent: Tensor | None
    variance: Tensor | None
    output: Tensor | None
    layout: str
    further: tuple[Tensor, ...] = ()
    grid: str | None = None

    @property
    def latent_shape(self) -> Shape:
        """Shape of the latent of one record in the bundle: (h, w, c) where images have any size."""
        shape: Shape = self.latent.shape if self.latent else ()
        return (*shape[1:], shape[0]) if self.grid == FIRST else shape


class FunctionBuilder:
    """Makes the graphs of a network's functions.

    Args:
      network: the network.
      ends: where its values are.
      spec: its description.
    """

    def __init__(self, network: Network, ends: Ends, spec: Spec) -> None:
        self._network, self._ends, self._spec = network, ends, spec

    def build(self, function: str) -> bytes:
        """The graph of one function, as ``model.graphs`` says, as a file. Equal networks give equal bytes."""
        graph = FunctionGraph(self._network)
        body = {
            "encode": self._encode,
            "encode_variance": self._encode_variance,
            "encode_all": self._encode_all,
            "reconstruct": self._reconstruct,
            "decode": self._decode,
            "restore": self._restore,
        }[function]
        return graph.finish(body(graph), graph_outputs(function, self._spec))

    def _encode(self, graph: FunctionGraph) -> list[str]:
        self._pixels(graph)
        return [self._latents(graph, self._ends.latent)]

    def _encode_variance(self, graph: FunctionGraph) -> list[str]:
        return [*self._encode(graph), graph.node("Exp", self._latents(graph, self._ends.variance))]

    def _encode_all(self, graph: FunctionGraph) -> list[str]:
        return [*self._encode(graph), *(self._latents(graph, tensor) for tensor in self._ends.further)]

    def _reconstruct(self, graph: FunctionGraph) -> list[str]:
        spec, unit = self._spec, self._pixels(graph)
        latents, output = self._latents(graph, self._ends.latent), self._output(graph)
        # Errors are relative to the value range, so that models of different ranges can be compared.
        target = _to_unit(graph, unit, spec.input.value_range) if spec.numeric else unit
        difference = graph.node("Sub", _to_unit(graph, output, spec.output_range), target)
        side, *others = spec.input.shape
        lines = (0, 0, -1) if spec.input.any_size else (-1, side, prod(others))
        square = graph.shaped(graph.node("Mul", difference, difference), lines)
        # In two steps, so that millions of terms lose no digits.
        return [latents, output, graph.mean(graph.mean(square, 2), 1)]

    def _decode(self, graph: FunctionGraph) -> list[str]:
        latent, sides = self._ends.latent, (self._spec.dimension,)
        assert latent is not None
        latents = graph.take(
            "latents", (None, *((None, None, self._ends.latent_shape[2]) if self._ends.grid else sides))
        )
        if self._ends.grid:
            taken = graph.node("Transpose", latents, perm=[0, 3, 1, 2]) if self._ends.grid == FIRST else latents
        else:
            taken = graph.shaped(latents, (-1, *latent.shape))
        graph.replace(OURS + latent.name, graph.cast(taken, latent.dtype))
        if self._spec.kind != "decoder":
            self._show_blank(graph, latents)
        self._tell(graph)
        return [self._output(graph)]

    def _show_blank(self, graph: FunctionGraph, latents: str) -> None:
        """Let what needs the image nevertheless, such as its number of rows, see a blank one."""
        image, layout = self._ends.takes.image, self._ends.takes.layout
        shape = graph.node("Shape", latents)
        sides = net_shape(self._spec.input.shape, layout)
        assert sides is not None
        if self._ends.grid:
            along = [self._along(graph, shape, axis) for axis in (1, 2)]
            channels = graph.constant([self._spec.input.shape[2]], "int64")
            known = [channels, *along] if layout == FIRST else [*along, channels] if layout == LAST else along
        else:
            known = [graph.constant(sides, "int64")]
        shape = graph.node("Concat", _side(graph, shape, 0), *known, axis=0)
        blank = graph.constant(np.zeros([1] * (1 + len(sides))), image.dtype)
        graph.replace(OURS + image.name, graph.node("Expand", blank, shape))

    def _along(self, graph: FunctionGraph, shape: str, axis: int) -> str:
        """The side of an image, of the shape of its latents."""
        return graph.node("Mul", _side(graph, shape, axis), graph.constant([self._spec.stride], "int64"))

    def _restore(self, graph: FunctionGraph) -> list[str]:
        self._pixels(graph)
        return [self._output(graph)]

    def _pixels(self, graph: FunctionGraph) -> str:
        """Let the network see pixels. Gives them in 0..1, and vectors as they are."""
        takes = self._spec.input
        sides = (None, None, takes.shape[2]) if takes.any_size else takes.shape
        unit = graph.take("pixels", (None, *sides))
        if self._spec.numeric:
            self._show(graph, unit)
            return unit
        unit = graph.node("Div", unit, graph.take(DIVISOR, ()))
        self._show(graph, self._normalized(graph, self._to_range(graph, unit)))
        return unit

    def _to_range(self, graph: FunctionGraph, unit: str) -> str:
        low, high = self._spec.input.value_range
        if (low, high) == (0.0, 1.0):
            return unit
        return graph.node("Add", graph.node("Mul", unit, graph.constant(high - low)), graph.constant(low))

    def _normalized(self, graph: FunctionGraph, images: str) -> str:
        given = self._spec.input.normalization
        if given is None:
            return images
        images = graph.node("Sub", images, graph.constant(given.mean))
        images = graph.node("Div", images, graph.constant(given.std))
        return _turned(graph, images, len(given.mean)) if given.bgr else images

    def _restored_range(self, graph: FunctionGraph, images: str) -> str:
        """What the network puts out in the value range."""
        given = self._spec.input.normalization
        if given is None:
            return images
        if given.bgr:
            images = _turned(graph, images, len(given.mean))
        if not given.output:
            return images
        return graph.node("Add", graph.node("Mul", images, graph.constant(given.std)), graph.constant(given.mean))

    def _show(self, graph: FunctionGraph, values: str) -> None:
        """Put images ``[n, H, W, C]`` or vectors, with their noise levels, in the place of the network's inputs."""
        takes = self._ends.takes
        shown, noise = _to_layout(graph, values, takes.layout), takes.record.noise
        if noise is not None:
            levels = graph.node("Mul", graph.take("levels", (None,)), graph.constant(noise.scale))
            if noise.form == "channel":
                axis = 1 if takes.layout == FIRST else 3
                shown = graph.node("Concat", shown, self._map(graph, levels, shown), axis=axis)
            else:
                assert takes.level is not None
                alone = (-1, *(1 for _ in takes.level.dimensions[1:]))
                told = self._map(graph, levels, shown) if noise.form == "map" else graph.shaped(levels, alone)
                graph.replace(OURS + takes.level.name, _as_type(graph, told, takes.level))
        graph.replace(OURS + takes.image.name, _as_type(graph, shown, takes.image))
        self._tell(graph)

    def _tell(self, graph: FunctionGraph) -> None:
        """Put the condition ``[n, length]`` in the place of the network's input for it, if it has one."""
        told, condition = self._ends.takes.told, self._spec.input.condition
        if told is None or condition is None:
            return
        given = graph.shaped(graph.take(CONDITION, (None, condition.length)), condition_sides(told, -1))
        graph.replace(OURS + told.name, graph.cast(given, told.dtype))

    def _map(self, graph: FunctionGraph, levels: str, shown: str) -> str:
        """The levels ``[n]`` as a channel of the images as they are shown."""
        axis = 1 if self._ends.takes.layout == FIRST else 3
        one = graph.node("Gather", shown, graph.constant([0], "int64"), axis=axis)
        return graph.node("Expand", graph.shaped(levels, (-1, 1, 1, 1)), graph.node("Shape", one))

    def _latents(self, graph: FunctionGraph, tensor: Tensor | None) -> str:
        """A latent or its variance as vectors, or as grids ``[n, h, w, c]`` where images have any size."""
        assert tensor is not None
        values = graph.cast(OURS + tensor.name, "float32")
        if self._ends.grid is None:
            return graph.shaped(values, (-1, prod(tensor.shape)))
        return graph.node("Transpose", values, perm=[0, 2, 3, 1]) if self._ends.grid == FIRST else values

    def _output(self, graph: FunctionGraph) -> str:
        output = self._ends.output
        assert output is not None
        values = graph.cast(OURS + output.name, "float32")
        return self._restored_range(graph, _from_layout(graph, values, self._ends.layout, self._spec.input.shape))


def _side(graph: FunctionGraph, shape: str, axis: int) -> str:
    return graph.node("Gather", shape, graph.constant([axis], "int64"))


def _to_unit(graph: FunctionGraph, values: str, limits: tuple[float, float]) -> str:
    low, high = limits
    if (low, high) == (0.0, 1.0):
        return values
    return graph.node("Div", graph.node("Sub", values, graph.constant(low)), graph.constant(high - low))


def _to_layout(graph: FunctionGraph, images: str, layout: str) -> str:
    if layout == FIRST:
        return graph.node("Transpose", images, perm=[0, 3, 1, 2])
    return graph.shaped(images, {PLANE: (0, 0, 0), FLAT: (0, -1)}[layout]) if layout in (PLANE, FLAT) else images


def _from_layout(graph: FunctionGraph, values: str, layout: str, shape: Shape) -> str:
    if layout == FIRST:
        return graph.node("Transpose", values, perm=[0, 2, 3, 1])
    if layout in (PLANE, FLAT):
        return graph.shaped(values, (0, 0, 0, 1) if layout == PLANE else (-1, *shape))
    return values


def _turned(graph: FunctionGraph, images: str, channels: int) -> str:
    """Red and blue in each other's place."""
    return graph.node("Gather", images, graph.constant([2, 1, 0, *range(3, channels)], "int64"), axis=3)


def _as_type(graph: FunctionGraph, values: str, value: Value) -> str:
    return graph.cast(graph.node("Round", values) if value.dtype == "uint8" else values, value.dtype)
