"""Peer: Daft's benchmark of images: URLs in Parquet are downloaded, decoded, transformed, encoded, written as Parquet.

https://github.com/Eventual-Inc/Daft/tree/main/benchmarking/ai/image_classification is followed step by step, with ONNX
Runtime in place of PyTorch and Daft's native runner in place of Ray, since this is one machine.

- ``published``: torchvision's transform, row by row, as there;
- ``own``: Daft's own resize and crop (https://docs.daft.ai/en/stable/modalities/images/), for images of one size.
"""

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

BATCH, SHORTER, SIDE = 100, 256, 224
URL, LATENT = "image_url", "latent"
MEAN, STD = np.array([0.485, 0.456, 0.406], np.float32), np.array([0.229, 0.224, 0.225], np.float32)  # of ImageNet


def published(decoded: Any) -> Any:
    """Normalised images, float32 ``[3, SIDE, SIDE]``, by torchvision."""
    import daft
    from torchvision import transforms
    from torchvision.models import ResNet18_Weights

    transform = transforms.Compose([transforms.ToTensor(), ResNet18_Weights.DEFAULT.transforms()])
    tensor = daft.DataType.tensor(daft.DataType.float32(), (3, SIDE, SIDE))
    return decoded.apply(lambda image: transform(image).numpy(), return_dtype=tensor)


def own(decoded: Any, width: int, height: int) -> Any:
    """Images, uint8 ``[SIDE, SIDE, 3]``, by Daft, of images of this size."""
    from daft.functions import crop, resize

    width, height = (side * SHORTER // min(width, height) for side in (width, height))
    box = (round((width - SIDE) / 2), round((height - SIDE) / 2), SIDE, SIDE)
    return crop(resize(decoded, width, height), box)


def channels_last(images: np.ndarray) -> np.ndarray:
    """Images ``[n, 3, H, W]`` as ``[n, H, W, 3]``."""
    return np.ascontiguousarray(images.transpose(0, 2, 3, 1))


def normalised(images: np.ndarray) -> np.ndarray:
    """Images uint8 ``[n, H, W, 3]`` as ImageNet's networks take them."""
    return (images.astype(np.float32) / 255 - MEAN) / STD


def encoded(images: Any, prepare: Callable[[np.ndarray], np.ndarray], model: Path) -> Any:
    """Latents of images, by ONNX Runtime as it comes."""
    import daft

    @daft.cls(max_concurrency=1)
    class Encoder:
        def __init__(self) -> None:
            import onnxruntime

            self._session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])

        @daft.method.batch(return_dtype=daft.DataType.list(daft.DataType.float32()), batch_size=BATCH)
        def encode(self, images: Any) -> list[np.ndarray]:
            if not len(images):
                return []
            return list(self._session.run(None, {"pixels": prepare(np.stack(images.to_pylist()))})[0])

    return Encoder().encode(images)


def main() -> None:
    """Run the peer."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("input", "model", "output"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--size", type=int, nargs=2, help="width and height of all images: with Daft's own resize")
    given = parser.parse_args()
    os.environ["DO_NOT_TRACK"] = "true"
    import daft
    from daft.functions import decode_image, download

    daft.set_runner_native()
    url = daft.col(URL)
    decoded = decode_image(download(url), mode="RGB")
    images, prepare = (own(decoded, *given.size), normalised) if given.size else (published(decoded), channels_last)
    latent = encoded(images, prepare, given.model)
    daft.read_parquet(str(given.input)).select(url, latent.alias(LATENT)).write_parquet(str(given.output))


if __name__ == "__main__":
    main()
