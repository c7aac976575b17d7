"""The options of a job, as one typed value."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cache
from typing import Any

from lake.cli.check import check_instance, check_names, check_values, known_names_only, optional_fields
from lake.cli.option import Option
from lake.core.choices import choose, quoted
from lake.core.errors import UsageError
from lake.formats.common.vector_storage import VECTOR_TYPES
from lake.formats.reader import ColumnSelection
from lake.images.types import Alpha, Color, DecodeMode, Orientation, Pages, PixelLayout, Resize, Target
from lake.storage.options import DEFAULTS, StoreOptions
from pipeline.config import REJECT_BUDGET, Gate
from pipeline.options.flags import AUTO, RUN
from pipeline.options.image_flags import GAUSSIAN
from pipeline.options.latent_form import PARQUET
from pipeline.options.output_flags import RETRY
from pipeline.worker.verbs import VERBS


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Which units a run processes besides those that are missing or out of date, and which it drops.

    Attributes:
      prune: drop the results of units whose shards no longer exist.
      redo: ids of units to process again from scratch.
      retry_rejects: process the rejected records of finished units once more.
      tidy: remove data files that belong to no unit.
    """

    prune: bool = False
    redo: frozenset[str] = frozenset()
    retry_rejects: bool = False
    tidy: bool = False

    def __post_init__(self) -> None:
        check_instance(self, RUN)


