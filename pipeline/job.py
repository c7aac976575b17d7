"""A job before it runs: everything is checked and planned here, at launch, and nothing is written until it is."""

import json
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from pipeline.commit import Gate, Run
from pipeline.config import JobConfig, Verb, options_digest
from pipeline.errors import InputError, OutputError, ShardError
from pipeline.images.base import Color, Orientation, Resize, Target
from pipeline.layout import Layout
from pipeline.listing import Found, check_apart, find_shards
from pipeline.plan import Plan, make_plan
from pipeline.readers import Columns, Request, reader_for
from pipeline.receipts import Receipt, read_manifest, read_receipts
from pipeline.records import Shard, Unit
from pipeline.storage import join, store_for

if TYPE_CHECKING:
    from model.bundle import Bundle

_UNITS_PER_PART = 1000
_LOOKED_AT = 10  # shards that are tried for the columns


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a user asks for. See ``pipeline.options`` for the meaning of each."""

    verb: Verb
    input: Sequence[str]
    model: str
    output: str
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A checked and planned job."""

    config: JobConfig
    gate: Gate
    run: Run
    plan: Plan
    found: Found
    bundle: "Bundle"

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
    bundle.spec.require(settings.verb)
    check_apart(settings.input, settings.output)
    found = find_shards(settings.input, settings.format)
    config = _config(settings, bundle, found)
    receipts = _state(config, settings.overwrite)
    plan = make_plan(found, config, receipts)
    run = Run(units=len(plan.units), todo=len(plan.todo), obsolete=plan.obsolete, started=started)
    return Job(config=config, gate=settings.gate, run=run, plan=plan, found=found, bundle=bundle)


def stage(job: Job) -> None:
    """Write what workers need below the output: the model, the plan, and what the output will hold."""
    layout = Layout(job.config.output)
    store = store_for(layout.output)
    if job.plan.todo or job.plan.obsolete:
        store.delete(layout.success)
    _put(layout.job, _job_text(job.config))
    job.bundle.copy(job.config.model)
    for number, uri in enumerate(job.parts):
        units = job.plan.todo[number * _UNITS_PER_PART : (number + 1) * _UNITS_PER_PART]
        _put(uri, "".join(json.dumps(asdict(unit)) + "\n" for unit in units).encode())


def read_units(part: str) -> Iterator[Unit]:
    """The units of one part of a plan."""
    with store_for(part).open(part) as file:
        for line in file:
            value = json.loads(line)
            shards = tuple(Shard(**shard) for shard in value.pop("shards"))
            yield Unit(shards=shards, **value)


def drop_plan(job: Job) -> None:
    """Remove the parts of a plan that has run; its summary stays."""
    for part in job.parts:
        store_for(part).delete(part)


def _config(settings: Settings, bundle: "Bundle", found: Found) -> JobConfig:
    target = Target(
        shape=bundle.spec.input.shape,
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
        latent_layer=bundle.spec.latent.layer,
        target=target,
        columns=_settle(settings, bundle, found),
        reject_bytes=settings.reject_bytes,
        threads=settings.threads,
    )


def _settle(settings: Settings, bundle: "Bundle", found: Found) -> Columns:
    request = Request(
        image=settings.image,
        key=settings.key,
        carry=settings.carry,
        numeric=bundle.spec.numeric,
        length=bundle.spec.input.shape[0] if bundle.spec.numeric else None,
        max_record_bytes=settings.max_record_bytes,
    )
    return settle(found, request)


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


def _state(config: JobConfig, overwrite: bool) -> dict[str, Receipt]:
    """Receipts of an output that this job goes on with.

    Raises:
      OutputError: it holds something else.
    """
    layout = Layout(config.output)
    store = store_for(config.output)
    if store.stat(config.output) is not None:
        raise OutputError(f"{config.output} is a file; name a directory")
    if store.stat(layout.job) is None:
        if store.is_directory(config.output) and next(iter(store.list(config.output)), None) is not None:
            raise OutputError(f"{config.output} is not empty and not an output of this job; name another directory")
        return {}
    with store.open(layout.job) as file:
        _compare(json.loads(file.read()), config, overwrite)
    return {**read_manifest(layout), **read_receipts(layout)}


def _compare(held: dict[str, Any], config: JobConfig, overwrite: bool) -> None:
    if held["options_digest"] == options_digest(config) or overwrite:
        return
    now = config.options()
    differing = ", ".join(f"{name} {held['options'].get(name)} -> {now[name]}" for name in _differing(held, now))
    raise OutputError(
        f"{config.output} was made with other options ({differing}); name another --output, or replace what it holds "
        "with --overwrite"
    )


def _differing(held: dict[str, Any], now: dict[str, Any]) -> list[str]:
    return [name for name in now if held["options"].get(name) != json.loads(json.dumps(now[name]))]


def _job_text(config: JobConfig) -> bytes:
    value = {"options_digest": options_digest(config), "options": config.options()}
    return (json.dumps(value, indent=2) + "\n").encode()


def _put(uri: str, data: bytes) -> None:
    with store_for(uri).create(uri) as sink:
        sink.write(data)
