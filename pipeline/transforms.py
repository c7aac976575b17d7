"""The job as Beam transforms: they only wire. What each step does is plain Python, tested without Beam."""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeAlias

import apache_beam as beam
from apache_beam.metrics import Metrics
from apache_beam.transforms.window import BoundedWindow
from apache_beam.utils.timestamp import Timestamp
from apache_beam.utils.windowed_value import WindowedValue

from pipeline.commit import Gate, Run, commit
from pipeline.config import JobConfig, Verb
from pipeline.fold import Folded
from pipeline.images.base import Target
from pipeline.items import Item, RejectedItem, encode_items
from pipeline.job import Job
from pipeline.job import begin as begin_job
from pipeline.lines import packed_units, unpacked
from pipeline.receipts import Receipt
from pipeline.settings import Settings
from pipeline.storage import StoreOptions, configure, configured
from pipeline.summary import check_complete
from pipeline.unit import run_unit
from pipeline.worker import UNITS_AT_ONCE, worker_for

_NAMESPACE = "latentlake"


class RunJob(beam.PTransform):
    """A staged job from its plan to its commit; gives the summary, one ``dict``."""

    def __init__(self, job: Job) -> None:
        super().__init__()
        self._parts, self._config, self._gate, self._run = job.parts, job.config, job.settings.gate, job.run

    def expand(self, begin: beam.pvalue.PBegin) -> beam.PCollection[dict[str, Any]]:
        return (
            begin
            | "Plan parts" >> beam.Create(self._parts, reshuffle=False)
            | "Read units" >> beam.FlatMap(packed_units, self._config.stores)
            | "Spread" >> beam.Reshuffle()
            | "Run units" >> beam.ParDo(_RunUnits(self._config))
            | "Fold receipts" >> beam.CombineGlobally(_FoldReceipts())
            | "Commit" >> beam.Map(_commit, self._config, self._gate, self._run)
        )


class FailUnlessComplete(beam.PTransform):
    """Fails the pipeline where its commit has kept ``_SUCCESS`` back: of a launcher that has left, nobody else says so.

    The commit is done and kept before, so that an engine tries this step alone again.
    """

    def expand(self, summaries: beam.PCollection[dict[str, Any]]) -> beam.PCollection[None]:
        return summaries | "Committed" >> beam.Reshuffle() | "Complete" >> beam.Map(check_complete)


class _Shards(beam.PTransform):
    """A whole job as a root transform: shards in, a committed output; gives its summary, one ``dict``.

    The checks of the command line are made when the transform is applied, and raise the same errors.
    """

    def __init__(self, verb: Verb, input: Iterable[str], model: str, output: str, settings: Mapping[str, Any]) -> None:
        super().__init__()
        self._settings = Settings(verb=verb, input=tuple(input), model=model, output=output, **settings)

    def expand(self, begin: beam.pvalue.PBegin) -> beam.PCollection[dict[str, Any]]:
        return begin | "Run job" >> RunJob(begin_job(self._settings, ends_here=False))


class EncodeShards(_Shards):
    """Latents of every image in some shards, as a root transform; gives the job's summary.

    ::

        with beam.Pipeline() as p:
            p | EncodeShards(input=["images/"], model="bundle", output="latents")

    Args:
      input: URIs of shards: files, globs, directories.
      model: URI of a bundle.
      output: URI of the directory to write; ``reconstruct=True`` adds the error columns and the images.
      settings: further fields of ``pipeline.settings.Settings``.
    """

    def __init__(
        self, *, input: Iterable[str], model: str, output: str, reconstruct: bool = False, **settings: Any
    ) -> None:
        super().__init__(Verb.RECONSTRUCT if reconstruct else Verb.ENCODE, input, model, output, settings)


class DenoiseShards(_Shards):
    """The same shards with cleaner images, as a root transform; gives the job's summary.

    ::

        with beam.Pipeline() as p:
            p | DenoiseShards(input=["images/"], model="bundle", output="clean", noise_level="estimate")

    Args:
      input: URIs of shards: files, globs, directories.
      model: URI of a bundle that can denoise.
      output: URI of the directory to write.
      settings: further fields of ``pipeline.settings.Settings``.
    """

    def __init__(self, *, input: Iterable[str], model: str, output: str, **settings: Any) -> None:
        super().__init__(Verb.DENOISE, input, model, output, settings)


