"""The configuration of a job: one frozen value, checked at launch, that travels to every worker."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Any

from pipeline import __version__
from pipeline.images.base import Target
from pipeline.readers.base import Columns
from pipeline.records import Unit

OUTPUT_VERSION = 1  # of the output's format; a change makes every unit's fingerprint another


class Verb(StrEnum):
    """What the job makes of every record."""

    ENCODE = "encode"
    RECONSTRUCT = "reconstruct"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobConfig:
    """Everything a worker needs to know besides its unit.

    model: URI of the bundle, on a store that every worker reaches.
    reject_bytes: how many of a rejected record's original bytes ``rejects/`` keeps.
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
    reject_bytes: int = 1 << 20
    threads: int | None = None

    def options(self) -> dict[str, Any]:
        """What changes output bytes besides the unit's input, as JSON values."""
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
        }


def fingerprint(unit: Unit, config: JobConfig) -> str:
    """Hash of the model digest, the options that change output bytes, the output version and the input's identity."""
    source = [[shard.path, shard.size, shard.identity] for shard in unit.shards]
    return _digest([options_digest(config), unit.id, unit.format, unit.start, unit.stop, source])


@lru_cache(maxsize=8)
def options_digest(config: JobConfig) -> str:
    """Hash of the options that change output bytes."""
    return _digest(config.options())


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value
