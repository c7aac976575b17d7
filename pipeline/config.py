"""The configuration of a job: one frozen value, checked at launch, that travels to every worker."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from pipeline import __version__
from pipeline.images.base import Target
from pipeline.readers.base import Columns
from pipeline.records import Unit
from pipeline.storage.options import DEFAULTS, StoreOptions

if TYPE_CHECKING:
    from pipeline.reference import Reference

OUTPUT_VERSION = 1  # of the output's format; a change makes every unit's fingerprint another


class Verb(StrEnum):
    """What the job makes of every record."""

    ENCODE = "encode"  # a latent
    RECONSTRUCT = "reconstruct"  # a latent and an image
    DENOISE = "denoise"  # an image, of any size
    DECODE = "decode"  # an image, of a latent
    GENERATE = "generate"  # an image, of a latent that is drawn


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagesOut:
    """How images are written.

    format: of the dataset, one of ``pipeline.readers.FORMATS``.
    again: the input's shards are written again, with everything else that they hold; else records are written anew.
    image_format: of each image, a value of ``pipeline.images.encode.ImageFormat``.
    quality: of lossy formats, 1 to 100.
    error_map: a second dataset shows by how much each pixel differs from the input.
    """

    format: str
    again: bool
    image_format: str
    quality: int
    error_map: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseLevel:
    """What a denoiser is told of the noise: one level for all, a column's, or for each image what it is estimated at.

    Levels are standard deviations on the scale where white is 255. One of the three is set.
    """

    level: float | None = None
    column: str | None = None
    estimate: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """Where generated latents come from: the prior by ``seed``, or a line between two ``ends``, in ``count`` steps."""

    count: int
    seed: int = 0
    ends: tuple[tuple[float, ...], tuple[float, ...]] | None = None

    def options(self) -> dict[str, Any]:
        """What changes output bytes: an image of the prior is the same however many others there are."""
        return {"seed": self.seed} if self.ends is None else {"count": self.count, "ends": self.ends}


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """The second chance of a record that the job's own options reject.

    target: the policies that it is decoded by then.
    max_record_bytes: that it may have then.
    """

    target: Target
    max_record_bytes: int

    def options(self) -> dict[str, Any]:
        """As JSON values."""
        value: dict[str, Any] = _json(asdict(self))
        return value


@dataclass(frozen=True, slots=True, kw_only=True)
class JobConfig:
    """Everything a worker needs to know besides its unit.

    model: URI of the bundle, on a store that every worker reaches.
    latent_layer: '' for a model without a latent.
    variance: the latent table has the latents' variances too.
    reference: roots of the clean images that denoised ones are compared with.
    reject_bytes: how many of a rejected record's original bytes ``rejects/`` keeps.
    retry: of a run that tries rejected records again. Says nothing of the output as a whole, so a unit's fingerprint
      is the same with it.
    stores: how workers reach them. Never changes a byte of output.
    threads: pool threads of a worker process; None: its cores. Never changes a byte of output.
    """

    verb: Verb
    output: str
    run: str
    model: str
    model_digest: str
    latent_layer: str
    target: Target
    columns: Columns
    images: ImagesOut | None = None
    noise: NoiseLevel | None = None
    drawn: Drawn | None = None
    variance: bool = False
    reference: "Reference | None" = None
    reject_bytes: int = 1 << 20
    retry: Retry | None = None
    stores: StoreOptions = DEFAULTS
    threads: int | None = None

    def options(self) -> dict[str, Any]:
        """What changes output bytes besides the unit's input, as JSON values; what is not asked for is left out."""
        asked = {"images": self.images, "noise": self.noise}
        return {
            "output_version": OUTPUT_VERSION,
            "verb": self.verb,
            "model_digest": self.model_digest,
            "target": {key: _plain(value) for key, value in asdict(self.target).items()},
            "columns": {
                "image": self.columns.image,
                "key": self.columns.key,
                "carry": [[field.name, str(field.type)] for field in self.columns.carry],
                "numeric": self.columns.numeric,
                "length": self.columns.length,
                "max_record_bytes": self.columns.max_record_bytes,
            },
            "reject_bytes": self.reject_bytes,
            **({"variance": True} if self.variance else {}),
            **({} if self.drawn is None else {"drawn": _json(self.drawn.options())}),
            **({} if self.reference is None else {"reference": self.reference.options()}),
            **{name: _json(asdict(value)) for name, value in asked.items() if value is not None},
        }

    def metadata(self, unit: Unit) -> Mapping[str, str]:
        """What a unit's Parquet files say of themselves."""
        return {
            "latentlake.version": __version__,
            "latentlake.verb": self.verb,
            "latentlake.model_digest": self.model_digest,
            "latentlake.latent_layer": self.latent_layer,
            "latentlake.preprocessing": json.dumps(self.options()["target"], sort_keys=True),
            "latentlake.unit": unit.id,
            "latentlake.fingerprint": fingerprint(unit, self),
            **({} if self.retry is None else {"latentlake.retried": self.retried}),
        }

    @property
    def retried(self) -> str:
        """Under which options rejected records have a second chance, as JSON; "" where they have none."""
        return "" if self.retry is None else json.dumps(self.retry.options(), sort_keys=True)


def fingerprint(unit: Unit, config: JobConfig) -> str:
    """Hash of the model digest, the options that change output bytes, the output version and the input's identity."""
    source = [[shard.path, shard.size, shard.identity] for shard in (*unit.shards, *unit.clean)]
    return _digest([options_digest(config), unit.id, unit.format, unit.start, unit.stop, source])


@lru_cache(maxsize=8)
def options_digest(config: JobConfig) -> str:
    """Hash of the options that change output bytes."""
    return _digest(config.options())


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


def _json(value: object) -> Any:
    """The same as JSON would give it back: lists for tuples."""
    return json.loads(json.dumps(value))
