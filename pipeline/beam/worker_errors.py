"""Recover the error of a worker from an engine's error text.

An engine that runs workers in other processes reports only the text of their traceback, not the exception.
"""

import re

from lake.core import errors
from lake.core.errors import LatentlakeError

_OURS = re.compile(r"^lake\.core\.errors\.(\w+): (.+)$", re.MULTILINE)
# Lines of Java tracebacks name errors as well; they only wrap the one that Python raised.
_OTHERS = re.compile(r"^(?!java|org\.|io\.)[A-Za-z_][\w.]*(?:Error|Exception): .+$", re.MULTILINE)
_JAVA = re.compile(r"^(?:Caused by: )?[\w.$]+(?:Exception|Error): (.+)$", re.MULTILINE)
_WORKER_DIED = "Channel closed prematurely"  # Beam's words where the connection to a worker process broke
_STEP = re.compile(r" \[while running '.*")


def parse_worker_error(text: str) -> LatentlakeError:
    r"""Return the error that an engine's text reports, with the exit status of the original error.

    Args:
      text: message of the engine's error; may contain tracebacks of Python and Java.

    >>> error = parse_worker_error("lake.core.errors.HeldError: out is in use by run one [while running 'Run units']")
    >>> str(error), error.exit_status
    ('out is in use by run one', 4)
    """
    if ours := _OURS.search(text):
        # Not the original class: some of our errors take other arguments than their text.
        error = LatentlakeError(_STEP.sub("", ours[2]))
        error.exit_status = getattr(errors, ours[1], LatentlakeError).exit_status
        return error
    if _WORKER_DIED in text:
        return LatentlakeError(
            "a worker process ended: it was probably killed, or out of memory; what it had finished is kept, and the "
            "same command goes on from there, with fewer --direct_num_workers if memory is short (--verbose shows all)"
        )
    # Where no worker raised it, the innermost of the engine's own errors says most.
    lines = _OTHERS.findall(text) or _JAVA.findall(text) or text.strip().splitlines() or ["it does not say why"]
    return LatentlakeError(f"the pipeline failed: {_STEP.sub('', lines[-1])} (--verbose shows all)")
