"""What a worker raised, out of the text that an engine gives of it: only its trace comes over from another process."""

import re

from pipeline import errors
from pipeline.errors import LatentlakeError

_OURS = re.compile(r"^pipeline\.errors\.(\w+): (.+)$", re.MULTILINE)
_OTHERS = re.compile(r"^(?!java|org\.|io\.)[A-Za-z_][\w.]*(?:Error|Exception): .+$", re.MULTILINE)
_ENDED = "Channel closed prematurely"  # Beam's words where the connection to a worker process broke
_WHERE = re.compile(r" \[while running '.*")


def quoted(text: str) -> LatentlakeError:
    """The error behind an engine's text, with the exit status that it has where it is raised; of its trace one line."""
    if ours := _OURS.search(text):
        error = LatentlakeError(_WHERE.sub("", ours[2]))
        error.exit_status = getattr(errors, ours[1], LatentlakeError).exit_status
        return error
    if _ENDED in text:
        return LatentlakeError(
            "a worker process ended: it was probably killed, or out of memory; what it had finished is kept, and the "
            "same command goes on from there, with fewer --direct_num_workers if memory is short (--verbose shows all)"
        )
    lines = _OTHERS.findall(text) or text.strip().splitlines() or ["it does not say why"]
    return LatentlakeError(f"the pipeline failed: {_WHERE.sub('', lines[-1])} (--verbose shows all)")