@known_names_only
@dataclass(frozen=True, slots=True, kw_only=True)
class JobOptions:
    """The options of a job, as a user gives them. ``pipeline.options.flags`` has the help text of each.

    Every value is checked as the command line checks it, and may be text as there: ``resize="crop"``,
    ``max_pixels="64M"``. Where several are taken, a single one needs no list: ``input="images/"``. Paths may be
    ``os.PathLike``.

    Attributes:
      verb: what to compute, a name in ``pipeline.worker.verbs.VERBS``.
      model: URI of a bundle, or ``zoo:NAME``.
      output: URI of the directory to write to.
      input: URIs of shards: files, globs, directories.
      follow_links: read what symbolic links outside of the input lead to.
      format: format of the shards, a name in ``lake.formats.FORMATS``; 'auto' to recognise it, 'mixed' for several.
      image: name of the image column; None for the format's usual names.
      key: name of the key column; None for the format's usual names.
      carry: names of columns to copy to the tables; None for the usual label columns.
      resize: how images of other sizes are brought to the model's size; None to reject them.
      decode: how images that are made smaller are decoded.
      orientation: whether the EXIF orientation is applied.
      color: which color conversions are made.
      max_pixels: largest image, in pixels, that is decoded.
      pages: what a file of several images does; None to reject such a file where images are written, and to take its
        first image elsewhere.
      white: value of white in floating pixels.
      layout: order of the sides of images that are numbers; None for the usual one.
      image_shape: height, width and channels of images that are bare pixels; None where the source says them.
      image_dtype: type of the numbers of bare pixels in bytes; None for uint8 or uint16.
      max_record_bytes: largest record, in bytes, that is read.
      reject_bytes: how many of a rejected record's original bytes ``rejects/`` keeps.
      reject_budget: how many bytes of rejected records ``rejects/`` keeps for one unit.
      overwrite: replace results that were made with another model or other options.
      threads: threads of a worker process; None for one per core.
      executor: what computes the model's functions, a name in ``model.runtime.EXECUTORS``; 'auto' for the first one
        that runs the bundle.
      allow_code: run the code that the bundle holds for layers of its own. Never kept in an output.
      gate: limits within which ``_SUCCESS`` is written.
      variance: also write the variance of each latent.
      bucket: for a model of any size, what the sides are multiples of that images are resized and cropped to; None for
        their own sizes.
      max_area: largest number of pixels of these; None for 1024 x 1024.
      hash: also write the SHA-256 of each record's bytes and a perceptual hash of its image.
      partition_by: column of the records by whose values the tables are partitioned; None for tables that are not.
      reuse: keep latents of records with the same bytes: 'content' for those of the output, or another output's URI for
        those of both. Sets ``hash``. Not kept in an output.
      condition_column: column with what a conditional model is told of each record; None for that of its bundle.
      latent: names of the bundle's latents to write, of ``model.spec.Spec.latents``; None for the model's own.
      latent_format: how latents are written, one of ``pipeline.options.latent_form.LATENT_FORMATS``.
      latent_type: type of the written latents, one of ``lake.formats.common.vector_storage.VECTOR_TYPES``.
      latent_quantization: where scale and offset of an integer type come from: 'dimension' or 'table' of a first
        sample, or the URI of a JSON file; None for 'dimension'.
      latent_scale: factor by which latents are multiplied.
      latent_shift: number that is subtracted from latents before.
      pool: how a grid of tokens becomes one vector, 'mean' or 'cls'; None to keep it.
      normalize: 'l2' for latents of unit length; None to keep them.
      sample: seed of latents that are sampled; None for their means.
      flip: also write the latents of the mirrored images.
      images: write images, where the verb makes some.
      output_format: format of new shards; None to copy the input's shards with new images.
      image_format: format of each image, a value of ``lake.images.encoder.ImageFormat``.
      quality: quality of JPEG and lossy WebP, 1 to 100.
      error_map: also write error maps.
      noise_level: standard deviation where white is 255, name of a column, or 'estimate'.
      ensemble: how often an image to denoise is shown to the model, turned and mirrored: 1, 4 or 8.
      noise: 'gaussian', or 'poisson-gaussian' for that of photons and electronics.
      gain: of the latter, numbers of a pixel for each electron, or 'estimate'; None to estimate it.
      read_noise: its standard deviation without light, in numbers of a pixel, or 'estimate'; None to estimate it.
      black_level: mean of the pixels without light.
      alpha: whether the last of two or four channels of an image to denoise is alpha; None for what the output was
        begun with, 'auto' for a new one.
      reference: URIs of clean images to compare denoised ones with.
      count: number of images to generate.
      seed: seed of generated images.
      condition: what a conditional model is told of generated images, in turn; see
        ``pipeline.options.condition.condition_of_text``.
      interpolate: two keys whose latents generated images lie between.
      card: also write a dataset card; kept by the output, so that later runs write it, too.
      croissant: also describe the output in Croissant; kept likewise.
      table: publish the latents as a table of a lake's catalog, of this kind (``pipeline.tables.TABLE_KINDS``); None
        for none. Kept likewise.
      catalog: name of a configured catalog, or path of a SQLite file; None for one within the output.
      table_name: of the table, ``NAMESPACE.NAME``; None for the usual one within the output.
      on_damage: 'fail' the unit of a damaged shard, or 'reject' only what cannot be read.
      expect_records: number of records of the whole input, or URI of JSON files with a count per shard.
      scope: which units to process again, for ``retry`` and ``verify --repair``.
      retry_policies: for a retry, the decoding policies that differ: fields of ``Target``, and ``max_record_bytes``.
      stores: how to reach the stores.

    Raises:
      UsageError: an option has no such value; the text names the option, and what it takes.

    >>> JobOptions(verb="encode", model="bundle", output="latents", input=["images/"]).image_format
    'lossless'
    """

    verb: str
    model: str
    output: str
    input: Sequence[str] = ()
    follow_links: bool = False
    format: str = "auto"
    image: str | None = None
    key: str | None = None
    carry: Sequence[str] | None = None
    resize: Resize | None = None
    decode: DecodeMode = DecodeMode.EXACT
    orientation: Orientation = Orientation.APPLY
    color: Color = Color.STRICT
    max_pixels: int = Target(shape=()).max_pixels
    pages: Pages | None = None
    white: float = Target(shape=()).white
    layout: PixelLayout | None = None
    image_shape: tuple[int, int, int] | None = None
    image_dtype: str | None = None
    max_record_bytes: int = ColumnSelection().max_record_bytes
    reject_bytes: int = 1 << 20
    reject_budget: int = REJECT_BUDGET
    overwrite: bool = False
    threads: int | None = None
    executor: str = AUTO
    allow_code: bool = False
    gate: Gate = field(default_factory=Gate)
    variance: bool = False
    bucket: int | None = None
    max_area: int | None = None
    hash: bool = False
    partition_by: str | None = None
    reuse: str | None = None
    condition_column: str | None = None
    latent: Sequence[str] | None = None
    latent_format: str = PARQUET
    latent_type: str = VECTOR_TYPES[0]
    latent_quantization: str | None = None
    latent_scale: float = 1.0
    latent_shift: float = 0.0
    pool: str | None = None
    normalize: str | None = None
    sample: int | None = None
    flip: bool = False
    images: bool = True
    output_format: str | None = None
    image_format: str = "lossless"
    quality: int = 90
    error_map: bool = False
    noise_level: str | None = None
    ensemble: int = 1
    noise: str = GAUSSIAN
    gain: str | None = None
    read_noise: str | None = None
    black_level: float = 0.0
    alpha: Alpha | None = None
    reference: Sequence[str] | None = None
    count: int | None = None
    seed: int = 0
    condition: Sequence[str] | None = None
    interpolate: Sequence[str] | None = None
    card: bool = False
    croissant: bool = False
    table: str | None = None
    catalog: str | None = None
    table_name: str | None = None
    on_damage: str = "fail"
    expect_records: str | None = None
    scope: Scope = field(default_factory=Scope)
    retry_policies: Mapping[str, Any] | None = None
    stores: StoreOptions = DEFAULTS

    def __post_init__(self) -> None:
        _check_verb(self.verb)
        check_instance(self, _table())
        if self.carry == (NO_COLUMNS,):
            object.__setattr__(self, "carry", ())
        if self.reuse is not None:  # records are looked up by it, in this output too from the next run on
            object.__setattr__(self, "hash", True)
        if self.retry_policies is not None:
            object.__setattr__(self, "retry_policies", check_values(self.retry_policies, RETRY))
        for name, kind in _PARTS.items():
            object.__setattr__(self, name, _part(name, kind, getattr(self, name)))


