"""An image that is asked about: its bytes, and what the model of an output gives for it."""

from dataclasses import replace
from os import PathLike
from typing import TYPE_CHECKING

import numpy as np

from lake.cli.check import check_place
from lake.core.errors import InputError, UsageError
from lake.core.records import Array
from lake.storage import store_for
from pipeline.config import FIRST_EXECUTOR, usual_pages
from pipeline.explore.committed import Committed
from pipeline.job.latents import latent_form
from pipeline.job.source import decoding_target
from pipeline.options.kept_options import options_from_json
from pipeline.options.latent_form import LatentForm, LatentOptions

if TYPE_CHECKING:
    from model.spec import Spec
    from pipeline.options.job_options import JobOptions

Name = str | PathLike[str]


def encode_image(committed: Committed, data: bytes, name: str) -> Array:
    """Encode an image with the model and the options of an output.

    Args:
      committed: the output.
      data: the image's file.
      name: of the image, for the text of an error.

    Returns:
      Its latent, float32 ``[1, D]``.

    Raises:
      InputError: the job of the output would reject it.
      BundleError: the output's copy of its model is damaged.
    """
    from model.bundle import Bundle
    from pipeline.worker.in_memory import RejectedItem, encode_items
    from pipeline.worker.process import close_worker, worker_for
    from pipeline.worker.worker_key import WorkerKey

    layout, options = committed.layout, committed.job["options"]
    model = layout.model(options["model_digest"])
    settings = options_from_json(committed.job["settings"], layout.output, model)
    spec = Bundle.open(model).spec
    if spec.numeric:
        raise UsageError(f"the model of {layout.output} takes vectors; give the latents of images as a table")
    if spec.input.condition is not None:
        raise UsageError(
            f"the model of {layout.output} is told {spec.input.condition.column!r} of each image; give a key, or "
            "latents as a table"
        )
    target = decoding_target(settings, spec)
    key = WorkerKey(
        model=model,
        digest=options["model_digest"],
        target=replace(target, pages=target.pages or usual_pages(None)),
        executor=options.get("executor", FIRST_EXECUTOR),
    )
    worker = worker_for(key)
    try:
        (outcome,) = encode_items([(name, data)], worker, _form(settings, spec, committed.latent_name))
    finally:
        close_worker(key)
    if isinstance(outcome, RejectedItem):
        raise InputError(f"{name}: {outcome.reason}: {outcome.detail}")
    return np.asarray(outcome[1], np.float32)[None]


def _form(settings: "JobOptions", spec: "Spec", name: str | None) -> LatentForm:
    """How the output's latents were made, as float32. What was sampled is compared with the mean."""
    latent = spec.latent if name is None else spec.latents[name]
    pool = settings.pool if latent is not None and len(latent.shape) > 1 else None
    one = LatentOptions(latent=None if name is None else [name], pool=pool, normalize=settings.normalize)
    return latent_form(one, spec) or LatentForm()


def image_name(image: Name | bytes) -> str:
    """What messages call an image."""
    return "image" if isinstance(image, bytes) else check_place("image", image)


def image_bytes(image: Name | bytes) -> bytes:
    """The bytes of an image's file.

    Raises:
      InputError: there is no such file.
      UsageError: it is neither bytes nor a name.
    """
    if isinstance(image, bytes):
        return image
    uri = check_place("image", image)
    try:
        with store_for(uri).open(uri) as file:
            return file.read()
    except FileNotFoundError as error:
        raise InputError(f"{uri}: no such file") from error
    except IsADirectoryError as error:
        raise InputError(f"{uri} is a directory; name a file of an image") from error
