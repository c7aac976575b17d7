"""A trained Keras model as its bundle has it: its file, its description and its golden outputs."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lake.core.errors import BundleError, LatentlakeError, UsageError
from lake.core.tensorflow import keras, require_tensorflow, tensorflow
from model.code import Code
from model.decoder_spec import describe_decoder
from model.describe import describe_model, keras_runtime, tolerance_of, with_further
from model.export_parts import SEED, record_golden, stated_ranges
from model.golden import COUNT
from model.keras.join import Joined, assemble
from model.keras.load import keras_reason
from model.keras.precision import to_bfloat16
from model.keras.preprocessing import outer_layers
from model.keras.save import serialize_model
from model.keras.wrap import wrap
from model.likeness import Likeness, likeness
from model.load_parts import LoadedParts, code_needed, load_again, load_parts
from model.names import LatentRequest
from model.parts import Parts
from model.pixels import Pixels
from model.preprocessing import Preprocessing
from model.runtime.executor import ModelError
from model.runtime.tensorflow import model_errors
from model.spec import Golden, Json, Spec


@dataclass(frozen=True, slots=True, kw_only=True)
class KerasRequest:
    """What a user asks of the export of a Keras model; see ``model.export.export``.

    Attributes:
      latent: path of the first latent's layer; None for the only one, or for none.
      variance: likewise, of the logarithm of its variance.
      kind: kind of model; None for what it looks like.
      preprocessing: how the training data was preprocessed.
      precision: what most of it is computed in; None for the precision in the file.
      further: latents besides.
      first_name: what the latent is called then.
      generates: the latents of a decoder alone have a standard normal prior.
      training: provenance.
    """

    latent: str | None
    variance: str | None
    kind: str | None
    preprocessing: Preprocessing
    precision: str | None
    further: Sequence[LatentRequest]
    first_name: str | None
    generates: bool
    training: Mapping[str, Json]


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribedModel:
    """A Keras model with all that its bundle says of it.

    Attributes:
      model: as the bundle has it: wrapped, and in the precision that was asked for.
      data: its file.
      code_file: the file of its own code; empty if it needs none.
      spec: its description.
      golden: its golden inputs and outputs.
      looks: how its golden outputs compare with the inputs; None if it gives no images.
    """

    model: Any
    data: bytes
    code_file: Mapping[str, bytes]
    spec: Spec
    golden: Mapping[str, Pixels]
    looks: Likeness | None


def describe_keras(path: Path | Parts, own: Code | None, asked: KerasRequest) -> DescribedModel:
    """Load a Keras model, make of it what its bundle has, and run it for its golden inputs.

    Args:
      path: the model's file, or the files of its parts.
      own: the code that defines layers of its own; None for none.
      asked: what the user asks of it.

    Raises:
      BundleError: as of ``model.export.export``, like all that follows.
      UsageError: the file cannot be read, or the preprocessing or precision does not fit.
    """
    require_tensorflow("export")
    where, given, request = str(path), asked.preprocessing, asked.preprocessing.condition_request
    loaded = load_parts(path, own, given.input_shape)
    with naming_the_file(where):
        second = None if request is None else request.input
        found = assemble(loaded.models, asked.latent, asked.variance, second, [one.layer for one in asked.further])
        kind = found.kind or asked.kind
        model, data = _as_exported(found, loaded, None if kind == "decoder" else given, asked.precision)
        own_code, code_file = code_needed(own, data)
        if own_code:
            model = load_again(own, data, where)
        with model_errors():
            spec = _spec(model, found, kind, asked, loaded)
            golden = record_golden(keras_runtime(model, spec))
            looks = likeness(spec, golden, outer_layers(model), stated_ranges(given))
    return DescribedModel(
        model=model, data=data, code_file=code_file, spec=replace(spec, code=own_code), golden=golden, looks=looks
    )


def _spec(model: Any, found: Joined, kind: str | None, asked: KerasRequest, loaded: LoadedParts) -> Spec:
    given, known = asked.preprocessing, {**asked.training, **loaded.provenance, "versions": _versions()}
    if kind == "decoder":
        golden = Golden(count=COUNT, seed=SEED, tolerance=tolerance_of(model))
        return describe_decoder(model, given, generates=asked.generates, golden=golden, training=known)
    further = [replace(one, layer=layer) for one, layer in zip(asked.further, found.further, strict=True)]
    spec = describe_model(model, found.latent, given, found.variance, kind, known, several=bool(further))
    return with_further(model, spec, further, asked.first_name)


def _as_exported(
    found: Joined, loaded: LoadedParts, given: Preprocessing | None, precision: str | None
) -> tuple[Any, bytes]:
    """The model as its bundle has it, and its file. Without preprocessing it is not wrapped."""
    model = found.model
    data = loaded.data if loaded.data and model is loaded.models.get("model") else serialize_model(model)
    if given is not None and (wrapped := wrap(model, given)) is not model:
        model = wrapped
        data = serialize_model(model)
    if precision == "bfloat16":
        model = to_bfloat16(model, [name for name in (found.latent, found.variance, *found.further) if name])
        data = serialize_model(model)
    return model, data


@contextmanager
def naming_the_file(where: str) -> Iterator[None]:
    """Convert what is wrong with a model inside the block into an error that names its file."""
    try:
        yield
    except UsageError as error:
        # The subclass tells a bad bundle from a wrong option, and both have the same arguments.
        raise type(error)(f"{where}: {error}") from error
    except ModelError as error:
        raise BundleError(
            f"{where}: the model fails for its golden inputs ({error}); see that it takes any image of its "
            f"--value-range, or train it again"
        ) from error
    except LatentlakeError:
        raise
    except Exception as error:  # Keras raises errors of any class
        raise BundleError(
            f"{where}: Keras cannot run it: {keras_reason(error)}; see that the model works once it is loaded again"
        ) from error


def _versions() -> dict[str, str]:
    return {"keras": keras().__version__, "tensorflow": tensorflow().__version__, "numpy": np.__version__}