NO_COLUMNS = "none"  # as a column to carry, alone
_PARTS: Mapping[str, type[Any]] = {"gate": Gate, "scope": Scope, "stores": StoreOptions}


def make_options(verb: str, values: Mapping[str, Any]) -> JobOptions:
    """Make the options of a job from names and values, such as keyword arguments or a parsed command line.

    Args:
      verb: what to compute.
      values: by field of ``JobOptions``. The fields of ``Gate``, ``Scope`` and ``StoreOptions`` may also be given by
        themselves, as on the command line: ``max_reject_fraction=0.1``.

    Raises:
      UsageError: a name is no option of the verb, or a value is none of its option.

    >>> make_options("encode", {"input": "images/", "model": "m", "output": "o", "max_failed_units": "2"}).gate
    Gate(max_reject_fraction=0.01, max_failed_units=2)
    """
    _check_verb(verb)
    flags = VERBS[verb].flags
    others = {option.field for option in _table()} - {option.field for option in flags}
    kinds: tuple[type[Any], ...] = (JobOptions, *_PARTS.values())
    if elsewhere := sorted(others & {*values}):
        raise UsageError(f"{elsewhere[0]} is no option of {verb}; leave it out")
    check_names(values, {field.name for kind in kinds for field in fields(kind)} - others - {"verb"})
    checked = check_values(values, flags, optional=optional_fields(*kinds))
    for option in flags:
        if option.required and option.several and not checked.get(option.field):
            raise UsageError(f"{option.field}: nothing is given; {option.help}")
    for name, kind in _PARTS.items():
        if given := {field.name: checked.pop(field.name) for field in fields(kind) if field.name in checked}:
            checked[name] = replace(checked.get(name, kind()), **given)
    return JobOptions(verb=verb, **checked)


@cache
def _table() -> tuple[Option, ...]:
    """The options of all verbs, one for each field."""
    return tuple({option.field: option for verb in VERBS.values() for option in verb.flags}.values())


def _part(name: str, kind: type[Any], value: Any) -> Any:
    if not isinstance(value, (kind, Mapping)):
        raise UsageError(f"{name}: {quoted(value)} is no {kind.__name__}")
    return kind(**value) if isinstance(value, Mapping) else value


def _check_verb(verb: str) -> None:
    try:
        choose(verb, VERBS)
    except ValueError as error:
        raise UsageError(f"verb: {error}") from error
