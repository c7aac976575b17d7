"""Where the data, the bundles and the published weights are, and the images of a set."""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from model.bundle import Bundle

RESULTS = Path(__file__).parents[1] / "results"
_SUFFIXES = {".png", ".tif", ".tiff", ".bmp", ".jpg"}


class AbsentError(Exception):
    """What a row needs is not there; the text says what, and stands in the row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the data and the bundles are.

    Attributes:
      data: directory with a folder for each set, of ``*.parquet`` with the columns ``image: struct<bytes, path>`` and
        ``label``, or of image files.
      testsets: directory with those that ``data`` does not have.
      zoo: directory of bundles.
      weights: directory with the published networks' ``.mat`` files anywhere in it.
      networks: names of those that are measured on sets; all by default.
    """

    data: Path
    zoo: Path
    testsets: Path | None = None
    weights: Path | None = None
    networks: tuple[str, ...] = ()

    def bundle(self, name: str) -> Bundle:
        """One of the zoo's.

        Raises:
          AbsentError: there is none of that name.
        """
        if not (self.zoo / name / "model.json").exists():
            raise AbsentError(f"no bundle {name}")
        return Bundle.open(str(self.zoo / name))

    def published(self, file: str) -> Path:
        """The file of a published network.

        Raises:
          AbsentError: there is none of that name.
        """
        found = sorted(self.weights.rglob(file)) if self.weights else []
        if not found:
            raise AbsentError(f"no {file} in --weights")
        return found[0]

    def folder(self, name: str) -> Path:
        """The folder of a set.

        Raises:
          AbsentError: neither directory has it.
        """
        found = [root / name for root in (self.data, self.testsets) if root and (root / name).is_dir()]
        if not found:
            raise AbsentError(f"no folder {name} in --data or --testsets")
        return found[0]

    def images(self, name: str, split: str = "", mode: str = "L") -> tuple[list[np.ndarray], np.ndarray]:
        """Images of a set in Parquet, and their labels.

        Args:
          name: of the set.
          split: what the names of its files begin with.
          mode: ``L`` for grey, uint8 [H, W]; ``RGB`` for colour, uint8 [H, W, 3].
        """
        rows = [
            row
            for path in sorted(self.folder(name).glob(f"{split}*.parquet"))
            for row in pq.read_table(path).to_pylist()
        ]
        images = [np.asarray(Image.open(io.BytesIO(row["image"]["bytes"])).convert(mode)) for row in rows]
        return images, np.array([row["label"] for row in rows])

    def photographs(self, name: str, mode: str) -> list[np.ndarray]:
        """Images of a set in files, or in Parquet where it has no files, in the order of their names."""
        files = sorted(path for path in self.folder(name).iterdir() if path.suffix.lower() in _SUFFIXES)
        if not files:
            return self.images(name, mode=mode)[0]
        return [np.asarray(Image.open(path).convert(mode)) for path in files]
