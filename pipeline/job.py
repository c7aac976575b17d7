"""A job before it runs: everything is checked and planned here, at launch, and nothing is written until it is."""

import json
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING

import pyarrow as pa

from pipeline.choices import check_level, check_variance, drawn_latents, images_out, noise_level, with_level
from pipeline.commit import Gate, Run
from pipeline.config import Drawn, JobConfig, NoiseLevel, Verb
from pipeline.drawn import FORMAT as DRAWN
from pipeline.errors import InputError, ShardError
from pipeline.gallery import gallery_for
from pipeline.held import Held, check_held, held_columns, read_held, write_held
from pipeline.images.base import Color, Orientation, Resize, Target
from pipeline.layout import Layout
from pipeline.listing import Found, check_apart, find_shards
from pipeline.plan import Plan, make_plan
from pipeline.readers import Columns, Request, reader_for
from pipeline.receipts import read_manifest, read_receipts
from pipeline.records import Shard, Unit
from pipeline.reference import find_reference
from pipeline.storage import join, put, store_for

if TYPE_CHECKING:
    from model.bundle import Bundle
    from model.spec import Spec

_UNITS_PER_PART = 1000
_LOOKED_AT = 10  # shards that are tried for the columns


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a user asks for. See ``pipeline.options`` for the meaning of each."""

    verb: Verb
    model: str
    output: str
    input: Sequence[str] = ()
    format: str = "auto"
    image: str | None = None
    key: str | None = None
    carry: Sequence[str] | None = None
    resize: Resize | None = None
    orientation: Orientation = Orientation.APPLY
    color: Color = Color.STRICT
    max_pixels: int = Target(shape=()).max_pixels
    max_record_bytes: int = Request().max_record_bytes
    reject_bytes: int = 1 << 20
    overwrite: bool = False
    threads: int | None = None
    gate: Gate = field(default_factory=Gate)
    variance: bool = False
    images: bool = True
    output_format: str | None = None
    image_format: str = "lossless"
    quality: int = 90
    error_map: bool = False
    noise_level: str | None = None
    reference: Sequence[str] | None = None
    count: int | None = None
    seed: int = 0
    interpolate: Sequence[str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A checked and planned job."""

    config: JobConfig
    gate: Gate
    run: Run
    plan: Plan
    found: Found
    bundle: "Bundle"
    request: Request

    @property
    def parts(self) -> list[str]:
        """URIs of the plan's parts; the pipeline's graph holds these alone."""
        count = -(-len(self.plan.todo) // _UNITS_PER_PART)
        return [join(Layout(self.config.output).plan(self.config.run), f"part-{i:05d}.jsonl") for i in range(count)]


def prepare(settings: Settings) -> Job:
    """Check everything and make the plan. Writes nothing.

    Raises:
      UsageError: with the value that is wrong and what to do.
    """
    from model.bundle import Bundle

    started = time.time()
    bundle = Bundle.open(settings.model)
    bundle.spec.require("decode" if settings.verb is Verb.GENERATE else settings.verb)
    check_variance(settings, bundle.spec)
    check_apart(settings.input, settings.output)
    output = settings.output.rstrip("/")
    held = read_held(output)
    drawn = drawn_latents(settings, bundle.spec)
    found = Found(root="", format=DRAWN, shards=()) if drawn else find_shards(settings.input, settings.format)
    images = images_out(settings, bundle.spec, None if drawn else found)
    noise = noise_level(settings, bundle.spec)
    request = _request(settings, bundle, whole=images is not None and images.again)
    columns = _columns(held, found, request, noise, drawn)
    reference = find_reference(settings.reference, found, request) if settings.reference else None
    config = replace(_config(settings, bundle, columns), images=images, noise=noise, drawn=drawn, reference=reference)
    gallery_for(config)  # a format may refuse the columns
    check_held(held, config, settings.overwrite)
    layout = Layout(output)
    plan = make_plan(found, config, {**read_manifest(layout), **read_receipts(layout)})
    run = Run(
        units=len(plan.units),
        todo=len(plan.todo),
        obsolete=plan.obsolete,
        passed_over=found.passed_over,
        started=started,
    )
    return Job(config=config, gate=settings.gate, run=run, plan=plan, found=found, bundle=bundle, request=request)


def stage(job: Job) -> None:
    """Write what workers need below the output: the model, the plan, and what the output will hold."""
    layout = Layout(job.config.output)
    store = store_for(layout.output)
    if job.plan.todo or job.plan.obsolete:
        store.delete(layout.success)
    write_held(job.config, job.request)
    job.bundle.copy(job.config.model)
    for number, uri in enumerate(job.parts):
        units = job.plan.todo[number * _UNITS_PER_PART : (number + 1) * _UNITS_PER_PART]
        put(uri, "".join(json.dumps(asdict(unit)) + "\n" for unit in units).encode())


def read_units(part: str) -> Iterator[Unit]:
    """The units of one part of a plan."""
    with store_for(part).open(part) as file:
        for line in file:
            value = json.loads(line)
            shards, clean = (tuple(Shard(**shard) for shard in value.pop(name)) for name in ("shards", "clean"))
            yield Unit(shards=shards, clean=clean, **value)


def drop_plan(job: Job) -> None:
    """Remove the parts of a plan that has run; its summary stays."""
    for part in job.parts:
        store_for(part).delete(part)


def _columns(
    held: Held | None, found: Found, request: Request, noise: NoiseLevel | None, drawn: Drawn | None
) -> Columns:
    if drawn is not None:
        most = request.max_record_bytes
        return Columns(image="", key=None, carry=pa.schema([]), numeric=True, max_record_bytes=most)
    if (columns := held_columns(held, request)) is None:
        columns = settle(found, request)
        asked = with_level(request, columns, noise)
        columns = columns if asked is request else settle(found, asked)
    check_level(columns, noise)
    return columns


def _shape(verb: Verb, spec: "Spec") -> tuple[int | None, ...]:
    """What records are decoded to: latents, images of any size, or what the model takes."""
    if verb in (Verb.DECODE, Verb.GENERATE):
        return (spec.dimension,)
    return (None, None, spec.input.shape[2]) if spec.input.any_size else spec.input.shape


def _config(settings: Settings, bundle: "Bundle", columns: Columns) -> JobConfig:
    target = Target(
        shape=_shape(settings.verb, bundle.spec),
        resize=settings.resize,
        orientation=settings.orientation,
        color=settings.color,
        max_pixels=settings.max_pixels,
    )
    return JobConfig(
        verb=settings.verb,
        output=settings.output.rstrip("/"),
        run=f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{os.urandom(3).hex()}",
        model=Layout(settings.output.rstrip("/")).model(bundle.digest),
        model_digest=bundle.digest,
        latent_layer=bundle.spec.latent.layer if bundle.spec.latent else "",
        target=target,
        columns=columns,
        variance=settings.variance,
        reject_bytes=settings.reject_bytes,
        threads=settings.threads,
    )


def _request(settings: Settings, bundle: "Bundle", whole: bool) -> Request:
    numeric = settings.verb is Verb.DECODE or bundle.spec.numeric
    return Request(
        image=settings.image,
        key=settings.key,
        carry=None if settings.carry is None else tuple(dict.fromkeys(settings.carry)),
        numeric=numeric,
        length=_shape(settings.verb, bundle.spec)[0] if numeric else None,
        max_record_bytes=settings.max_record_bytes,
        whole=whole,
    )


def settle(found: Found, request: Request) -> Columns:
    """Fix the columns by the first shard that has them: one that is empty or damaged is its own unit's matter.

    Raises:
      InputError: none of the first shards has what is asked for.
    """
    first: InputError | ShardError | None = None
    for shard in found.shards[:_LOOKED_AT]:
        try:
            return reader_for(found.format).settle(shard, request)
        except (InputError, ShardError) as error:
            first = first or error
    if isinstance(first, InputError):
        raise first
    raise InputError(f"none of the first {len(found.shards[:_LOOKED_AT])} shards can be read: {first}") from first
