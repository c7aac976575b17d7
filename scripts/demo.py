"""The demo: digits to shards in two formats, a model trained on them, both encoded, and a look at what came out."""

import argparse
import io
import shlex
import subprocess
import sys
import tarfile
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageDraw
from sklearn.datasets import load_digits

SHARDS = 4
SHOWN = 12  # digits in the picture


def main() -> None:
    """Run every step, printing the commands that a user would type."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path(".demo"), help="directory for everything the demo makes")
    root: Path = parser.parse_args().output
    write_shards(root)
    bundle, tar, parquet = root / "bundle", root / "tar-scored", root / "parquet-latents"
    if not (bundle / "model.json").exists():
        run(
            "model train --kind autoencoder --latent-dim 16 --epochs 60 --input",
            root / "shards/parquet",
            "--output",
            bundle,
        )
    run("pipeline reconstruct --input", root / "shards/tar", "--model", bundle, "--output", tar)
    run("pipeline encode --input", root / "shards/parquet", "--model", bundle, "--output", parquet)
    run("pipeline verify", tar)
    show_rows(tar)
    show_neighbours(parquet)
    draw(bundle, root / "reconstructions.png")


def run(command: str, *more: object) -> None:
    """Run ``python -m COMMAND MORE ...`` as a user would, and show it."""
    words = [*command.split(), *map(str, more)]
    print(f"\n$ python -m {shlex.join(words)}", flush=True)
    subprocess.run([sys.executable, "-m", *words], check=True)


def write_shards(root: Path) -> None:
    """scikit-learn's 1,797 digits as PNG: WebDataset tars and Parquet files as Hugging Face lays them out."""
    if (root / "shards").exists():
        return
    digits = load_digits()
    files = [to_png(image) for image in digits_as_pixels()]
    for shard, rows in enumerate(np.array_split(np.arange(len(files)), SHARDS)):
        chosen = [(i, files[i], int(digits.target[i])) for i in rows.tolist()]
        write_tar(root / f"shards/tar/digits-{shard:05d}.tar", chosen)
        write_parquet(root / f"shards/parquet/digits-{shard:05d}.parquet", chosen)
    print(f"wrote {len(files):,} digits as {SHARDS} tar and {SHARDS} Parquet shards below {root / 'shards'}")


def digits_as_pixels() -> np.ndarray:
    """The digits as uint8 ``[1797, 8, 8]``."""
    return (load_digits().images * 255 / 16).astype(np.uint8)


def to_png(pixels: np.ndarray) -> bytes:
    """An image as the bytes of a PNG file."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "png")
    return out.getvalue()


def write_tar(path: Path, rows: list[tuple[int, bytes, int]]) -> None:
    """A WebDataset shard: 00042.png and 00042.cls make one sample."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for i, image, label in rows:
            for extension, data in (("png", image), ("cls", str(label).encode())):
                member = tarfile.TarInfo(f"{i:05d}.{extension}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))


def write_parquet(path: Path, rows: list[tuple[int, bytes, int]]) -> None:
    """A Parquet shard: image as struct of bytes and path, and label."""
    path.parent.mkdir(parents=True, exist_ok=True)
    images = [{"bytes": image, "path": f"{i:05d}.png"} for i, image, _ in rows]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    labels = pa.array([label for _, _, label in rows], pa.int64())
    pq.write_table(pa.table({"image": pa.array(images, kind), "label": labels}), path)


def show_rows(output: Path) -> None:
    """Rows and error figures, by SQL."""
    table = f"'{output}/latents/**/*.parquet'"
    print(f"\nDuckDB on {output}: how well each digit is reconstructed")
    print(
        duckdb.sql(
            f"""SELECT cls AS digit, count(*) AS images, round(avg(psnr), 2) AS mean_psnr_db,
                round(min(psnr), 2) AS worst FROM {table} GROUP BY cls ORDER BY cls"""
        )
    )
    print(duckdb.sql(f'SELECT key, shard, "index", latent[1:3] AS latent_1_to_3, mse, cls FROM {table} LIMIT 3'))


def show_neighbours(output: Path) -> None:
    """The nearest neighbours of some digits in latent space, and how often the nearest has the same label."""
    table = pq.read_table(output / "latents")
    latents = np.stack(table["latent"].to_numpy())
    labels, keys = table["label"].to_numpy(), table["key"].to_pylist()
    distances = ((latents[:, None] - latents[None]) ** 2).sum(-1)
    np.fill_diagonal(distances, np.inf)
    print("nearest neighbours in latent space:")
    for i in (0, 500, 1000, 1500):
        near = ", ".join(f"{keys[j]} (a {labels[j]})" for j in np.argsort(distances[i])[:5])
        print(f"  {keys[i]} (a {labels[i]}): {near}")
    same = (labels[distances.argmin(1)] == labels).mean()
    print(f"  the nearest of all {len(labels):,} digits has the same label in {same:.1%} of cases")


def draw(bundle: Path, path: Path) -> None:
    """Originals above, reconstructions below, eight times as large."""
    from model.bundle import Bundle
    from model.runtime import Runtime

    originals = digits_as_pixels()[:: len(digits_as_pixels()) // SHOWN][:SHOWN]
    made = Runtime.load(Bundle.open(str(bundle))).reconstruct(originals[..., None]).output[..., 0]
    rows = [originals, (np.clip(made, 0, 1) * 255).round().astype(np.uint8)]
    sheet = Image.new("L", (96 + SHOWN * 72, 2 * 72 + 8), 255)
    pen = ImageDraw.Draw(sheet)
    for row, (name, images) in enumerate(zip(("original", "reconstruction"), rows, strict=True)):
        pen.text((6, row * 72 + 32), name, fill=0)
        for column, image in enumerate(images):
            sheet.paste(
                Image.fromarray(image).resize((64, 64), Image.Resampling.NEAREST), (96 + column * 72, 8 + row * 72)
            )
    sheet.save(path)
    print(f"\npicture of originals above their reconstructions: {path}")


if __name__ == "__main__":
    main()
