"""The part of a job that travels to workers, made of what the user asks for and of what the input and the model are."""

from dataclasses import replace
from typing import TYPE_CHECKING

from lake.cli.check import check_decode
from lake.images.types import Pages, Target
from lake.inputs.units import make_units
from model.input_json import normalization_text
from model.runtime import choose_executor
from pipeline.config import ImagesOut, JobConfig, RejectRetry, usual_pages
from pipeline.job.lake_table import table_spec
from pipeline.job.latents import latent_form
from pipeline.job.quantization import with_quantization
from pipeline.job.reuse import check_reuse
from pipeline.job.source import JobSource, decoding_target
from pipeline.options.flags import AUTO
from pipeline.options.job_options import JobOptions
from pipeline.output.layout import LATENTS, Layout
from pipeline.output.state.job_file import JobFile, check_job_file
from pipeline.worker.image_outputs import image_outputs_for
from pipeline.worker.verbs import VERBS

if TYPE_CHECKING:
    from model.bundle import Bundle
    from model.spec import Spec


def checked_config(
    options: JobOptions, bundle: "Bundle", source: JobSource, job_file: JobFile | None, run: str
) -> JobConfig:
    """Return the configuration of a job that fits this machine, the formats, and the output as it is.

    Args:
      options: the options of the job.
      bundle: the model.
      source: the input, and what is read of it.
      job_file: what the output says of itself; None for a new one.
      run: id of the run.

    Raises:
      UsageError: an option does not fit one of these; the text names the value and the remedy.
    """
    config = _config(options, bundle, source, run)
    check_decode(config.target if config.retry is None else config.retry.target)
    for format in dict(config.columns.formats) or ("",):
        image_outputs_for(config.of(format))  # a format may refuse the columns
    units = () if config.sampling else make_units(source.found)
    config = with_quantization(config, options, units, job_file, _places(bundle.spec))
    check_job_file(job_file, config, options.overwrite)
    check_reuse(options, config)
    return config


def _config(options: JobOptions, bundle: "Bundle", source: JobSource, run: str) -> JobConfig:
    target = decoding_target(options, bundle.spec)
    target = replace(target, pages=_unusual(target.pages, source.images))
    latents = latent_form(options, bundle.spec) if VERBS[options.verb].table == LATENTS else None
    first = bundle.spec.latents[latents.name] if latents is not None and latents.name else bundle.spec.latent
    return JobConfig(
        verb=options.verb,
        output=options.output.rstrip("/"),
        run=run,
        # Workers read the copy below the output. They may not reach the user's bundle, and it may change during the
        # run.
        model=Layout(options.output.rstrip("/")).model(bundle.digest),
        model_digest=bundle.digest,
        latent_layer=first.layer if first else "",
        target=target,
        normalization=normalization_text(bundle.spec),
        columns=source.columns,
        variance=options.variance,
        hashes=options.hash,
        partition_by=options.partition_by,
        latents=latents,
        reject_bytes=options.reject_bytes,
        reject_budget=options.reject_budget,
        executor=choose_executor(bundle, None if options.executor == AUTO else options.executor),
        allow_code=options.allow_code,
        stores=options.stores,
        threads=options.threads,
        images=source.images,
        noise=source.noise,
        ensemble=options.ensemble,
        condition=source.condition,
        sampling=source.sampling,
        reference=source.reference,
        retry=_reject_retry(options, target, source.images),
        table=table_spec(options),
    )


def _places(spec: "Spec") -> int:
    """Numbers of a latent that may each have a scale: of all, or of the channels where shapes differ."""
    return spec.latent.shape[-1] if spec.latent and spec.input.any_size else spec.dimension


def _unusual(pages: Pages | None, images: ImagesOut | None) -> Pages | None:
    """What the user says of files of several images; None if the job would do the same by itself."""
    return None if pages == usual_pages(images) else pages


def _reject_retry(options: JobOptions, target: Target, images: ImagesOut | None) -> RejectRetry | None:
    if options.retry_policies is None:
        return None
    policies = {**options.retry_policies}
    most = policies.pop("max_record_bytes", options.max_record_bytes)
    policies["pages"] = _unusual(policies.get("pages", target.pages), images)
    return RejectRetry(target=replace(target, **policies), max_record_bytes=most)
