"""The configuration of a job: one frozen value, checked at launch, that travels to every worker.

``JobConfig`` holds everything that a worker needs besides its unit. The part of it that changes output bytes is hashed
into each unit's fingerprint. A unit whose receipt has the same fingerprint is done, and the next run skips it.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from lake import __version__
from lake.core.records import Unit
from lake.formats import MIXED
from lake.formats.common.stable_types import type_texts
from lake.formats.common.vector_storage import METADATA_KEY
from lake.formats.reader import RecordSchema
from lake.images.types import Target
from lake.inputs.sampled import LatentSampling
from lake.storage.options import StoreOptions
from pipeline.options.condition import ConditionSource
from pipeline.options.latent_form import PARQUET, LatentForm
from pipeline.options.reject_retry import RejectRetry, json_copy, policies, retries_of
from pipeline.options.values import CameraNoise, Gate, ImagesOut, NoiseLevel, usual_pages
from pipeline.tables.table import TableSpec
from pipeline.worker.worker_key import WorkerKey

if TYPE_CHECKING:
    from lake.inputs.reference import Reference

__all__ = [
    "FINGERPRINT",
    "FIRST_EXECUTOR",
    "OUTPUT_VERSION",
    "REJECT_BUDGET",
    "RETRIED",
    "CameraNoise",
    "Gate",
    "ImagesOut",
    "JobConfig",
    "NoiseLevel",
    "RejectRetry",
    "fingerprint",
    "options_digest",
    "table_version",
    "usual_pages",
]

FINGERPRINT, RETRIED = "latentlake.fingerprint", "latentlake.retried"  # keys in the footers of tables
# Version of the output's format. It is part of every fingerprint: a change makes all finished units out of date.
OUTPUT_VERSION = 1
# Of verbs that have changed more: denoise blends images below the levels that its model learned, and writes psnr_input.
_VERSIONS = {"denoise": 2}

FIRST_EXECUTOR = "tensorflow"  # what made every output before executors could be chosen

REJECT_BUDGET = 16 << 20  # default of ``JobConfig.reject_budget``


@dataclass(frozen=True, slots=True, kw_only=True)
class JobConfig:
    """Everything that a worker needs to know besides its unit. Hashable and picklable.

    Attributes:
      verb: what the job computes, a name in ``pipeline.worker.verbs.VERBS``.
      output: URI of the output directory, without a slash at the end.
      run: id of this run.
      model: URI of the bundle, on a store that every worker can reach.
      model_digest: SHA-256 of the bundle's ``model.json``; a worker refuses any other bundle.
      latent_layer: path of the layer that gives the latent; '' for a model without one.
      target: shape and policies that images are decoded to.
      normalization: what the model does to images first, as JSON text for the metadata of tables; '' for nothing.
      columns: what is read of each record.
      variance: whether the latent table has a column of variances.
      reject_bytes: how many of a rejected record's original bytes ``rejects/`` keeps.
      stores: how to reach the stores. Does not change output bytes.
      threads: threads of a worker process; None for one per core. Does not change output bytes.
      images: how images are written; None for a job that writes none.
      noise: what a denoiser is told about the noise; None for a model that is not told.
      ensemble: how often an image to denoise is shown to the model, turned and mirrored.
      condition: where a conditional model's condition is read; None for a model that is told nothing.
      sampling: how latents are sampled; None for a job that reads its records.
      reference: the clean images that denoised ones are compared with; None for no comparison.
      retry: how rejected records are decoded once more; None for a run that does not retry rejects. Not part of the
        fingerprint, because a retry completes units that are otherwise up to date.
      reject_budget: how many bytes of rejected records ``rejects/`` keeps for one unit, but those of one record in any
        case. The rows of further ones have no data.
      reject_limit: a run that has rejected more records than this stops, for its output could not be complete; None for
        no limit. Does not change output bytes.
      rewritten: where shards of several formats are rewritten, the format of the unit that is run; None before one is.
      restarts: whether the engine may start the job's units again, so that each looks first whether it is done. Does
        not change output bytes.
      executor: what computes the model's functions, a name in ``model.runtime.EXECUTORS``. They differ in last bits.
      allow_code: whether the user has allowed to run the code that the bundle holds. Does not change output bytes.
      latents: how latents are made and written, where that is not the usual; None where it is.
      marks: units are marked while they run, so that one that ends its process is found. Changes no output bytes.
      hashes: whether the tables have the columns ``sha256`` and ``phash``.
      partition_by: carried column, by its name in the source, whose values are directories instead of a column of the
        tables; None for one table for each unit.
      table: the table of a lake's catalog that the latents are published to; None for none. Changes names of files, and
        no bytes of theirs.
      reuse: URI of the index of latents that are kept rather than computed; "" for none. Does not change output bytes.
    """

    verb: str
    output: str
    run: str
    model: str
    model_digest: str
    latent_layer: str
    target: Target
    columns: RecordSchema
    variance: bool
    reject_bytes: int
    stores: StoreOptions
    threads: int | None
    images: ImagesOut | None = None
    noise: NoiseLevel | None = None
    ensemble: int = 1
    condition: ConditionSource | None = None
    sampling: LatentSampling | None = None
    reference: "Reference | None" = None
    retry: RejectRetry | None = None
    reject_budget: int = REJECT_BUDGET
    reject_limit: int | None = None
    rewritten: str | None = None
    restarts: bool = False
    executor: str = FIRST_EXECUTOR
    marks: bool = False
    hashes: bool = False
    reuse: str = ""
    allow_code: bool = False
    normalization: str = ""
    latents: LatentForm | None = None
    partition_by: str | None = None
    table: TableSpec | None = None

    def of(self, format: str) -> "JobConfig":
        """Return the job as units of one format are run, which is another one where each format is rewritten.

        Args:
          format: of the unit.
        """
        several = self.images is not None and self.images.format == MIXED
        return replace(self, rewritten=format) if several else self

    def of_unit(self, unit: Unit) -> "JobConfig":
        """Return the job as it runs a unit: with the retries that made it, so that their rows are made again.

        Args:
          unit: the unit.
        """
        earlier = retries_of(unit.retried, self.target)
        if not earlier:
            return self
        return replace(self, retry=(self.retry or earlier[-1]).after(earlier))

    @property
    def takes_colors(self) -> bool:
        """Whether the model takes red, green and blue together."""
        return self.target.shape[2:] == (3,)

    def _estimator(self) -> dict[str, Any]:
        """How levels are estimated, where that has changed: of colours they followed from each channel by itself."""
        return {"brightness": True} if self.noise and self.noise.estimate and self.takes_colors else {}

    def _mixed(self) -> dict[str, Any] | bool:
        """What is unusual of each of several formats; True for nothing."""
        return {format: unusual for format, own in self.columns.formats if (unusual := own.unusual())} or True

    def options(self) -> dict[str, Any]:
        """Return everything that changes output bytes, besides a unit's input, as JSON values."""
        return {
            "output_version": _VERSIONS.get(self.verb, OUTPUT_VERSION),
            "verb": self.verb,
            "model_digest": self.model_digest,
            "target": policies(self.target),
            "columns": {
                "image": self.columns.image,
                "key": self.columns.key,
                "carry": type_texts(self.columns.carry),
                "numeric": self.columns.numeric,
                "length": self.columns.length,
                "max_record_bytes": self.columns.max_record_bytes,
                **self.columns.unusual(),
                **({"mixed": self._mixed()} if self.columns.formats else {}),
            },
            "reject_bytes": self.reject_bytes,
            # An option that is not in use is left out, so that a new option does not change old fingerprints.
            **({} if self.executor == FIRST_EXECUTOR else {"executor": self.executor}),
            **({} if self.reject_budget == REJECT_BUDGET else {"reject_budget": self.reject_budget}),
            **({"variance": True} if self.variance else {}),
            **({"hash": True} if self.hashes else {}),
            **({} if self.partition_by is None else {"partition_by": self.partition_by}),
            **({} if self.latents is None else {"latents": self.latents.options()}),
            **({} if self.sampling is None else {"drawn": json_copy(self.sampling.options())}),
            **({} if self.reference is None else {"reference": self.reference.options()}),
            **({} if self.images is None else {"images": self.images.options()}),
            **({} if self.condition is None else {"condition": self.condition.name}),
            **({} if self.noise is None else {"noise": {**json_copy(self.noise.options()), **self._estimator()}}),
            **({} if self.ensemble == 1 else {"ensemble": self.ensemble}),
        }

    def metadata(self, unit: Unit) -> Mapping[str, str]:
        """Return the key-value metadata of a unit's Parquet files, which say how they were made."""
        return {
            "latentlake.version": __version__,
            "latentlake.verb": self.verb,
            "latentlake.model_digest": self.model_digest,
            "latentlake.latent_layer": self.latent_layer,
            **({} if self.executor == FIRST_EXECUTOR else {"latentlake.executor": self.executor}),
            **({} if self.ensemble == 1 else {"latentlake.ensemble": str(self.ensemble)}),
            "latentlake.preprocessing": _preprocessing(self.target),
            **({"latentlake.normalization": self.normalization} if self.normalization else {}),
            **({"latentlake.noise": json.dumps(self.noise.options())} if self.noise and self.noise.detailed else {}),
            **({} if self.latents is None else {METADATA_KEY: self.latents.metadata()}),
            "latentlake.unit": unit.id,
            FINGERPRINT: fingerprint(unit, self),
            **({} if self.retry is None else {RETRIED: self.retried}),
        }

    @property
    def writes_tables(self) -> bool:
        """Whether results are rows of tables, and not in a format of latents for trainers."""
        return self.latents is None or self.latents.format == PARQUET

    @property
    def merges_rejects(self) -> bool:
        """Whether a retry puts its rows among those that are there, instead of making all of a unit's anew.

        Where images are written, or latents in another format than tables, a shard holds its records one after another,
        so none can be inserted. Of partitions the new rows may be of others than the finished ones. And of tables that
        a lake's catalog has, what a new file holds must follow from its name.
        """
        single = self.images is None and self.writes_tables and self.partition_by is None
        return single and self.table is None

    @property
    def retried(self) -> str:
        """The options of the reject retry as JSON text; "" for a run without one."""
        return "" if self.retry is None else json.dumps(self.retry.options(), sort_keys=True)

    @property
    def decoding(self) -> Target:
        """The target, with the job's own answer to files of several images where the user gives none."""
        return replace(self.target, pages=self.target.pages or usual_pages(self.images))

    @property
    def worker_key(self) -> WorkerKey:
        """What tells the worker of this job among those of a process."""
        return WorkerKey(
            model=self.model,
            digest=self.model_digest,
            target=self.decoding,
            threads=self.threads,
            retry=self.decoding_again,
            executor=self.executor,
            allow_code=self.allow_code,
        )

    @property
    def decoding_again(self) -> RejectRetry | None:
        """The reject retry, with the same answer."""
        if self.retry is None:
            return None
        return self.retry.with_pages(usual_pages(self.images))


