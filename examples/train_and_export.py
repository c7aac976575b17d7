"""A model of your own: train it with Keras, make a bundle of it, encode images with it, read the latents.

python examples/train_and_export.py --images images.npy --output work
"""

import argparse
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pyarrow.dataset as ds

from model import build_autoencoder
from model.export import export


def main() -> None:
    """Train, export, encode, read."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", required=True, help="uint8 array [n, H, W, C]; H and W are multiples of 4")
    parser.add_argument("--output", required=True, type=Path, help="directory to write to")
    parser.add_argument("--latent-dim", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=5)
    own = parser.parse_args()
    own.output.mkdir(parents=True, exist_ok=True)

    # 1. Train. Any Keras model will do whose output has the shape of its input, whatever its layers are called.
    pixels = np.load(own.images)
    x = pixels.astype(np.float32) / 255
    keras.utils.set_random_seed(0)
    network = build_autoencoder(x.shape[1:], own.latent_dim)
    network.compile("adam", "mse")
    history = network.fit(x, x, epochs=own.epochs, batch_size=64, verbose=0)
    print(f"trained: mse {history.history['loss'][-1]:.4f}")

    # 2. Export: the bundle records the layer that gives the latent, how pixels are scaled, and golden outputs.
    network.save(own.output / "network.keras")
    bundle = export(own.output / "network.keras", "encoded", str(own.output / "bundle"))
    print(f"bundle {bundle.uri}: {', '.join(bundle.spec.functions)}")

    # 3. Encode: this is `latentlake encode`, as typed in a shell.
    command = ["encode", "--input", own.images, "--model", bundle.uri, "--output", str(own.output / "latents")]
    subprocess.run([sys.executable, "-m", "latentlake", *command], check=True)

    # 4. Read. The index is the row of the array.
    table = ds.dataset(own.output / "latents/latents").to_table(columns=["index", "latent"]).sort_by("index")
    latents = np.stack(table["latent"].to_numpy())
    print(f"latents {latents.shape}, mean {latents.mean():.3f}")


if __name__ == "__main__":
    main()
