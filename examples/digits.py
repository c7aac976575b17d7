"""The demo: digits to shards in two formats, a model trained on them, both encoded, noisy ones denoised, and a look."""

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
SIGMA = 60  # of the noise, where white is 255


def main() -> None:
    """Run every step, printing the commands that a user would type."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path(".demo"), help="directory for everything the demo makes")
    root: Path = parser.parse_args().output
    write_shards(root)
    bundle, tar, parquet = root / "bundle", root / "tar-scored", root / "parquet-latents"
    train("--latent-dim 16 --epochs 60", root / "shards/parquet", bundle)
    run("reconstruct --input", root / "shards/tar", "--model", bundle, "--output", tar)
    run("encode --input", root / "shards/parquet", "--model", bundle, "--output", parquet)
    run("verify", tar)
    show_rows(tar)
    show_neighbours(parquet)
    draw({"original": root / "shards/tar", "reconstruction": tar / "images"}, root / "reconstructions.png")
    denoise(root)


def train(options: str, source: Path, bundle: Path) -> None:
    """Train an autoencoder unless it is there."""
    if not (bundle / "model.json").exists():
        run(f"train --kind autoencoder {options} --input", source, "--output", bundle)


def denoise(root: Path) -> None:
    """Take the noise out of noisy digits with an autoencoder that has learnt to, and compare with the clean ones."""
    clean, noisy, out = root / "shards/tar", root / "shards/noisy", root / "denoised"
    train(f"--latent-dim 32 --epochs 60 --noise {SIGMA}", root / "shards/parquet", root / "denoiser")
    run("denoise --input", noisy, "--model", root / "denoiser", "--reference", clean, "--output", out)
    noise, left = (images_of(folder) - images_of(clean) for folder in (noisy, out / "images"))
    before, after = (-10 * np.log10((e.astype(float) ** 2).mean() / 255**2) for e in (noise, left))
    metrics = f"'{out}/metrics/**/*.parquet'"
    query = f"SELECT avg(psnr_reference), avg(ssim_reference) FROM {metrics}"
    ((psnr, ssim),) = duckdb.execute(query).fetchall()
    print(f"\nPSNR over all pixels: {before:.2f} dB noisy, {after:.2f} dB denoised")
    print(f"  means over the images: PSNR {psnr:.2f} dB, SSIM {ssim:.3f}")
    rows = {f"noisy {before:.1f} dB": noisy, f"denoised {after:.1f} dB": out / "images", "clean": clean}
    draw(rows, root / "denoised.png")


def run(command: str, *more: object) -> None:
    """Run ``latentlake COMMAND MORE ...`` as a user would, and show it."""
    words = [*command.split(), *map(str, more)]
    print(f"\n$ latentlake {shlex.join(words)}", flush=True)
    subprocess.run([sys.executable, "-m", "latentlake", *words], check=True)


def write_shards(root: Path) -> None:
    """scikit-learn's 1,797 digits as PNG: WebDataset tars and Parquet files as Hugging Face lays them out."""
    if (root / "shards").exists():
        return
    digits = load_digits()
    files = [to_png(image) for image in digits_as_pixels()]
    noisy = [to_png(image) for image in with_noise(digits_as_pixels())]
    for shard, rows in enumerate(np.array_split(np.arange(len(files)), SHARDS)):
        chosen = [(i, files[i], int(digits.target[i])) for i in rows.tolist()]
        write_tar(root / f"shards/tar/digits-{shard:05d}.tar", chosen)
        write_tar(root / f"shards/noisy/digits-{shard:05d}.tar", [(i, noisy[i], label) for i, _, label in chosen])
        write_parquet(root / f"shards/parquet/digits-{shard:05d}.parquet", chosen)
    print(f"wrote {len(files):,} digits as {SHARDS} tar and {SHARDS} Parquet shards below {root / 'shards'}")


def digits_as_pixels() -> np.ndarray:
    """The digits as uint8 ``[1797, 8, 8]``."""
    images: np.ndarray = load_digits().images
    return (images * 255 / 16).astype(np.uint8)


def with_noise(pixels: np.ndarray) -> np.ndarray:
    """With white Gaussian noise, as 8 bits."""
    noise = np.random.default_rng(0).normal(0, SIGMA, pixels.shape)
    return np.clip(np.rint(pixels + noise), 0, 255).astype(np.uint8)


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


def images_of(folder: Path) -> np.ndarray:
    """The images of a folder's tar shards, int ``[n, H, W]``."""
    found = []
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path) as tar:
            files = [tar.extractfile(member) for member in tar if member.name.endswith(".png")]
            found += [np.asarray(Image.open(file), int) for file in files if file]
    return np.stack(found)


def draw(rows: dict[str, Path], path: Path) -> None:
    """The same digits of several datasets, one row each, eight times as large."""
    left = 8 + max(7 * len(name) for name in rows)
    sheet = Image.new("L", (left + SHOWN * 72, len(rows) * 72 + 8), 255)
    pen = ImageDraw.Draw(sheet)
    for row, (name, folder) in enumerate(rows.items()):
        images = images_of(folder).astype(np.uint8)
        pen.text((6, row * 72 + 32), name, fill=0)
        for column, image in enumerate(images[:: len(images) // SHOWN][:SHOWN]):
            larger = Image.fromarray(image).resize((64, 64), Image.Resampling.NEAREST)
            sheet.paste(larger, (left + column * 72, 8 + row * 72))
    sheet.save(path)
    print(f"\npicture of {', '.join(rows)}: {path}")


if __name__ == "__main__":
    main()
