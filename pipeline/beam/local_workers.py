"""What worker processes that a local runner starts find under this project's names: its packages, nobody else's."""

import os
import site
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

_HOME = Path(__file__).resolve().parents[2]


@contextmanager
def own_packages() -> Iterator[None]:
    """Processes that are started in the block import ``lake``, ``model`` and ``pipeline`` from where this one did.

    Beam starts workers by ``python -m``, which looks into the working directory first, where a user may have a
    ``model.py``.
    """
    wanted = worker_environment(os.environ)
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def worker_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that are set for workers.

    An installed package is found without ``PYTHONPATH``. It is not put there without need, since all that is installed
    would then come before the standard library.
    """
    safe, path = {"PYTHONSAFEPATH": "1"}, environment.get("PYTHONPATH")
    if not path and str(_HOME) in site.getsitepackages():
        return safe
    return {**safe, "PYTHONPATH": os.pathsep.join([str(_HOME), path] if path else [str(_HOME)])}