def fingerprint(unit: Unit, config: JobConfig) -> str:
    """Hash everything that determines the output bytes of a unit.

    That is: the model's digest, the options that change output bytes, the version of the output format, and the
    identity of the unit's shards (path, size, modification time or version).

    Args:
      unit: the unit; its shards are not read.
      config: the job.

    Returns:
      SHA-256 as 64 hexadecimal digits.

    Examples:
      The number of threads and the id of the run do not count; an additional output column does:

      >>> from dataclasses import replace
      >>> import pyarrow as pa
      >>> columns = RecordSchema(image="png", key=None, carry=pa.schema([]), numeric=False, max_record_bytes=1 << 28)
      >>> config = JobConfig(
      ...     verb="encode", output="latents", run="monday", model="bundle", model_digest="00", latent_layer="encoded",
      ...     target=Target(shape=(28, 28, 1)), columns=columns, variance=False, reject_bytes=0, stores=StoreOptions(),
      ...     threads=None,
      ... )
      >>> unit = Unit(id="train-00000", format="webdataset", shards=())
      >>> fingerprint(unit, config) == fingerprint(unit, replace(config, run="tuesday", threads=4))
      True
      >>> fingerprint(unit, config) == fingerprint(unit, replace(config, variance=True))
      False
    """
    source = [[shard.path, shard.size, shard.identity] for shard in (*unit.shards, *unit.clean, *unit.companions)]
    # The first shard of each format may come at any later run, so the options of all units do not have its columns.
    own = [_own_columns(config.columns.of(unit.format))] if config.columns.formats else []
    return _digest([options_digest(config), unit.id, unit.format, unit.start, unit.stop, source, *own])


def table_version(unit: Unit, config: JobConfig) -> str:
    """What the name of a unit's latent table has of its content, where a table of a lake's catalog has the file.

    Such a table takes a file for immutable. So all that determines the bytes is in the name: the fingerprint, and the
    options of a reject retry, which are not part of it.

    Args:
      unit: the unit.
      config: the job.

    Returns:
      16 hexadecimal digits; "" where no such table has the file, which then has one name for ever.
    """
    return "" if config.table is None else _digest([fingerprint(unit, config), config.of_unit(unit).retried])[:16]


def _own_columns(columns: RecordSchema) -> list[Any]:
    return [columns.image, columns.key, columns.numeric, columns.length, type_texts(columns.carry)]


@lru_cache(maxsize=8)
def options_digest(config: JobConfig) -> str:
    """Hash the options that change output bytes: the part of the fingerprint that all units share.

    Cached, because it is needed for every unit, with the same configuration.

    Args:
      config: the job.

    Returns:
      SHA-256 as 64 hexadecimal digits.
    """
    return _digest(config.options())


@lru_cache(maxsize=8)
def _preprocessing(target: Target) -> str:
    return json.dumps(policies(target), sort_keys=True)


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
