"""Cache latents for training a diffusion model: a small autoencoder, photographs of any size, and images again.

python examples/latent_cache.py --images photos/ --output work
"""

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pyarrow.dataset as ds

from lake.formats.reader import ColumnSelection
from model.export import export
from model.training.crops import iter_images

CROP = 96  # pixels a side, in training
CROPS = 4  # in a step


def build(width: int = 24, latent_channels: int = 16) -> keras.Model:
    """An autoencoder of the kind of TAESD and FLUX.2's tiny one: residual blocks, eight times down and up again."""
    layers = keras.layers

    def block(x: Any, filters: int) -> Any:
        inner = layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
        return layers.Activation("relu")(layers.Add()([x, layers.Conv2D(filters, 3, padding="same")(inner)]))

    image = x = keras.Input((None, None, 3), name="image")
    for scale in (1, 2, 3):
        x = layers.Conv2D(width * scale, 3, strides=2, padding="same", activation="relu")(x)
        x = block(x, width * scale)
    x = layers.Conv2D(latent_channels, 1, name="latent")(x)
    for scale in (3, 2, 1):
        x = layers.Conv2D(width * scale, 3, padding="same", activation="relu")(x)
        x = block(x, width * scale)
        x = layers.UpSampling2D(2)(x)
    x = layers.Conv2D(width, 3, padding="same", activation="relu")(x)
    return keras.Model(image, layers.Conv2D(3, 3, padding="same", name="output")(x))


def crops(photographs: list[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """Random crops, half of them mirrored, float32 ``[CROPS, CROP, CROP, 3]`` in 0..1."""
    found = []
    for photograph in (photographs[i] for i in rng.integers(0, len(photographs), CROPS)):
        top, left = (rng.integers(0, side - CROP + 1) for side in photograph.shape[:2])
        found.append(photograph[top : top + CROP, left : left + CROP][:, :: rng.choice([-1, 1])])
    return np.stack(found).astype(np.float32) / 255


def latentlake(*words: object) -> None:
    """What is typed in a shell: ``latentlake encode …``."""
    subprocess.run([sys.executable, "-m", "latentlake", *map(str, words)], check=True)


def main() -> None:
    """Train, export, encode, decode, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", required=True, help="shards or a directory of colour photographs")
    parser.add_argument("--output", required=True, type=Path, help="directory to write to")
    parser.add_argument("--steps", type=int, default=2000, help="of training")
    parser.add_argument("--cache", nargs="+", help="photographs to encode (default: those of --images)")
    own = parser.parse_args()
    own.output.mkdir(parents=True, exist_ok=True)

    # 1. Train, with a learning rate that falls to nothing.
    found = iter_images([own.images], channels=3, policy={}, selection=ColumnSelection(), format="auto")
    photographs = list(found)  # with sides of CROP or more: small ones are extended
    keras.utils.set_random_seed(0)
    network, rng = build(), np.random.default_rng(0)
    network.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(2e-3, own.steps)), "mse")
    for step in range(1, own.steps + 1):
        batch = crops(photographs, rng)
        loss = network.train_on_batch(batch, batch)
        if step % 250 == 0 or step == own.steps:
            print(f"step {step}: mse {float(np.ravel(loss)[0]):.5f}, {network.count_params():,} parameters", flush=True)

    # 2. Export. No --input-shape: the input is open, so the bundle takes images of any size.
    network.save(own.output / "network.keras")
    bundle = export(own.output / "network.keras", "latent", str(own.output / "bundle"))

    # 3. The cache, in aspect buckets; and the photographs at their own sizes, with their errors.
    photos = own.cache or [own.images]
    latentlake(
        *("encode", "--input", *photos, "--model", bundle.uri, "--output", own.output / "cache"),
        *("--bucket", 64, "--max-area", "256x256"),
    )
    latentlake("reconstruct", "--input", *photos, "--model", bundle.uri, "--output", own.output / "made", "--no-images")

    # 4. Back to images.
    latentlake(
        "decode", "--input", own.output / "cache/latents", "--model", bundle.uri, "--output", own.output / "back"
    )
    cache = ds.dataset(own.output / "cache/latents").to_table()
    psnr = ds.dataset(own.output / "made/latents").to_table(columns=["psnr"])["psnr"].to_numpy()
    shapes = {tuple(shape) for shape in cache["latent_shape"].to_pylist()}
    print(f"{len(cache)} latents of {len(shapes)} shapes; PSNR of the reconstructions {psnr.mean():.2f} dB")


if __name__ == "__main__":
    main()
