"""Settle how a job makes and writes its latents: from the options, the model, and for integers from a first sample."""

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

from lake.core.choices import did_you_mean, quoted
from lake.core.errors import InputError, UsageError
from lake.core.records import Array, Unit
from lake.formats import FORMATS
from lake.formats.common.vector_quantization import fitted
from lake.formats.common.vector_storage import VectorStorage
from lake.storage import store_for
from pipeline.config import JobConfig
from pipeline.options.latent_flags import DIMENSION, TABLE
from pipeline.options.latent_form import MDS, PARQUET, FurtherLatent, LatentForm, LatentOptions
from pipeline.output.job_file import JobFile, check_job_file
from pipeline.output.latent_columns import SHAPE
from pipeline.worker.process import close_worker, worker_for
from pipeline.worker.verbs import verb_for

if TYPE_CHECKING:
    from model.spec import Spec
    from pipeline.options.job_options import JobOptions
    from pipeline.worker.verbs.verb import Verb

_UNITS = 8  # of the sample, spread over the input
_RECORDS = 2048  # of the sample
_NUMBERS = 1 << 20  # of one unit; latents of photographs have thousands each
_LARGEST = 64 << 20  # bytes of a file of scales


def latent_form(options: "JobOptions | LatentOptions", spec: "Spec") -> LatentForm | None:
    """Settle what the options ask of the latents; an integer type has no scale yet.

    Args:
      options: the options of the job.
      spec: the model's description.

    Returns:
      How latents are made and written; None where that is the usual, or there are none.

    Raises:
      UsageError: the options contradict each other or the model.
    """
    storage = VectorStorage(
        type=options.latent_type,
        scaling_factor=float(np.float32(options.latent_scale)),
        shift_factor=float(np.float32(options.latent_shift)),
    )
    names = _chosen(options.latent, spec)
    first, *others = (spec.latents[name] for name in names) if names else (spec.latent,)
    form = LatentForm(
        storage=storage,
        shape=() if first is None or spec.input.any_size else first.shape,
        seed=options.sample,
        pool=options.pool,
        normalize=options.normalize,
        flip=options.flip,
        format=options.latent_format,
        name=names[0] if names else None,
        own=first is spec.latent,
        further=tuple(
            FurtherLatent(name=one.name, shape=one.shape, storage=storage, own=one is spec.latent)
            for one in others
            if one is not None
        ),
    )
    _check(options, form, spec)
    return None if form.usual else form


def _chosen(asked: Sequence[str] | None, spec: "Spec") -> tuple[str, ...]:
    """The latents to write, by name; none for the model's own alone."""
    names, known = tuple(asked or ()), [*spec.latents]
    for name in names:
        if name not in known:
            raise UsageError(
                f"--latent {quoted(name)}: the bundle has {', '.join(known)}{did_you_mean(name, known)}; to have "
                "another layer too, export the model with --latent for each"
            )
        if names.count(name) > 1:
            raise UsageError(f"--latent {quoted(name)} is given twice; leave one out")
    return () if names == tuple(known[:1]) else names


def _check(options: "JobOptions | LatentOptions", form: LatentForm, spec: "Spec") -> None:
    if options.latent_quantization is not None and not form.storage.quantized:
        raise UsageError("--latent-quantization is of int8, uint8 and binary; give --latent-type, or leave it out")
    if not 0 < form.storage.scaling_factor < np.inf:
        raise UsageError(f"--latent-scale {options.latent_scale}: no positive number of 32 bits")
    if not np.isfinite(form.storage.shift_factor):
        raise UsageError(f"--latent-shift {options.latent_shift}: no number of 32 bits")
    if form.name is not None and options.variance:
        raise UsageError("--latent-variance is of the model's own latent alone; leave it out, or --latent")
    if form.name is not None and form.own_name is None and form.seed is not None:
        raise UsageError(
            f"--sample is of the model's own latent; leave it out, or add --latent {next(iter(spec.latents))}"
        )
    if form.further and form.storage.quantized and form.format != PARQUET:
        raise UsageError(
            f"several latents in {form.storage.type} are for tables; use --latent-format parquet, or a floating type"
        )
    if form.seed is not None and spec.variance is None:
        raise UsageError(f"a model of kind {spec.kind!r} gives no distributions; leave out --sample")
    if form.flip and spec.numeric:
        raise UsageError("the model takes vectors, which have no mirror image; leave out --flip")
    if form.format == MDS and form.storage.type == "binary" and spec.input.any_size:
        raise UsageError("bits of latents of many shapes do not say their channels in mds; use --latent-format parquet")
    if options.variance and (form.storage.quantized or form.pool or form.normalize):
        raise UsageError(
            "--latent-variance is of latents as the model gives them, in a floating type; leave it out, or --pool, "
            "--normalize, and the types int8, uint8 and binary"
        )
    if spec.input.any_size and (form.pool or form.normalize):
        raise UsageError("latents of images of any size keep their shape; leave out --pool and --normalize")
    grids = [shape for shape in (form.shape, *(one.shape for one in form.further)) if len(shape) > 1]
    if form.pool and not grids:
        raise UsageError("the latent is one vector already; leave out --pool")
    if form.pool == "cls" and (planes := [shape for shape in grids if len(shape) != 2]):
        raise UsageError(f"a latent of shape {planes[0]} has no tokens, so no first one; use --pool mean")


def item_form(options: LatentOptions, spec: "Spec") -> LatentForm:
    """Settle what is asked of latents that are made one by one, of which there is no first sample.

    Args:
      options: what is asked.
      spec: the model's description.

    Raises:
      UsageError: the options contradict each other or the model, or an integer type has no file of scales.
    """
    form, asked = latent_form(options, spec) or LatentForm(), options.latent_quantization
    if form.further:
        raise UsageError("latent: an image has one latent here; name one, or use EncodeShards for several")
    if not form.storage.quantized:
        return form
    if asked in (None, DIMENSION, TABLE):
        raise UsageError(
            f"latent_type {form.storage.type}: a collection has no first sample to choose a scale by; give a JSON file "
            "with scale and offset as latent_quantization"
        )
    places = spec.latent.shape[-1] if spec.latent and spec.input.any_size else spec.dimension
    return replace(form, storage=_from_file(str(asked), form.storage, _lengths(form, places)[0]))


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
    asked, lengths = options.latent_quantization or DIMENSION, _lengths(form, dimension)
    kept, again = _kept(config, job_file), options.retry_policies is not None or bool(options.scope.redo)
    if asked not in (DIMENSION, TABLE) and not (kept and again):
        if form.further:
            raise UsageError("--latent-quantization of several latents is dimension or table, and no file")
        storages = [_from_file(asked, form.storage, lengths[0])]
    elif kept is not None and (again or _are_as_asked(kept, lengths, whole=asked == TABLE)):
        storages = kept
    else:
        check_job_file(job_file, config, options.overwrite)  # before it takes long
        samples = _sample(config, options.model, list(units))
        storages = [fitted(form.storage, sample, whole=asked == TABLE) for sample in samples]
    return replace(config, latents=_with_storages(form, storages))


def _lengths(form: LatentForm, dimension: int) -> list[int]:
    """Numbers of each latent that may have a scale."""
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


def _from_file(uri: str, storage: VectorStorage, length: int) -> VectorStorage:
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
    worker = worker_for(*tried.of_worker)
    try:
        verb = verb_for(tried, worker)
        found = [part for unit in _spread(units) for part in _latents(unit, tried, verb, _each(units))]
    finally:
        close_worker(*tried.of_worker)
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
