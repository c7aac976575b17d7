"""The graphs of a bundle: a file of ONNX for each function of the model, which runs without Keras."""

from model.spec import Spec

# function -> what its graph takes besides the divisor of pixels, and what it gives, by name
INPUTS = {
    "encode": ("pixels",),
    "encode_variance": ("pixels",),
    "encode_all": ("pixels",),
    "reconstruct": ("pixels",),
    "decode": ("latents",),
    "restore": ("pixels", "levels"),
}
OUTPUTS = {
    "encode": ("latents",),
    "encode_variance": ("latents", "variance"),
    "encode_all": ("latents",),  # and those of further latents
    "reconstruct": ("latents", "output", "mse"),
    "decode": ("output",),
    "restore": ("output",),
}
DIVISOR, CONDITION = "divisor", "condition"


def graph_inputs(function: str, spec: Spec) -> tuple[str, ...]:
    """What the graph of a function takes besides the divisor of pixels, by name.

    Args:
      function: a key of ``INPUTS``.
      spec: what the model's bundle says of it.
    """
    return INPUTS[function] if spec.input.condition is None else (*INPUTS[function], CONDITION)


def graph_outputs(function: str, spec: Spec) -> tuple[str, ...]:
    """What the graph of a function gives, by name.

    Args:
      function: a key of ``OUTPUTS``.
      spec: what the model's bundle says of it.
    """
    further = range(1, 1 + len(spec.further)) if function == "encode_all" else ()
    return (*OUTPUTS[function], *(f"latents_{number}" for number in further))


def graph_file(function: str) -> str:
    """The name of a function's file.

    >>> graph_file("encode")
    'encode.onnx'
    """
    return f"{function}.onnx"


GRAPH_FILES = frozenset(map(graph_file, OUTPUTS))


def graph_functions(spec: Spec) -> tuple[str, ...]:
    """The functions of a model that have a graph. A model with a latent restores images as it reconstructs them.

    Args:
      spec: what the model's bundle says of it.
    """
    if spec.latent is None:
        return ("restore",)
    has = {
        "encode": "encode" in spec.functions,
        "encode_variance": spec.variance is not None,
        "encode_all": bool(spec.further),
        "reconstruct": "reconstruct" in spec.functions,
        "decode": "decode" in spec.functions,
    }
    return tuple(name for name in OUTPUTS if has.get(name))


def has_graphs(spec: Spec) -> bool:
    """Whether a bundle has all of them."""
    return all(graph_file(name) in spec.files for name in graph_functions(spec))
