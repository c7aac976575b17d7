"""Settle scale and offset of latents in integers: by the output's first run, a user's file, or a first sample."""

import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import islice
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from lake.core.errors import InputError, UsageError
from lake.core.records import Array, Unit
from lake.formats import FORMATS
from lake.formats.common.vector_quantization import fitted
from lake.formats.common.vector_storage import VectorStorage
from lake.storage import store_for
from pipeline.config import JobConfig
from pipeline.options.latent_flags import DIMENSION, TABLE
from pipeline.options.latent_form import LatentForm
from pipeline.output.state.job_file import JobFile, check_job_file
from pipeline.output.units.latent_columns import SHAPE
from pipeline.worker.process import close_worker, worker_for
from pipeline.worker.verbs import verb_for

if TYPE_CHECKING:
    from pipeline.options.job_options import JobOptions
    from pipeline.worker.verbs.verb import Verb

_UNITS = 8  # of the sample, spread over the input
_RECORDS = 2048  # of the sample
_NUMBERS = 1 << 20  # of one unit; latents of photographs have thousands each
_LARGEST = 64 << 20  # bytes of a file of scales


def with_quantization(
    config: JobConfig, options: "JobOptions", units: Iterable[Unit], job_file: JobFile | None, dimension: int
) -> JobConfig:
    """Return the job with scale and offset of an integer type.

    Those of the output's first run last as long as the output. A first run takes them from the user's file, or chooses
    them by the latents of up to 2,048 records: the first ones of up to 8 units, spread over the input.

    Args:
      config: the job.
      options: the options of the job.
      units: all units of the input.
      job_file: what an earlier run wrote; None for a first run.
      dimension: length D of the model's latents; their channels where they have shapes of their own.

    Raises:
      UsageError: the file does not fit, or no record of the sample has a latent.
      OutputError: the output was made with other options.
    """
    form = config.latents
    if form is None or not form.storage.quantized:
        return config
    asked, lengths = options.latent_quantization or DIMENSION, numbers_with_scales(form, dimension)
    kept, again = _kept(config, job_file), options.retry_policies is not None or bool(options.scope.redo)
    if asked not in (DIMENSION, TABLE) and not (kept and again):
        if form.further:
            raise UsageError("--latent-quantization of several latents is dimension or table, and no file")
        storages = [storage_of_file(asked, form.storage, lengths[0])]
    elif kept is not None and (again or _are_as_asked(kept, lengths, whole=asked == TABLE)):
        storages = kept
    else:
        check_job_file(job_file, config, options.overwrite)  # before it takes long
        samples = _sample(config, options.model, list(units))
        storages = [fitted(form.storage, sample, whole=asked == TABLE) for sample in samples]
    return replace(config, latents=_with_storages(form, storages))


def numbers_with_scales(form: LatentForm, dimension: int) -> list[int]:
    """Numbers of each latent that may have a scale.

    Args:
      form: how latents are made.
      dimension: length D of the model's latents; their channels where they have shapes of their own.
    """
    first = form.length(dimension if form.name is None else prod(form.shape))
    return [first, *(form.alone(one).length(prod(one.shape)) for one in form.further)]


def _are_as_asked(storages: Sequence[VectorStorage], lengths: Sequence[int], *, whole: bool) -> bool:
    pairs = zip(storages, lengths, strict=True)
    return all((len(storage.scale) == 1) == whole or length == 1 for storage, length in pairs)


def _with_storages(form: LatentForm, storages: Iterable[VectorStorage]) -> LatentForm:
    """The form with the storage of each latent, the first one first."""
    first, *others = storages
    further = (replace(one, storage=storage) for one, storage in zip(form.further, others, strict=True))
    return replace(form, storage=first, further=tuple(further))


def _kept(config: JobConfig, job_file: JobFile | None) -> list[VectorStorage] | None:
    """Scale and offset of the first run, of each latent, if nothing else has changed."""
    before: Mapping[str, Any] = {} if job_file is None else job_file["options"]
    if not isinstance(before.get("latents"), Mapping) or "storage" not in before["latents"]:
        return None
    now, made = json.loads(json.dumps(config.options())), {**before["latents"]}
    further = made.pop("further", {})
    assert config.latents is not None
    try:
        said = [made["storage"], *(further[one.name] for one in config.latents.further)]
        storages = [VectorStorage.from_json(one) for one in said]
    except (ValueError, LookupError, TypeError):
        return None
    unsettled = replace(storages[0], scale=(), offset=()).to_json()
    same = {**before, "latents": {**made, "storage": unsettled}} == now
    return storages if same else None


