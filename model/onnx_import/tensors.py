"""Which tensors of a network are the latent, its variance, and the output."""

import difflib
from collections.abc import Mapping, Sequence

from lake.core.errors import BundleError, UsageError
from lake.core.printable import printable
from model.keras.signature import format_shape
from model.onnx_import.functions import Ends, Tensor
from model.onnx_import.network import Network
from model.onnx_import.network_signature import NetworkSignature, output_layout
from model.pixels import Pixels

_LISTED = 1500  # characters of the names that an error lists


def latent_of_encoder(network: Network, name: str | None) -> str:
    """The tensor that is the latent of an encoder in a file of its own.

    Args:
      network: the encoder.
      name: as of ``find_tensor``; None for its only output.

    Raises:
      BundleError: as of ``find_tensor``.
      UsageError: it has several outputs, and none is named.
    """
    if name is not None:
        return find_tensor(network, name)
    if len(network.outputs) > 1:
        shown = printable(", ".join(network.outputs), _LISTED)
        raise UsageError(
            f"the encoder has {len(network.outputs)} outputs; name its latent by --latent, one of: {shown}"
        )
    return network.outputs[0]


def find_tensor(network: Network, name: str) -> str:
    """The tensor of a name: its own, or that of the node that makes it.

    Raises:
      BundleError: there is none; the text lists the outputs and the nearest names.
    """
    if name in network.names:
        return network.names[name]
    near = difflib.get_close_matches(name, network.names, 5, 0.4)
    others = ", ".join(one for one in near if one not in network.outputs)
    also = f"; tensors inside with such names: {others}" if others else ""
    raise BundleError(
        f"no tensor {printable(name)!r}; its outputs are {printable(', '.join(network.outputs), _LISTED)}"
        f"{printable(also, _LISTED)}"
    )


def find_ends(
    network: Network,
    takes: NetworkSignature,
    made: Mapping[str, Pixels],
    latent: str | None,
    variance: str | None,
    grid: str | None = None,
    further: Sequence[str] = (),
) -> Ends:
    """Tell what the tensors of a network are.

    Args:
      network: the network.
      takes: what it takes.
      made: what it gives for some images, by name, of ``latent``, ``variance`` and its outputs.
      latent: name of the tensor; None for a denoiser.
      variance: name of the tensor with the logarithm of the latent's variance, if there is one.
      grid: layout of both where images have any size.
      further: names of latents besides.

    Raises:
      BundleError: a tensor is not a row for each image, or several could be the output.
      UsageError: the variance does not fit.
    """
    where = _tensor(made, latent) if latent else None
    logarithm = _tensor(made, variance) if variance else None
    if logarithm is not None and (where is None or logarithm.shape != where.shape):
        shown = format_shape(where.shape) if where else "not named"
        raise UsageError(
            f"--log-variance {variance}: its shape is {format_shape(logarithm.shape)}, and the latent is {shown}"
        )
    named = (latent, variance, *further)
    images = {name: _layout(made, name, takes) for name in network.outputs if name not in named}
    output = only_image([name for name, layout in images.items() if layout])
    return Ends(
        takes=takes,
        latent=where,
        variance=logarithm,
        output=_tensor(made, output) if output else None,
        layout=(images[output] if output else None) or takes.layout,
        further=tuple(_tensor(made, name) for name in further),
        grid=grid,
    )


def only_image(found: Sequence[str]) -> str | None:
    """The one output of a network that is an image; None where there is none.

    Args:
      found: names of its outputs that are images.

    Raises:
      BundleError: there are several.
    """
    if len(found) > 1:
        raise BundleError(
            f"puts out several images: {printable(', '.join(found), _LISTED)}; leave one of them as output: "
            f"onnx.utils.extract_model(FILE, NEW, [INPUT], [OUTPUT])"
        )
    return found[0] if found else None


def _tensor(made: Mapping[str, Pixels], name: str) -> Tensor:
    if name not in made or made[name].ndim < 2:
        raise BundleError(f"{printable(name)!r} does not have a row of numbers for each image; name another tensor")
    return Tensor(name=name, shape=made[name].shape[1:], dtype=made[name].dtype.name)


def _layout(made: Mapping[str, Pixels], name: str, takes: NetworkSignature) -> str | None:
    sides: Sequence[int] = made[name].shape[1:] if name in made else ()
    return output_layout(sides, takes.record.shape, takes.layout)
