"""Where a long training stands, so that it can go on after an interruption as if there had been none."""

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from model.golden import pack
from model.spec import Json
from pipeline.errors import OutputError
from pipeline.storage import join, put, store_for

FILE = "checkpoint.npz"


class Checkpoint:
    """The one checkpoint of an output, replaced whole by the next.

    Args:
      output: URI of the bundle's directory to be.
      settings: everything that the training depends on, as JSON values; a checkpoint of others is refused.
    """

    def __init__(self, output: str, settings: Mapping[str, Json]) -> None:
        self.uri = join(output, FILE)
        self._settings = dict(settings)

    def save(self, progress: Json, variables: Sequence[Any]) -> None:
        """Write the variables and whatever else tells how far the training is."""
        text = json.dumps({"settings": self._settings, "progress": progress}).encode()
        arrays = {f"variable_{number}": np.asarray(v) for number, v in enumerate(variables)}
        put(self.uri, pack({"state": np.frombuffer(text, np.uint8), **arrays}))

    def restore(self, variables: Sequence[Any]) -> Json | None:
        """Assign the variables; the result is what was saved as progress, or None where nothing was.

        Raises:
          OutputError: the checkpoint is of other settings, or damaged.
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
        """The training is done."""
        store_for(self.uri).delete(self.uri)

    def _check(self, found: Mapping[str, Json]) -> None:
        differing = [name for name in sorted({*found, *self._settings}) if found.get(name) != self._settings.get(name)]
        if differing:
            name = differing[0]
            raise OutputError(
                f"{self.uri}: of a training with {name} {found.get(name)!r}, not {self._settings.get(name)!r}; give "
                f"the same options and input to go on with it, or remove it to train from the start"
            )