def storage_of_file(uri: str, storage: VectorStorage, length: int) -> VectorStorage:
    """An integer type with the scale and offset that a user's file gives it.

    Args:
      uri: of a JSON file.
      storage: the type.
      length: numbers of a latent that may have a scale.

    Raises:
      UsageError: the file cannot be read, or does not fit.
    """
    try:
        with store_for(uri).open(uri) as file:
            value = json.loads(file.read(_LARGEST))
        lists = {name: _as_list(value[name]) for name in ("scale", "offset")}
        found = VectorStorage.from_json({**storage.to_json(), **lists})
    except (OSError, ValueError, TypeError, LookupError, RecursionError) as error:
        raise UsageError(
            f"--latent-quantization {uri}: {error}; give a JSON file with scale and offset, numbers or lists of them"
        ) from error
    if not found.fits(length):
        raise UsageError(f"--latent-quantization {uri}: {len(found.scale)} numbers; the latents have {length}")
    return found


def _as_list(value: object) -> object:
    return [value] if isinstance(value, (int, float)) else value


def _sample(config: JobConfig, model: str, units: Sequence[Unit]) -> list[Array]:
    """Latents of a first sample, float32 ``[m, K]`` each, scaled."""
    assert config.latents is not None
    plain, count = replace(config.latents.storage, type="float32"), 1 + len(config.latents.further)
    floats = replace(_with_storages(config.latents, [plain] * count), flip=False)
    # The copy below the output is made later, once every check has passed.
    tried = replace(config, verb="encode", model=model, images=None, retry=None, latents=floats)
    worker = worker_for(tried.worker_key)
    try:
        verb = verb_for(tried, worker)
        found = [part for unit in _spread(units) for part in _latents(unit, tried, verb, _each(units))]
    finally:
        close_worker(tried.worker_key)
    if not found:
        raise InputError(
            "no record has a latent that would tell a scale; mend the input, or give scale and offset with "
            "--latent-quantization FILE"
        )
    return [np.concatenate(parts) for parts in zip(*found, strict=True)]


def _spread(units: Sequence[Unit]) -> Iterator[Unit]:
    count = min(_UNITS, len(units))
    return (units[number * len(units) // count] for number in range(count))


def _each(units: Sequence[Unit]) -> int:
    return -(-_RECORDS // max(1, min(_UNITS, len(units))))


def _latents(unit: Unit, config: JobConfig, verb: "Verb", most: int) -> list[list[Array]]:
    """Latents of the first records of a unit, batch by batch; of one that cannot be read, those up to the damage."""
    assert config.latents is not None
    names = ("latent", *(one.column for one in config.latents.further))
    columns = replace(config.columns.of(unit.format), whole=False, salvage=False)
    found, size = list[list[Array]](), min(most, verb.size)
    try:
        reader = FORMATS[unit.format].reader.read(unit, columns, size)
        with closing(iter(reader)) as batches:  # type: ignore[type-var]
            for raw in islice(batches, -(-most // size)):
                rows = verb.run(raw).rows
                assert rows is not None
                found.append([_by_place(rows, name) for name in names])
                if sum(latents.size for part in found for latents in part) > _NUMBERS:
                    break
    except Exception as error:  # whatever a unit raises, it is for the unit's own receipt to say
        logging.getLogger(__name__).debug("unit %s was not sampled: %s", unit.id, error)
    return [part for part in found if len(part[0])]


def _by_place(rows: pa.RecordBatch, name: str) -> Array:
    """The latents of some rows, ``[m, D]``; where they have shapes of their own ``[m, c]``, a row for each place."""
    latents: Array = rows.column(name).flatten().to_numpy()
    if SHAPE not in rows.schema.names:
        return latents.reshape(rows.num_rows, -1)
    shapes = rows.column(SHAPE).flatten().to_numpy()
    return latents.reshape(-1, int(shapes[2]) if len(shapes) else 1)
