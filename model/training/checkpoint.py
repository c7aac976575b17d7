"""Checkpoints: a long training continues after an interruption as if there had been none."""

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lake.core.errors import OutputError
from lake.storage import join, put, store_for
from model.golden import pack
from model.spec import Json

FILE = "checkpoint.npz"


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
