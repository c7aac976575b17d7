"""The commands as functions, for scripts and notebooks: ``import latentlake as ll; ll.encode(...)``.

Each runs in a process of its own, so it does not matter what the caller has loaded: another TensorFlow, any version of
pandas or none, a kernel's event loop. Options are those of the command line with underscores (``max_pixels="64M"``),
and are checked by the same code. An error is raised as the command reports it, of the same class. An interruption ends
the job; what it has done is kept, and the same call goes on from there.
"""

from collections.abc import Iterable, Sequence
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any

from lake.cli.check import check_place
from lake.cli.options import STORES
from lake.core.errors import UsageError
from pipeline.calls.child import JobRequest, ModelRequest
from pipeline.calls.process import run_child
from pipeline.calls.words import command_words
from pipeline.explore.output import Output
from pipeline.options.job_options import make_options

if TYPE_CHECKING:
    Name = str | PathLike[str]


def encode(input: "Name | Sequence[Name]", *, model: "Name", output: "Name", **options: Any) -> Output:
    """Compute the latent vector of every image.

    Example:
      ```python
      import latentlake as ll

      latents = ll.encode("shards/", model="zoo:mnist-autoencoder", output="latents", resize="fit")
      latents.similar("00012.png")
      ```

    Args:
      input: shards: files, globs or directories.
      model: a bundle, or ``zoo:NAME``.
      output: directory to write to.
      options: of the command, with underscores. ``beam`` takes options of Apache Beam, as words of a command line:
        ``beam=["--runner=FlinkRunner"]``.

    Returns:
      The output, complete.

    Raises:
      UsageError: an option, the input, the model or the output does not fit; nothing was written.
      HeldError: another run holds the output.
      UnfinishedError: the job has ended, but failed units or the gate withhold ``_SUCCESS``.
      LatentlakeError: the job failed. What it has done is kept.
      KeyboardInterrupt: it was interrupted, likewise.
    """
    return _run("encode", model, output, {**options, "input": input})


def reconstruct(input: "Name | Sequence[Name]", *, model: "Name", output: "Name", **options: Any) -> Output:
    """Compute the reconstruction and the latent vector of every image, with the errors. As ``encode``."""
    return _run("reconstruct", model, output, {**options, "input": input})


def denoise(input: "Name | Sequence[Name]", *, model: "Name", output: "Name", **options: Any) -> Output:
    """Write the same dataset with cleaner images. As ``encode``."""
    return _run("denoise", model, output, {**options, "input": input})


def decode(input: "Name | Sequence[Name]", *, model: "Name", output: "Name", **options: Any) -> Output:
    """Make images of latent tables, which ``encode`` wrote. As ``encode``."""
    return _run("decode", model, output, {**options, "input": input})


def generate(*, model: "Name", output: "Name", count: int, **options: Any) -> Output:
    """Make images of latents that are sampled from the model's prior. As ``encode``.

    Args:
      model: a bundle, or ``zoo:NAME``.
      output: directory to write to.
      count: how many images.
      options: of the command, with underscores.
    """
    return _run("generate", model, output, {**options, "count": count})


def train_model(input: "Name | Sequence[Name]", *, output: "Name", **options: Any) -> str:
    """Train an autoencoder on shards; ``latentlake.train``.

    Args:
      input: shards: files, globs or directories.
      output: directory of the bundle.
      options: of the command ``train``, with underscores: ``kind="vae"``.

    Returns:
      The bundle, as ``encode`` takes it.

    Raises:
      LatentlakeError: as of ``encode``.
    """
    words = command_words("train", {**options, "input": input, "output": output})
    run_child(ModelRequest(words=words))
    return fspath(output).rstrip("/")


def export_model(file: "Name | None" = None, *, output: "Name", **options: Any) -> str:
    """Make a bundle of a trained model; ``latentlake.export``.

    Args:
      file: what ``model.save()`` wrote, or an ONNX file; None where ``encoder`` and ``decoder`` name the parts.
      output: directory of the bundle.
      options: of the command ``export``, with underscores: ``latent="bottleneck"``, ``value_range=(-1, 1)``.

    Returns:
      The bundle, as ``encode`` takes it.

    Raises:
      LatentlakeError: as of ``encode``.
    """
    places = [] if file is None else [check_place("file", file)]
    words = command_words("export", {**options, "output": output}, *places)
    run_child(ModelRequest(words=words))
    return fspath(output).rstrip("/")


def open_output(output: "Name", *, cache: "Name | None" = None, latent: str | None = None, **stores: Any) -> Output:
    """Open what a job wrote, anywhere; ``latentlake.open``.

    Args:
      output: URI or path of the output.
      cache: local directory that keeps latents of an output in a store.
      latent: which of its latents to look at, where it has several; None for the first.
      stores: how to reach it: ``gcs_endpoint``, ``s3_endpoint``, ``requester_pays``, ``anonymous``.

    Raises:
      OutputError: there is no output there.
      VerifyError: its state is damaged.
      UsageError: it has no latents of this name, or an argument is none of its kind.
    """
    return Output(output, cache=cache, latent=latent, **stores)


def _run(verb: str, model: "Name", output: "Name", options: dict[str, Any]) -> Output:
    beam = options.pop("beam", None) or ()
    if isinstance(beam, str) or not isinstance(beam, Iterable) or not all(isinstance(word, str) for word in beam):
        raise UsageError(f"beam: {beam!r} is no list of words, such as ['--runner=FlinkRunner']")
    job = make_options(verb, {**options, "model": model, "output": output})
    run_child(JobRequest(options=job, beam=tuple(beam)))
    return Output(job.output, **{option.field: getattr(job.stores, option.field) for option in STORES})