@dataclass(frozen=True)
class EncodedImages:
    """What ``EncodeImages`` gives: ``(key, float32 [D])`` by key, and a ``RejectedItem`` for every other record."""

    latents: beam.PCollection[tuple[Any, Any]]
    rejects: beam.PCollection[RejectedItem]


class EncodeImages(beam.PTransform):
    """The model over records of a pipeline of your own, batch by batch; a bad image costs itself alone.

    Takes ``(key, image)``: an encoded image file as ``bytes``, or pixels ``[H, W, C]`` or a vector ``[d]`` as an array.

    Args:
      model: URI of a bundle that every worker can read.
      batch: how many records go to the model at once, at most.
      policy: ``resize``, ``orientation``, ``color`` and ``max_pixels`` of ``pipeline.images.base.Target``.
    """

    def __init__(self, model: str, *, batch: int = 256, **policy: Any) -> None:
        super().__init__()
        self._model, self._batch, self._policy = model, batch, policy

    def expand(self, items: beam.PCollection[Item]) -> EncodedImages:
        from model.bundle import Bundle

        bundle = Bundle.open(self._model)
        target = Target(shape=bundle.spec.input.shape, **self._policy)
        split = (
            items
            | "Batch" >> beam.BatchElements(min_batch_size=min(64, self._batch), max_batch_size=self._batch)
            | "Encode"
            >> beam.ParDo(_EncodeItems(self._model, bundle.digest, target, configured())).with_outputs(
                "rejects", main="latents"
            )
        )
        return EncodedImages(latents=split.latents, rejects=split.rejects)


class _EncodeItems(beam.DoFn):
    def __init__(self, model: str, digest: str, target: Target, stores: StoreOptions) -> None:
        self._worker, self._stores = (model, digest, target), stores

    def setup(self) -> None:
        configure(self._stores)

    def process(self, items: list[Item]) -> Iterator[Any]:
        for outcome in encode_items(items, worker_for(*self._worker)):
            Metrics.counter(_NAMESPACE, "records_read").inc()
            if isinstance(outcome, RejectedItem):
                Metrics.counter(_NAMESPACE, f"rejects_{outcome.reason}").inc()
                yield beam.pvalue.TaggedOutput("rejects", outcome)
            else:
                yield outcome


_Flight: TypeAlias = "tuple[Future[Receipt], Timestamp, BoundedWindow]"


class _RunUnits(beam.DoFn):
    """Units to receipts, a few at once: while one drains and publishes, the next keeps the cores busy."""

    def __init__(self, config: JobConfig) -> None:
        self._config = config

    def setup(self) -> None:
        self._pool = ThreadPoolExecutor(UNITS_AT_ONCE, thread_name_prefix="unit")

    def start_bundle(self) -> None:
        self._flight: deque[_Flight] = deque()

    def process(
        self, unit: bytes, time: Timestamp = beam.DoFn.TimestampParam, window: BoundedWindow = beam.DoFn.WindowParam
    ) -> Iterator[WindowedValue]:
        self._flight.append((self._pool.submit(run_unit, unpacked(unit), self._config), time, window))
        if len(self._flight) >= UNITS_AT_ONCE:
            yield self._land()

    def finish_bundle(self) -> Iterator[WindowedValue]:
        while self._flight:
            yield self._land()

    def teardown(self) -> None:
        self._pool.shutdown()

    def _land(self) -> WindowedValue:
        future, time, window = self._flight.popleft()
        receipt = future.result()
        _count(receipt)
        return WindowedValue(receipt.to_json(), time, (window,))


def _count(receipt: Receipt) -> None:
    """Beam counters, equal to the receipts'."""
    counts = {"records_read": receipt.read, "results": receipt.results, "rejects": receipt.rejected}
    counts |= {f"rejects_{reason}": count for reason, count in receipt.rejects.items()}
    counts["units_done" if receipt.error is None else "units_failed"] = 1
    for name, count in counts.items():
        Metrics.counter(_NAMESPACE, name).inc(count)


class _FoldReceipts(beam.CombineFn):
    """Receipts to one value, in a tree and in any order."""

    def create_accumulator(self) -> Folded:
        return Folded()

    def add_input(self, folded: Folded, receipt: str) -> Folded:
        folded.add(receipt)
        return folded

    def merge_accumulators(self, parts: Iterable[Folded]) -> Folded:
        whole = Folded()
        whole.join(parts)
        return whole

    def extract_output(self, folded: Folded) -> Folded:
        return folded


def _commit(folded: Folded, config: JobConfig, gate: Gate, run: Run) -> dict[str, Any]:
    return commit(config, gate, run, folded.receipts())
