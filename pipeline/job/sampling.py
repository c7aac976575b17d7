"""Settle where the latents of ``generate`` come from: the model's prior, or the way between two latents of a table."""

from typing import TYPE_CHECKING

from lake.core.errors import InputError, UsageError
from lake.formats import FORMATS
from lake.formats.reader import ColumnSelection
from lake.inputs.columns import settle_shard
from lake.inputs.discover import find_shards
from lake.inputs.sampled import LatentSampling
from lake.inputs.units import make_units
from pipeline.job.conditions import sampled_condition
from pipeline.worker.verbs import VERBS

if TYPE_CHECKING:
    from model.spec import Spec
    from pipeline.options.job_options import JobOptions

_BATCH = 4096  # records


def latent_sampling(options: "JobOptions", spec: "Spec") -> LatentSampling | None:
    """Settle where the latents of ``generate`` come from.

    Args:
      options: the options of the job.
      spec: the model's description.

    Returns:
      How latents are sampled; None for every other verb.

    Raises:
      UsageError: an option is missing, or one is given that does not apply.
      BundleError: the model cannot decode, or has no known prior to sample from.
      InputError: a key to interpolate between is not in the input, or several latents have it.
    """
    if not VERBS[options.verb].samples:
        return None
    if spec.input.any_size:
        raise UsageError("the model's images have no size of their own; use a bundle exported with --input-shape H W C")
    if options.count is None:
        raise UsageError("how many images? Give --count")
    if options.interpolate is None:
        spec.require("generate")
        if options.input:
            raise UsageError("--input goes with --interpolate; images of the prior need none")
        return LatentSampling(count=options.count, seed=options.seed, condition=sampled_condition(options, spec))
    spec.require("decode")
    # The ends are looked up at launch: they travel with the configuration, and workers read no input.
    one, other = options.interpolate
    ends = _ends(options, spec, (one, other))
    told = sampled_condition(options, spec)
    return LatentSampling(count=options.count, ends=(ends[one], ends[other]), condition=told)


def _ends(options: "JobOptions", spec: "Spec", keys: tuple[str, str]) -> dict[str, tuple[float, ...]]:
    """Look up the latents of two keys in the latent tables of the input."""
    if not options.input:
        raise UsageError("--interpolate looks the two keys up in latent tables; name them with --input")
    found = find_shards(options.input, options.format, follow_links=options.follow_links)
    selection = ColumnSelection(
        image=options.image, key=options.key, carry=(), numeric=True, latents=True, length=spec.dimension
    )
    columns = {format: settle_shard(format, shards[0], selection) for format, shards in found.by_format.items()}
    ends: dict[str, tuple[float, ...]] = {}
    for unit in make_units(found):
        for raw in FORMATS[unit.format].reader.read(unit, columns[unit.format], _BATCH):
            records = raw.records()
            for position, key in enumerate(records.key.to_pylist()):
                if key in keys:
                    _add(ends, key, tuple(float(value) for value in records.payload[position]))
    if missing := [key for key in keys if key not in ends]:
        raise InputError(f"no record with the key {missing[0]!r} in {', '.join(options.input)}")
    return ends


def _add(ends: dict[str, tuple[float, ...]], key: str, latent: tuple[float, ...]) -> None:
    # The same latent twice is harmless: a table may be named twice, or an image be in two shards.
    if key in ends and ends[key] != latent:
        raise InputError(f"several records have the key {key!r}; name the one table that holds the right one")
    ends[key] = latent
