"""The files of a network, run by themselves as often as it takes."""

from collections.abc import Mapping, Sequence

from lake.core.errors import BundleError
from lake.core.printable import printable
from model.export_parts import SEED
from model.input_spec import Input
from model.onnx_import.bare import run_bare, run_rows, shown_condition
from model.onnx_import.join import latent_input, taken_shape
from model.onnx_import.network import Network, Value
from model.onnx_import.network_signature import NetworkSignature
from model.pixels import Pixels


class Bare:
    """The files of a network, run by themselves: the truth that a bundle's graphs are compared with.

    Args:
      network: the whole network, or the encoder.
      takes: what it takes.
      tensors: names of those that it is asked for.
    """

    def __init__(self, network: Network, takes: NetworkSignature, tensors: Sequence[str]) -> None:
        self._network, self._takes, self._tensors = network, takes, list(dict.fromkeys(tensors))
        self._decoder: tuple[Network, str, str, Value | None] | None = None

    def decoded_by(self, decoder: Network, latent: str, prefix: str, told: Value | None) -> None:
        """Run a decoder too, on one of the tensors; its outputs have a prefix before their names.

        Args:
          decoder: the decoder.
          latent: name of the tensor.
          prefix: what stands before the names of its outputs.
          told: its input that takes a condition; None without one.
        """
        self._decoder = decoder, latent, prefix, told

    def run(self, takes: Input) -> Mapping[str, Pixels]:
        """What is asked for, of the golden inputs of a shape, by name.

        Raises:
          BundleError: ONNX Runtime does not run it.
        """
        try:
            made = run_bare(self._network, self._takes, takes, SEED, self._tensors)
            return {**made, **self._decoded(made, takes)}
        except BundleError:
            raise
        except Exception as error:  # its errors have no class in common
            one_size = "; give --input-shape H W C to take images of one size"
            raise not_run(error, one_size if takes.any_size else _RUNS_BY_ITSELF) from error

    def _decoded(self, made: Mapping[str, Pixels], takes: Input) -> dict[str, Pixels]:
        if self._decoder is None:
            return {}
        decoder, latent, prefix, told = self._decoder
        second, codes = None if told is None else told.name, made[latent]
        value = latent_input(decoder, second)
        shown = {value.name: codes.reshape(-1, *taken_shape(decoder, codes.shape[1:], second)).astype(value.dtype)}
        if told is not None:
            shown[told.name] = shown_condition(told, takes.condition, len(codes), SEED)
        found = run_rows(decoder, shown, decoder.outputs, any_size=takes.any_size)
        return {prefix + name: values for name, values in found.items()}


_RUNS_BY_ITSELF = "; see that it runs the file by itself: some operations it has in 32 bits only; export the network so"


def not_run(error: Exception, remedy: str = _RUNS_BY_ITSELF) -> BundleError:
    """What is raised where ONNX Runtime does not run a network.

    Args:
      error: what it raised.
      remedy: the end of the text.
    """
    reason = printable(" ".join(str(error).split()), 500)
    return BundleError(f"ONNX Runtime does not run it: {reason}{remedy}")
