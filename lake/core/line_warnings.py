"""Python warnings of Keras as one line each, in the processes of a job. Those of other libraries stay as they are."""

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from lake.core.printable import printable

_MOST = 500  # characters; Keras quotes configurations
# Keras names the caller of its function as the place of many warnings, which is one of these packages.
_PACKAGES = ("keras", "lake", "model", "pipeline")
_BEAM = "apache_beam."


@contextmanager
def warnings_in_lines() -> Iterator[None]:
    """In the block, warnings of Keras are printed as one line. For a process of this project's own command."""
    before = warnings.formatwarning
    folders = tuple(
        f"{Path(spec.origin).parent}{os.sep}" for name in _PACKAGES if (spec := find_spec(name)) and spec.origin
    )

    def format_warning(
        message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
    ) -> str:
        if not filename.startswith(folders):
            return before(message, category, filename, lineno, line)
        return f"warning: {printable(' '.join(str(message).split()), _MOST)}\n"

    warnings.formatwarning = format_warning
    try:
        yield
    finally:
        if warnings.formatwarning is format_warning:
            warnings.formatwarning = before


def is_worker() -> bool:
    """Whether this process is one that Beam has started for work, and no program of somebody else."""
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    return spec is not None and spec.name.startswith(_BEAM)
