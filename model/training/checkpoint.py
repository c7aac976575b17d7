"""Checkpoints: a long training continues after an interruption as if there had been none."""

import hashlib
import io
import json
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from lake.core.errors import OutputError
from lake.storage import join, put, store_for
from lake.storage.buckets import check_bucket
from model.bundle import SPEC_FILE, refuse_existing
from model.golden import pack
from model.pixels import Pixels
from model.spec import Json

FILE = "checkpoint.npz"
# Told after each step how many are done: whether the training is to end with what it has.
Stops: TypeAlias = Callable[[int], bool]


def never_stops(_: int) -> bool:
    """Let a training come to its end."""
    return False


def go_on() -> Stops:
    """Begin a training that nothing stops."""
    return never_stops


def say_nothing() -> None:
    """Tell nobody that a training begins to read its images."""


def check_output(output: str, *, resume: bool) -> None:
    """Check that a training may write its bundle.

    Args:
      output: URI of the future bundle's directory.
      resume: whether a training there is to go on, which may have left a bundle.

    Raises:
      OutputError: a bundle is there; or with ``resume`` no checkpoint is.
    """
    store, there = store_for(output), join(output, FILE)
    interrupted = store.stat(there) is not None
    if resume and not interrupted:
        check_bucket(output, OutputError)
        raise OutputError(f"{there}: not there, so there is nothing to resume; leave --resume out")
    if not resume and interrupted and store.stat(join(output, SPEC_FILE)) is not None:
        raise OutputError(
            f"{output}: holds a bundle already, of a training that was interrupted: give --resume to go on with it, or "
            "remove it"
        )
    if not resume:
        refuse_existing(output)


def remove_interim(output: str) -> None:
    """Remove the bundle that an interruption of this training left, before the next one is written."""
    store = store_for(output)
    if store.stat(join(output, SPEC_FILE)) is not None:
        store.delete(join(output, SPEC_FILE))


def digest_of(arrays: Iterable[Pixels]) -> str:
    """SHA-256 of the bytes of some arrays, as 64 hexadecimal digits."""
    sha256 = hashlib.sha256()
    for array in arrays:
        sha256.update(np.ascontiguousarray(array).data.cast("B"))
    return sha256.hexdigest()


class Checkpoint:
    """The checkpoint of a training. Each one replaces the last as a whole.

    Args:
      output: URI of the future bundle's directory.
      options: everything that the training depends on, as JSON values. A checkpoint with others is refused.
    """

    def __init__(self, output: str, options: Mapping[str, Json]) -> None:
        self.uri = join(output, FILE)
        self._options = dict(options)

    def save(self, progress: Json, variables: Sequence[Any]) -> None:
        """Write a checkpoint.

        Args:
          progress: JSON value that says how far the training is.
          variables: the model's and the optimizer's variables.
        """
        text = json.dumps({"settings": self._options, "progress": progress}).encode()
        arrays = {f"variable_{number}": np.asarray(v) for number, v in enumerate(variables)}
        # One atomic write: a process that dies here leaves the last checkpoint intact.
        put(self.uri, pack({"state": np.frombuffer(text, np.uint8), **arrays}))

    def restore(self, variables: Sequence[Any]) -> Json | None:
        """Restore the variables.

        Args:
          variables: the same variables, in the same order, as were saved.

        Returns:
          The progress that was saved; None if there is no checkpoint.

        Raises:
          OutputError: the checkpoint belongs to a training with other options, or is damaged.
        """
        store = store_for(self.uri)
        if store.stat(self.uri) is None:
            return None
        try:
            with store.open(self.uri) as stream, np.load(io.BytesIO(stream.read()), allow_pickle=False) as saved:
                state = json.loads(saved["state"].tobytes())
                self._check(state["settings"])
                for number, variable in enumerate(variables):
                    variable.assign(saved[f"variable_{number}"].reshape(variable.shape))
                return state["progress"]
        except (ValueError, KeyError, EOFError, OSError, zipfile.BadZipFile) as error:
            raise OutputError(
                f"{self.uri}: a damaged checkpoint ({error}); remove it to train from the start"
            ) from error

    def remove(self) -> None:
        """Remove the checkpoint, once the training is done."""
        store_for(self.uri).delete(self.uri)

    def _check(self, found: Mapping[str, Json]) -> None:
        differing = [name for name in sorted({*found, *self._options}) if found.get(name) != self._options.get(name)]
        if differing:
            name = differing[0]
            raise OutputError(
                f"{self.uri}: of a training with {name} {found.get(name)!r}, not {self._options.get(name)!r}; give "
                f"the same options and input to go on with it, or remove it to train from the start"
            )
