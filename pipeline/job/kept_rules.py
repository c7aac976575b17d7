"""Rules that came later: an output goes on as it was begun, so that no two rules are mixed in it."""

from dataclasses import replace

from lake.images.types import Alpha
from pipeline.options.job_options import JobOptions
from pipeline.options.values import NoiseLevel
from pipeline.output.state.job_file import JobFile
from pipeline.worker.verbs import VERBS


def with_kept_alpha(options: JobOptions, job_file: JobFile | None) -> JobOptions:
    """Settle what the job takes for alpha where the user does not say it.

    Outputs from before there was a choice took the last of two or four channels for alpha, whatever the image said.

    Args:
      options: the options of the job.
      job_file: what ``read_job_file`` returned.
    """
    if options.alpha is not None or not VERBS[options.verb].takes_noise_level:
        return options
    if job_file is None or options.overwrite:
        return replace(options, alpha=Alpha.AUTO)
    return replace(options, alpha=Alpha(job_file["options"]["target"].get("alpha", Alpha.LAST)))


def with_kept_spots(noise: NoiseLevel | None, job_file: JobFile | None, *, overwrite: bool) -> NoiseLevel | None:
    """Settle whether bright spots and hot pixels are told from the noise.

    They are but for outputs from before they were, and where the noise follows from nothing in the image.

    Args:
      noise: what the job says of the noise.
      job_file: what ``read_job_file`` returned.
      overwrite: whether the output is made anew.
    """
    if noise is None or not noise.detailed:
        return noise
    kept = None if job_file is None or overwrite else job_file["options"].get("noise")
    return replace(noise, spots=kept is None or kept.get("spots") is True)
