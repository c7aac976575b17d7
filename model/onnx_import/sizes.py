"""The sizes of a network's tensors, told from shapes before anything is run."""

from collections.abc import Mapping
from dataclasses import replace

from lake.core.errors import BundleError
from model.graph_audit import refused_graph
from model.graph_sizes.walk import Sizes
from model.input_spec import Shape
from model.onnx_import.network import OURS, Network
from model.onnx_import.network_signature import FIRST, LAST, NetworkSignature, input_shapes
from model.probe import largest_tried

_REMEDY = "which is not run; export the network without it, or for smaller images"
_ONE_SIZE = "which is not run for images of any size; give --input-shape H W C to take images of one size"


def check_sizes(network: Network, takes: NetworkSignature, where: str, *, latent: bool) -> None:
    """Refuse a network that would fill memory, before ONNX Runtime opens it.

    One of any size is followed for golden inputs, and for the largest images that it is going to be tried with.

    Args:
      network: the network.
      takes: what it takes.
      where: its name, for messages.
      latent: whether a latent is named.

    Raises:
      BundleError: something that it computes is too large, or its size cannot be told.
    """
    any_size = takes.record.any_size
    sides = (takes.record.shape[0], largest_tried(latent=latent)) if any_size else (0,)
    for side in sides:
        refuse_large(network, _given(network, takes, side, side), where, _ONE_SIZE if any_size and latent else _REMEDY)


def refuse_large(network: Network, given: Mapping[str, Shape], where: str, remedy: str = _REMEDY) -> None:
    """Refuse a network that would fill memory for inputs of some shapes.

    Args:
      network: the network.
      given: shapes of its inputs, by name.
      where: its name, for messages.
      remedy: what to do about it.

    Raises:
      BundleError: as of ``check_sizes``.
    """
    for problem in _sizes(network, given).problems():
        raise refused_graph(where, problem, remedy)


def grid_layout(network: Network, takes: NetworkSignature, tensor: str) -> str:
    """Where in a tensor of a network of any size the position is: which of its sides grow with those of the image.

    Args:
      network: the network, whose sizes have been checked.
      takes: what it takes.
      tensor: its name.

    Raises:
      BundleError: it has no three sides of which two follow those of the image.
    """
    side = takes.record.shape[0]
    shapes = [_shape_of(network, _given(network, takes, *sides), tensor) for sides in ((side, side), (side, 2 * side))]
    for layout, axes in ((FIRST, (2, 3)), (LAST, (1, 2))):
        small, large = shapes
        if len(small) == 4 and large == tuple(n * (1 + (axis == axes[1])) for axis, n in enumerate(small)):
            return layout
    shown = " and ".join(" x ".join(map(str, shape[1:])) for shape in shapes)
    raise BundleError(
        f"{tensor!r} is {shown} for images of {side} x {side} and {side} x {2 * side}, no grid whose sides follow "
        "those of the image; give --input-shape H W C to take images of one size"
    )


def _given(network: Network, takes: NetworkSignature, height: int, width: int) -> dict[str, Shape]:
    """The shapes of a network's inputs; of one for images of one size those of that."""
    if takes.record.any_size:
        takes = replace(takes, record=replace(takes.record, shape=(height, width, takes.record.shape[2])))
    return input_shapes(takes, network.batch or 1)


def _sizes(network: Network, given: Mapping[str, Shape]) -> Sizes:
    return Sizes(network.model.graph, network.opset, {OURS + name: shape for name, shape in given.items()})


def _shape_of(network: Network, given: Mapping[str, Shape], tensor: str) -> Shape:
    sizes = _sizes(network, given)
    for _ in sizes.problems():
        pass
    return sizes.shapes.get(OURS + tensor, ())
