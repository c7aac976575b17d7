"""Export a trained Keras model to a bundle."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from model.bundle import GOLDEN_FILE, MODEL_FILE, Bundle, refuse_existing, write_bundle
from model.code import read_code
from model.export_graphs import graphs_or_none, make_graphs
from model.export_int8 import check_precision, export_int8
from model.export_keras import KerasRequest, describe_keras, naming_the_file
from model.golden import pack
from model.likeness import Judge, warn_of_doubts
from model.names import read_requests
from model.onnx_import.export import export_onnx
from model.onnx_import.source import check_options_of_graph, read_graphs
from model.parts import Parts
from model.preprocessing import Preprocessing
from model.spec import Json


def export(
    path: Path | Parts,
    latent: str | Sequence[str] | None,
    output: str,
    preprocessing: Preprocessing | None = None,
    *,
    variance: str | None = None,
    kind: str | None = None,
    code: Path | None = None,
    allow_graph: bool = False,
    serving_signature: str | None = None,
    precision: str | None = None,
    calibrate: str | None = None,
    training: Mapping[str, Json] | None = None,
    judge: Judge = warn_of_doubts,
) -> Bundle:
    """Write a bundle of a trained Keras model.

    Example:
      ```python
      preprocessing = Preprocessing(value_range=(-1.0, 1.0))
      bundle = export(Path("my.keras"), "encoder/bottleneck", "bundle", preprocessing)
      parts = Parts(encoder=Path("e.keras"), decoder=Path("d.keras"))
      bundle = export(parts, "z_mean", "bundle", variance="z_log_var")
      ```

    Args:
      path: the ``.keras`` file, or an HDF5 file (``.h5``) with a whole model, of Keras 2 or 3, an ONNX file or a
        SavedModel (see ``model.onnx_import.export``). The model has one output and one input, or a second input for the
        noise level. One that takes its channels first (C, H, W) is wrapped to take images. Of several outputs, the one
        that has the shape of the input is kept, or else the latent. Or the files of an encoder and a decoder.
      latent: name or path (``encoder/bottleneck``) of the layer whose output is the latent. The name of a nested model
        stands for its output. Outputs with several dimensions are flattened. None for a model that only denoises. Of an
        encoder in a file of its own, the name or position of an output; None for its only one. Several for a bundle
        that gives several in one pass: the first is the model's own, that it decodes; each may be ``NAME=LAYER``.
      output: URI of the bundle's directory.
      preprocessing: how the training data was preprocessed; None for the defaults.
      variance: likewise, what gives the logarithm of each latent's variance. It makes the model a
        variational autoencoder whose latents have a standard normal prior.
      kind: kind of model. None for 'denoiser' without a latent, 'vae' with a variance, 'encoder' if the output does not
        have the shape of the input, otherwise 'autoencoder'.
      code: a file of Python that defines the model's own layers. It is logged, run, and kept in the bundle where it is
        needed.
      precision: 'bfloat16' to compute convolutions and dense layers in bfloat16, except those that give latents or
        images; 'int8' to compute most of them in 8 bits, of a denoiser, or of an encoder, which a model with a latent
        becomes; None for the precision in the file.
      calibrate: URI of images like those that the model is for, to find scales with and to measure what they cost; of
        a denoiser without noise. Only for 'int8', and needed there.
      allow_graph: whether ``path`` may be a TensorFlow SavedModel, a program, which is loaded, and converted to ONNX.
      serving_signature: which of its signatures; None for 'serving_default', or the only one.
      training: provenance to keep in the bundle.
      judge: is told how the golden outputs compare with the golden inputs, for a model that puts out images, before
        anything is written. It may raise an error. The default logs what does not look right.

    Raises:
      BundleError: the file is unsafe or damaged, its inputs or outputs cannot be bundled, it has no such layer, its
        precision cannot be changed, or the model fails for the golden inputs.
      OutputError: ``output`` holds a bundle already.
      UsageError: the file cannot be read, or the preprocessing or precision does not fit the model.
      InputError: the images to calibrate with cannot be read.
    """
    check_precision(precision, calibrate)
    # Before anything that takes long.
    refuse_existing(output)
    given = preprocessing or Preprocessing()
    where, own = str(path), None if code is None else read_code(code)
    latent, requests, first_name = read_requests(latent)
    graphs = read_graphs(path, allow_graph=allow_graph, signature=serving_signature)
    if graphs is not None:
        check_options_of_graph(precision, kind=kind, code=code)
        return export_onnx(
            graphs,
            where,
            latent,
            output,
            given,
            variance=variance,
            training=training or {},
            judge=judge,
            normal_prior=isinstance(path, Parts) and path.normal_prior,
            calibrate=calibrate,
            further=requests,
            first_name=first_name,
        )
    asked = KerasRequest(
        latent=latent,
        variance=variance,
        kind=kind,
        preprocessing=given,
        precision=precision,
        further=requests,
        first_name=first_name,
        generates=isinstance(path, Parts) and path.normal_prior,
        training=training or {},
    )
    made = describe_keras(path, own, asked)
    if made.looks is not None:
        with naming_the_file(where):
            judge(made.looks)
    files = {MODEL_FILE: made.data, **made.code_file}
    if calibrate is not None:
        return export_int8(
            lambda reduced: make_graphs(made.model, reduced, made.golden, where),
            files,
            made.spec,
            made.golden,
            calibrate=calibrate,
            output=output,
            where=where,
        )
    onnx_files = graphs_or_none(made.model, made.spec, made.golden, where)
    return write_bundle(output, made.spec, {**files, GOLDEN_FILE: pack(made.golden), **onnx_files})
