"""A job before it runs: everything is checked and planned here, at launch, and nothing is written until it is."""

import os
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pyarrow as pa

from pipeline.choices import check_level, check_variance, drawn_latents, images_out, noise_level, with_level
from pipeline.commit import Run
from pipeline.config import Drawn, JobConfig, NoiseLevel, Retry, Verb
from pipeline.drawn import FORMAT as DRAWN
from pipeline.errors import InputError, ShardError
from pipeline.expected import find_expected
from pipeline.gallery import gallery_for
from pipeline.held import Held, check_held, check_receipts, held_columns, read_held, write_held
from pipeline.hold import check_free, release, take
from pipeline.images.base import Target
from pipeline.layout import Layout
from pipeline.lines import as_line, write_obsolete
from pipeline.listing import Found, check_apart, find_shards
from pipeline.plan import Plan, make_plan
from pipeline.readers import Columns, Request, reader_for
from pipeline.receipts import Receipt, read_state, write_receipt
from pipeline.reference import find_reference
from pipeline.settings import Settings, kept
from pipeline.storage import Stat, configure, join, store_for
from pipeline.sweep import unfinished

if TYPE_CHECKING:
    from model.bundle import Bundle
    from model.spec import Spec

_UNITS_PER_PART = 1000
_SUCCESS = 2  # of ``Job.state``
_LOOKED_AT = 10  # shards that are tried for the columns


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A checked and planned job.

    state: of the output when it was planned; another one means that the plan is out of date.
    """

    settings: Settings
    config: JobConfig
    run: Run
    plan: Plan
    found: Found
    bundle: "Bundle"
    request: Request
    state: tuple[Stat | None, ...]

    @property
    def nothing_to_do(self) -> bool:
        """Whether the output is complete as it stands."""
        complete = self.state[_SUCCESS] is not None and not self.run.tidy
        return complete and not self.plan.todo and not self.plan.obsolete and self.run.expected is None

    @property
    def parts(self) -> list[str]:
        """URIs of the plan's parts; the pipeline's graph holds these alone."""
        count = -(-len(self.plan.todo) // _UNITS_PER_PART)
        return [join(Layout(self.config.output).plan(self.config.run), f"part-{i:05d}.jsonl") for i in range(count)]


def prepare(settings: Settings, run: str | None = None) -> Job:
    """Check everything and make the plan. Writes nothing.

    Args:
      settings: what is asked for.
      run: id of the run; None for a new one.

    Raises:
      UsageError: with the value that is wrong and what to do.
    """
    from model.bundle import Bundle

    started = time.time()
    configure(settings.stores)
    bundle = Bundle.open(settings.model)
    bundle.spec.require("decode" if settings.verb is Verb.GENERATE else settings.verb)
    check_variance(settings, bundle.spec)
    check_apart(settings.input, settings.output)
    layout = Layout(settings.output.rstrip("/"))
    state = _state(layout)
    held = read_held(layout.output)
    drawn = drawn_latents(settings, bundle.spec)
    found = Found(root="", format=DRAWN, shards=()) if drawn else find_shards(settings.input, settings.format)
    images = images_out(settings, bundle.spec, None if drawn else found)
    noise = noise_level(settings, bundle.spec)
    request = _request(settings, bundle, whole=images is not None and images.again)
    columns = _columns(held, found, request, noise, drawn)
    reference = find_reference(settings.reference, found, request) if settings.reference else None
    config = replace(
        _config(settings, bundle, columns, run or _new_run()),
        images=images,
        noise=noise,
        drawn=drawn,
        reference=reference,
    )
    gallery_for(config)  # a format may refuse the columns
    check_held(held, config, settings.overwrite)
    expected = find_expected(settings.expect_records, found) if settings.expect_records else None
    receipts = read_state(layout)
    if held is None and not settings.overwrite:
        check_receipts(receipts, config)
    plan = make_plan(found, config, receipts, settings.scope, expected)
    return Job(
        settings=settings,
        config=config,
        run=Run(
            units=len(plan.units),
            todo=len(plan.todo),
            obsolete=layout.obsolete(config.run) if plan.obsolete else "",
            passed_over=found.passed_over,
            started=started,
            expected=expected.total if expected else None,
            tidy=settings.scope.tidy
            or next(unfinished(layout), None) is not None
            or (bool(receipts) and _lacks(held, config)),
        ),
        plan=plan,
        found=found,
        bundle=bundle,
        request=request,
        state=state,
    )


def begin(settings: Settings, *, ends_here: bool) -> Job:
    """Plan a job, hold its output, and stage it, unless there is nothing to do.

    Args:
      settings: what is asked for.
      ends_here: the run ends with this process.

    Raises:
      UsageError: as ``prepare`` does; nothing was written.
      HeldError: another run holds the output.
    """
    job = prepare(settings)
    if check_free(job.config.output) and job.nothing_to_do:
        return job
    died = take(job.config.output, job.config.run, ends_here=ends_here)
    try:
        if _state(Layout(job.config.output)) != job.state:  # a run has ended since
            job = prepare(settings, job.config.run)
        job = replace(job, run=replace(job.run, tidy=job.run.tidy or died))
        if job.nothing_to_do:
            release(job.config.output, job.config.run)
            return job
        stage(job)
    except BaseException:
        release(job.config.output, job.config.run)
        raise
    return job


def stage(job: Job) -> None:
    """Write what workers need below the output: the model, the plan, and what the output will hold."""
    layout = Layout(job.config.output)
    store_for(layout.output).delete(layout.success)
    if job.settings.second is None:
        write_held(job.config, job.request, kept(job.settings))
    job.bundle.copy(job.config.model)
    for name in job.settings.scope.redo:
        write_receipt(layout, Receipt(unit=name, fingerprint="", error="to be done again"))
    if job.run.obsolete:
        write_obsolete(job.run.obsolete, job.plan.obsolete)
    for number, uri in enumerate(job.parts):
        units = job.plan.todo[number * _UNITS_PER_PART : (number + 1) * _UNITS_PER_PART]
        with store_for(uri).create(uri) as sink:
            for unit in units:
                sink.write(as_line(unit))


def _lacks(held: Held | None, config: JobConfig) -> bool:
    """Whether an output has lost what does not belong to a unit; what is there but damaged is found by ``verify``."""
    from model.bundle import DESCRIPTION

    return held is None or store_for(config.model).stat(join(config.model, DESCRIPTION)) is None


def _state(layout: Layout) -> tuple[Stat | None, ...]:
    """What changes when another run ends."""
    store = store_for(layout.output)
    return tuple(store.stat(uri) for uri in (layout.job, layout.manifest, layout.success))


def _new_run() -> str:
    return f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{os.urandom(3).hex()}"


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


def _config(settings: Settings, bundle: "Bundle", columns: Columns, run: str) -> JobConfig:
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
        run=run,
        model=Layout(settings.output.rstrip("/")).model(bundle.digest),
        model_digest=bundle.digest,
        latent_layer=bundle.spec.latent.layer if bundle.spec.latent else "",
        target=target,
        columns=columns,
        variance=settings.variance,
        reject_bytes=settings.reject_bytes,
        retry=_retry(settings, target),
        stores=settings.stores,
        threads=settings.threads,
    )


def _retry(settings: Settings, target: Target) -> Retry | None:
    if settings.second is None:
        return None
    policies = {**settings.second}
    most = policies.pop("max_record_bytes", settings.max_record_bytes)
    return Retry(target=replace(target, **policies), max_record_bytes=most)


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
        salvage=settings.on_damage == "reject",
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
