"""Settle how a job makes and writes its latents, from the options and the model."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from lake.core.choices import did_you_mean, quoted
from lake.core.errors import UsageError
from lake.formats.arrayrecord.library import array_record_module
from lake.formats.common.vector_storage import VectorStorage
from pipeline.job.quantization import numbers_with_scales, storage_of_file
from pipeline.options.latent_flags import DIMENSION, TABLE
from pipeline.options.latent_form import ARRAYRECORD, MDS, PARQUET, FurtherLatent, LatentForm, LatentOptions

if TYPE_CHECKING:
    from model.spec import Spec
    from pipeline.options.job_options import JobOptions


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
    if form.format == ARRAYRECORD:
        array_record_module()  # so that a job does not start without it
    _check_numbers(options, form)
    _check_names(options, form, spec)
    _check_model(options, form, spec)
    _check_pool(form, spec)


def _check_numbers(options: "JobOptions | LatentOptions", form: LatentForm) -> None:
    if options.latent_quantization is not None and not form.storage.quantized:
        raise UsageError("--latent-quantization is of int8, uint8 and binary; give --latent-type, or leave it out")
    if not 0 < form.storage.scaling_factor < np.inf:
        raise UsageError(f"--latent-scale {options.latent_scale}: no positive number of 32 bits")
    if not np.isfinite(form.storage.shift_factor):
        raise UsageError(f"--latent-shift {options.latent_shift}: no number of 32 bits")


def _check_names(options: "JobOptions | LatentOptions", form: LatentForm, spec: "Spec") -> None:
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


def _check_model(options: "JobOptions | LatentOptions", form: LatentForm, spec: "Spec") -> None:
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


def _check_pool(form: LatentForm, spec: "Spec") -> None:
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
    return replace(form, storage=storage_of_file(str(asked), form.storage, numbers_with_scales(form, places)[0]))
