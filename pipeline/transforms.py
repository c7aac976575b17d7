"""The job as Beam transforms.

``RunJob`` is the whole pipeline. ``EncodeShards`` and ``DenoiseShards`` plan a job and run it inside a pipeline of your
own; ``EncodeImages`` applies the model to images that your pipeline already holds.

The transforms only wire steps together. The work itself (reading, decoding, inference, writing, committing) is plain
Python in ``pipeline.worker`` and ``pipeline.output`` and is tested without Beam.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from os import PathLike
from typing import Any, TypeAlias

import apache_beam as beam

from lake.cli.check import check_decode, check_names, check_values, optional_fields
from lake.cli.option import Option, positive
from lake.cli.options import INPUT
from lake.core.errors import UsageError
from lake.images.types import Target
from lake.storage import configured
from model.runtime import choose_executor
from pipeline.beam.notebook import allow_plain_labels
from pipeline.beam.range_steps import CommitRanges
from pipeline.beam.steps import (
    AccumulateReceipts,
    EncodeItems,
    RunUnits,
    commit_receipts,
    complete_summary,
    units_of,
)
from pipeline.job.latents import item_form
from pipeline.job.prepare import Job
from pipeline.job.source import decoded_shape
from pipeline.job.stage import awaiting_workers
from pipeline.job.stage import begin as begin_job
from pipeline.lineage.events import Lineage
from pipeline.lineage.tell import lineage_of, telling
from pipeline.options.flags import ALLOW_CODE, MODEL
from pipeline.options.job_options import make_options
from pipeline.options.latent_flags import LATENT, MADE, STORED
from pipeline.options.latent_form import LatentOptions
from pipeline.output.commit.publish_state import nothing_done
from pipeline.worker.in_memory import RejectedItem
from pipeline.worker.worker_key import WorkerKey

# On import, since a user's own transforms come before those of this module.
allow_plain_labels()

Uri: TypeAlias = "str | PathLike[str]"
Uris: TypeAlias = "Uri | Iterable[Uri]"

_POLICIES = tuple(option for option in INPUT if option.field in {field.name for field in fields(Target)})
_LATENTS = (LATENT, *STORED, *(option for option in MADE if option.field != "flip"))
_BATCH = Option(flag="--batch", field="batch", type=positive, help="the largest number of records per call")
_RECONSTRUCT = Option(flag="--reconstruct", field="reconstruct", switch=True, help="write reconstructions too")


class RunJob(beam.PTransform):
    """Run a staged job from its plan to its commit.

    The steps: read the plan, spread its units over the workers, run each unit to its receipt, combine the receipts,
    commit; of very many units range by range. The result is a collection of one element, the summary of the run as a
    ``dict``.

    Args:
      job: a job that ``pipeline.job.stage.begin`` has planned and staged.
      workers: how many workers there are, if the engine gives them its elements in turn; else 1.
      lineage: what the commit tells a lineage server of the run; None for nothing, as where somebody waits who does.
    """

    def __init__(self, job: Job, workers: int = 1, lineage: Lineage | None = None) -> None:
        super().__init__()
        self._workers, self._lineage = workers, lineage
        # The job itself stays here. Only what the steps use is serialized into the pipeline's graph.
        self._parts, self._config, self._gate, self._run = job.parts, job.config, job.options.gate, job.run

    def expand(self, begin: beam.pvalue.PBegin) -> beam.PCollection[dict[str, Any]]:
        receipts = (
            begin
            # The few files of the plan need no reshuffle of their own.
            | "Plan parts" >> beam.Create(self._parts, reshuffle=False)
            | "Read units" >> beam.FlatMap(units_of, self._config, self._workers)
            # Prevents fusion: otherwise the worker that reads a file of the plan would run all of its units.
            | "Spread" >> beam.Reshuffle()
            | "Run units" >> beam.ParDo(RunUnits(self._config))
        )
        if self._run.ranges:
            return receipts | "Commit ranges" >> CommitRanges(self._config, self._gate, self._run, self._lineage)
        return (
            receipts
            | "Accumulate receipts" >> beam.CombineGlobally(AccumulateReceipts())
            | "Commit" >> beam.Map(commit_receipts, self._config, self._gate, self._run, self._lineage)
        )


class FailUnlessComplete(beam.PTransform):
    """Fail the pipeline if the commit did not write ``_SUCCESS``; else pass the summary on.

    Nobody else reports the failure: a detached launcher has exited by then, and a user's own pipeline knows no gate.
    """

    def expand(self, summaries: beam.PCollection[dict[str, Any]]) -> beam.PCollection[dict[str, Any]]:
        # The reshuffle materializes the summary. When the engine retries this step, it does not commit again.
        return summaries | "Committed" >> beam.Reshuffle() | "Complete" >> beam.Map(complete_summary)


class _PlanAndRun(beam.PTransform):
    """Root transform that plans a job when it is applied, and then runs it."""

    def __init__(self, verb: str, input: Uris, model: Uri, output: Uri, options: Mapping[str, Any]) -> None:
        super().__init__()
        self._options = make_options(verb, {"input": input, "model": model, "output": output, **options})

    def expand(self, begin: beam.pvalue.PBegin) -> beam.PCollection[dict[str, Any]]:
        # The pipeline may go on after this process has exited, so the lease must not depend on the process.
        job = begin_job(self._options, ends_with_process=False)
        if job.nothing_to_do:  # no lease was taken, which a commit could release
            return begin | "Nothing to do" >> beam.Create([nothing_done(job.config.output, job.run)])
        lineage = lineage_of(job)
        with awaiting_workers(job), telling(lineage):
            return begin | "Run job" >> RunJob(job, lineage=lineage) | "Finish" >> FailUnlessComplete()


class EncodeShards(_PlanAndRun):
    """Encode every image of some shards and write the latents, as a root transform.

    The result is a collection of one element, the summary of the run as a ``dict``. The job is checked and planned when
    the transform is applied, with the same checks and errors as the command ``latentlake encode``. The pipeline fails
    where the command has exit status 3: the output has too many rejects or failed units, and no ``_SUCCESS``.

    Example:
      ```python
      with beam.Pipeline() as p:
          p | EncodeShards(input=["images/"], model="bundle", output="latents")
      ```

    Args:
      input: URIs or paths of shards: files, globs, directories; one or several.
      model: URI of a bundle, or ``zoo:NAME``.
      output: URI of the directory to write to.
      reconstruct: also write the reconstructions and their errors (``mse``, ``psnr``).
      options: further options of the command, by the fields of ``pipeline.options.job_options.JobOptions`` and of its
        ``Gate``, ``Scope`` and ``StoreOptions``; text is taken as there: ``resize="crop"``.

    Raises:
      UsageError: at once: an option is unknown, or has no such value. When applied: an option, the input, the bundle or
        the output does not fit; nothing was written.
      HeldError: when applied: another run holds the output.
      UnfinishedError: when the pipeline runs, from its last step: the output is not complete.
    """

    def __init__(self, *, input: Uris, model: Uri, output: Uri, reconstruct: bool = False, **options: Any) -> None:
        chosen = check_values({"reconstruct": reconstruct}, [_RECONSTRUCT])["reconstruct"]
        super().__init__("reconstruct" if chosen else "encode", input, model, output, options)


class DenoiseShards(_PlanAndRun):
    """Denoise every image of some shards and write the shards with the cleaner images, as a root transform.

    The result is a collection of one element, the summary of the run as a ``dict``. The job is checked and planned when
    the transform is applied, with the same checks and errors as the command ``latentlake denoise``. The pipeline fails
    where the command has exit status 3: the output has too many rejects or failed units, and no ``_SUCCESS``.

    Example:
      ```python
      with beam.Pipeline() as p:
          p | DenoiseShards(input=["images/"], model="bundle", output="clean", noise_level="estimate")
      ```

    Args:
      input: URIs or paths of shards: files, globs, directories; one or several.
      model: URI of a bundle that can denoise, or ``zoo:NAME``.
      output: URI of the directory to write to.
      options: further options of the command, by the fields of ``pipeline.options.job_options.JobOptions`` and of its
        ``Gate``, ``Scope`` and ``StoreOptions``; text is taken as there: ``resize="crop"``.

    Raises:
      UsageError: at once: an option is unknown, or has no such value. When applied: an option, the input, the bundle or
        the output does not fit; nothing was written.
      HeldError: when applied: another run holds the output.
      UnfinishedError: when the pipeline runs, from its last step: the output is not complete.
    """

    def __init__(self, *, input: Uris, model: Uri, output: Uri, **options: Any) -> None:
        super().__init__("denoise", input, model, output, options)


@dataclass(frozen=True)
class EncodedImages:
    """The two outputs of ``EncodeImages``; each input record is in exactly one of them.

    Attributes:
      latents: ``(key, latent)``, the latent float32 ``[D]``, of a model of any size ``[h, w, c]``; with other types the
        numbers that a table has: bits of bfloat16 as uint16, eight bits of ``binary`` in a uint8.
      rejects: one ``RejectedItem`` for each record without a latent.
    """

    latents: beam.PCollection[tuple[Any, Any]]
    rejects: beam.PCollection[RejectedItem]


class EncodeImages(beam.PTransform):
    """Encode the images of a collection, in batches. A bad item becomes a reject and does not affect its batch.

    The input is a collection of ``(key, image)``; with a conditional model of ``(key, image, condition)``, a class or a
    list of numbers. An image is an encoded image file as ``bytes``, or an array: pixels ``[H, W, C]`` or a vector
    ``[d]``, of dtype uint8, uint16 or float32. The result is an ``EncodedImages``.

    Example:
      ```python
      with beam.Pipeline() as p:
          encoded = p | beam.Create([("key", png_bytes)]) | EncodeImages("bundle")
          encoded.latents | beam.Map(print)
      ```

    Args:
      model: URI of a bundle that every worker can read, or ``zoo:NAME``.
      batch: the largest number of records per call of the model.
      allow_code: run the code that the bundle holds for layers of its own, where no graphs do without it.
      options: ``resize``, ``decode``, ``orientation``, ``color``, ``max_pixels``, ``pages`` and ``white`` of
        ``lake.images.types.Target``, as values or as text; without ``resize`` what the bundle says of it. And of
        latents as of ``EncodeShards``, with the values that its table has: ``latent`` (one name), ``latent_type``,
        ``latent_scale``, ``latent_shift``, ``latent_quantization`` (a file), ``pool``, ``normalize``, and ``sample``,
        whose noise follows from the key: of ``(shard, index)`` it is that of the job.

    Raises:
      UsageError: an option is unknown, or has no such value; when applied: ``decode`` is fast, and none is resized.
      BundleError: when applied: the bundle is missing or damaged, or its model has no latents.
    """

    def __init__(self, model: Uri, *, batch: int = 256, allow_code: bool = False, **options: Any) -> None:
        super().__init__()
        check_names(options, [option.field for option in (*_POLICIES, *_LATENTS)])
        given = {"model": model, "batch": batch, "allow_code": allow_code, **options}
        table = (*MODEL, *_POLICIES, *_LATENTS, _BATCH, ALLOW_CODE)
        given = check_values(given, table, optional=optional_fields(Target, LatentOptions))
        self._model, self._batch, self._allow_code = (given.pop(name) for name in ("model", "batch", "allow_code"))
        latents = {option.field for option in _LATENTS}
        self._latents = LatentOptions(**{name: given.pop(name) for name in latents & given.keys()})
        self._policy = given

    def expand(self, items: beam.PCollection[Any]) -> EncodedImages:
        from model.bundle import Bundle

        bundle = Bundle.open(self._model, allow_code=self._allow_code)
        bundle.spec.require("encode")
        choose_executor(bundle)  # which refuses code that is not allowed
        policy = {"resize": bundle.spec.input.resize, **self._policy}
        target = Target(shape=decoded_shape("encode", bundle.spec), **policy)
        if target.any_size and target.resize is not None:
            raise UsageError("resize is for a model of one size; this one takes any: leave it out")
        check_decode(target)
        form = item_form(self._latents, bundle.spec)
        # The digest travels too: a worker refuses a bundle that was replaced after the pipeline was built.
        worker = WorkerKey(model=self._model, digest=bundle.digest, target=target, allow_code=self._allow_code)
        encode = beam.ParDo(EncodeItems(worker, form, configured()))
        outputs = (
            items
            | "Batch" >> beam.BatchElements(min_batch_size=min(64, self._batch), max_batch_size=self._batch)
            | "Encode" >> encode.with_outputs("rejects", main="latents")
        )
        return EncodedImages(latents=outputs.latents, rejects=outputs.rejects)
