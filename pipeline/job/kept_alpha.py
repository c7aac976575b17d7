"""Which channel of images an output takes for alpha: it goes on as it was begun, so that no two rules are mixed."""

from dataclasses import replace

from lake.images.types import Alpha
from pipeline.options.job_options import JobOptions
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
