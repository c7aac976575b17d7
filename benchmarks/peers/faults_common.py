"""What the programs of ``benchmarks.faults`` share: their command line, decoding, the model, rows that are read back.

Each runs a job and reads its output as its tool does. What it found goes into a directory: ``rows.parquet`` of
``SCHEMA``, or ``rows.txt`` with what was raised, and the same called by numbers for each bit that is flipped in the
output afterwards.
"""

import argparse
import io
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import measure
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

KEY, LABEL, IMAGE, LATENT = "key", "label", "image", "latent"
SCHEMA = pa.schema([(KEY, pa.string()), (LABEL, pa.int64()), (LATENT, pa.list_(pa.float32()))])
SHAPE = (28, 28, 1)
RAY = {  # of the environment: a Ray that starts on a busy machine, whose workers run at the priority of everything else
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_agent_register_timeout_ms": "600000",
    "RAY_worker_register_timeout_seconds": "600",
    "RAY_worker_niceness": "0",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What a job is told.

    own_handling: whether the user's own function catches what bad images raise, and gives no latent for them.
    """

    input: Path
    model: Path
    output: Path
    marks: Path
    own_handling: bool

    @property
    def shards(self) -> list[str]:
        """Paths of the shards, in the order of their names."""
        return sorted(map(str, self.input.glob("*.parquet")))

    @property
    def state(self) -> Path:
        """Where a tool keeps what it needs to go on: beside the output."""
        return self.output.with_suffix(".state")


class Model:
    """The encoder, run by ONNX Runtime; each call leaves a mark."""

    def __init__(self, job: Job) -> None:
        import onnxruntime

        self._session = onnxruntime.InferenceSession(str(job.model), providers=["CPUExecutionProvider"])
        self._marks = job.marks

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Latents float32 ``[n, d]`` of images float32 ``[n, H, W, C]`` in 0..255."""
        latents: np.ndarray = self._session.run(None, {"pixels": pixels})[0]
        measure.passed(self._marks, len(latents))
        return latents


def decode(data: bytes) -> np.ndarray:
    """The pixels of an image file, float32 ``[H, W, 1]`` in 0..255.

    Raises:
      ValueError: the image is not of ``SHAPE``.
      Exception: what Pillow raises of a file that is no image.
    """
    from PIL import Image

    pixels = np.asarray(Image.open(io.BytesIO(data)).convert("L"), np.float32)[..., None]
    if pixels.shape != SHAPE:
        raise ValueError(f"an image of {pixels.shape}, not of {SHAPE}")
    return pixels


def decode_or_none(data: bytes) -> np.ndarray | None:
    """As ``decode``, but None of what cannot be decoded."""
    try:
        return decode(data)
    except Exception as error:
        print(f"no image: {error}", flush=True)
        return None


def encode_some(model: Model, images: Sequence[np.ndarray | None]) -> pa.Array:
    """A column of latents; null where there is no image."""
    there = [image for image in images if image is not None]
    latents = iter(model(np.stack(there)) if there else ())
    return pa.array([None if image is None else next(latents) for image in images], SCHEMA.field(LATENT).type)


def main(run: Callable[[Job], None], read: Callable[[Path], pa.Table]) -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("input", "model", "output", "marks", "found"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--own-handling", action="store_true")
    parser.add_argument("--files", help="glob of the output's files in which bits are flipped after the run")
    parser.add_argument("--flips", type=int, default=0)
    given = vars(parser.parse_args())
    sys.argv[1:] = []  # Beam would take them for its own
    found, files, flips = given.pop("found"), given.pop("files"), given.pop("flips")
    job = Job(**given)
    try:
        run(job)
    finally:  # what a run that failed has left is read, too
        sys.stdout.flush()
        _look(read, job.output, found / "rows")
    for number, (file, byte, bit) in enumerate(_chosen(sorted(job.output.glob(files)), flips) if flips else ()):
        with flipped(file, byte, bit):
            _look(read, job.output, found / str(number))


def _chosen(files: Sequence[Path], count: int) -> Iterator[tuple[Path, int, int]]:
    """So many bits, any of these files' as likely as any other."""
    sizes = np.array([file.stat().st_size for file in files])
    rng = np.random.default_rng(0)
    for position in rng.integers(sizes.sum(), size=count).tolist():
        which = int(np.searchsorted(np.cumsum(sizes), position, side="right"))
        yield files[which], position - int(sizes[:which].sum()), int(rng.integers(8))


def _look(read: Callable[[Path], pa.Table], output: Path, found: Path) -> None:
    try:
        pq.write_table(read(output).select(SCHEMA.names).cast(SCHEMA), found.with_suffix(".parquet"))
    except Exception:
        found.with_suffix(".txt").write_text(traceback.format_exc())


@contextmanager
def flipped(file: Path, byte: int, bit: int) -> Iterator[None]:
    """A file with one bit flipped, for a while."""
    was = file.read_bytes()
    file.write_bytes(was[:byte] + bytes((was[byte] ^ 1 << bit,)) + was[byte + 1 :])
    try:
        yield
    finally:
        file.write_bytes(was)
