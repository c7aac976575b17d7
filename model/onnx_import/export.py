"""Export a network that comes as ONNX files: wrapped, compared with itself, and written as a bundle of graphs."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

from lake.core.errors import BundleError, UsageError
from model.bundle import GOLDEN_FILE, Bundle, write_bundle
from model.export_int8 import export_int8
from model.export_parts import record_golden, stated_ranges
from model.golden import pack
from model.graphs import graph_file, graph_functions
from model.likeness import Judge, likeness
from model.names import LatentRequest
from model.onnx_import.functions import FunctionBuilder
from model.onnx_import.network import Network, read_network
from model.onnx_import.outer import outer_operations
from model.onnx_import.package import onnx
from model.onnx_import.proof import check_golden, check_other_size, decodes, remedy, runtime_of
from model.onnx_import.rows import free_rows
from model.onnx_import.source import GraphFile
from model.onnx_import.tried import Named, Tried, try_decoder, try_network
from model.preprocessing import Preprocessing
from model.probe import Probe
from model.runtime.executor import ModelError
from model.spec import FUNCTIONS, Json, Spec

_LOG = logging.getLogger(__name__)
_INT8_OPSET = 13  # from which weights of 8 bits may have a scale for each channel


def export_onnx(
    files: Mapping[str, GraphFile],
    where: str,
    latent: str | None,
    output: str,
    given: Preprocessing,
    *,
    variance: str | None,
    training: Mapping[str, Json],
    judge: Judge,
    normal_prior: bool = False,
    calibrate: str | None = None,
    further: Sequence[LatentRequest] = (),
    first_name: str | None = None,
) -> Bundle:
    """Write a bundle of ONNX files. It has no Keras model, and neither TensorFlow nor Keras is imported.

    Args:
      files: one as 'model', or an encoder and a decoder as 'encoder' and 'decoder', or one of them.
      where: their names, for messages.
      latent: name of the tensor, or of the node that makes it, that is the latent; None for a denoiser. Of an encoder,
        None for its only output.
      output: URI of the bundle's directory.
      given: how the training data was preprocessed.
      variance: name of the tensor with the logarithm of each latent's variance.
      training: provenance to keep in the bundle.
      judge: as in ``model.export.export``.
      normal_prior: the latents of a decoder alone have a standard normal prior.
      calibrate: URI of images to find the scales of a bundle in 8 bits with; None for one in the file's precision.
      further: latents besides, by the names of tensors or nodes.
      first_name: what the latent is called then.

    Raises:
      BundleError: a file is unsafe or damaged, or the network cannot be bundled.
      UsageError: the package onnx is missing, or the preprocessing does not fit the network.
      InputError: the images to calibrate with cannot be read.
    """
    onnx()
    networks = {role: read_network(file.data, file.where) for role, file in files.items()}
    for role, network in networks.items():
        if network.sampled:
            _LOG.warning("%s: the random numbers that it draws are replaced by their mean, 0", files[role].where)
    with _named(where, next(iter(networks.values()))):
        names = Named(latent=latent, variance=variance, further=tuple(further), first_name=first_name)
        tried = _tried(networks, given, names, training, where, normal_prior=normal_prior)
        graphs, spec = _graphs(tried)
        golden = record_golden(runtime_of(graphs, spec))
        check_golden(golden, tried, spec)
        if spec.latent is not None and spec.input.any_size:
            check_other_size(graphs, tried, spec)
        turned_back = spec.input.normalization is not None and spec.input.normalization.output
        layers = outer_operations(tried.network, tried.ends, turned_back=turned_back)
        looks = likeness(spec, golden, layers, stated_ranges(given))
        if looks is not None:
            judge(looks)
        runtime_of(graphs, spec).check(golden, where)
    if calibrate is not None:
        _check_opset(tried.network, where)
        return export_int8(
            lambda reduced: _function_graphs(tried, reduced),
            {},
            spec,
            golden,
            calibrate=calibrate,
            output=output,
            where=where,
        )
    return write_bundle(output, spec, {GOLDEN_FILE: pack(golden), **graphs})


def _tried(
    networks: Mapping[str, Network],
    given: Preprocessing,
    named: Named,
    training: Mapping[str, Json],
    where: str,
    *,
    normal_prior: bool,
) -> Tried:
    if "model" in networks:
        return try_network(networks["model"], None, given, named, training, where)
    if "encoder" not in networks:
        if named.latent or named.variance:
            raise UsageError("a decoder alone takes its latent as input; leave out --latent and --log-variance")
        return try_decoder(networks["decoder"], given, training, where, generates=normal_prior)
    return try_network(networks["encoder"], networks.get("decoder"), given, named, training, where, part=True)


@contextmanager
def _named(where: str, network: Network) -> Iterator[None]:
    """Errors within this block begin with the name of the file."""
    try:
        yield
    except UsageError as error:
        # The subclass tells a bad bundle from a wrong option, and both have the same arguments.
        text = str(error)
        raise type(error)(text if text.startswith(f"{where}: ") else f"{where}: {text}") from error
    except ModelError as error:
        raise BundleError(
            f"{where}: the network fails for several images at once: {error}; {remedy(network)}"
        ) from error


def _check_opset(network: Network, where: str) -> None:
    if network.opset < _INT8_OPSET:
        raise UsageError(
            f"{where}: --precision int8 needs opset {_INT8_OPSET} or later, and the file is of {network.opset}; "
            "export it with opset_version=17"
        )


def _graphs(tried: Tried) -> tuple[dict[str, bytes], Spec]:
    """The graphs of all functions that a network has, and the description with what trying them shows."""
    spec = tried.spec
    graphs = _function_graphs(tried, spec)
    if spec.input.any_size:
        multiple, reach = Probe(runtime_of(graphs, spec)).multiple_and_reach()
        spec = replace(spec, input=replace(spec.input, multiple=multiple, reach=reach))
    if spec.latent is None or tried.ends.output is None or spec.numeric or spec.kind == "decoder":
        return graphs, spec
    functions = {*spec.functions, *(("denoise",) if spec.input.condition is None else ())}
    decode = _builder(tried, spec).build("decode")
    if decodes(decode, tried, spec):
        graphs[graph_file("decode")] = decode
        # What is sampled has a size.
        functions |= {"decode", *(("generate",) if spec.variance and not spec.input.any_size else ())}
    return graphs, replace(spec, functions=tuple(name for name in FUNCTIONS if name in functions))


def _function_graphs(tried: Tried, spec: Spec) -> dict[str, bytes]:
    builder = _builder(tried, spec)
    return {graph_file(name): builder.build(name) for name in graph_functions(spec)}


def _builder(tried: Tried, spec: Spec) -> FunctionBuilder:
    return FunctionBuilder(free_rows(tried.network), tried.ends, spec)
