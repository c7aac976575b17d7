"""How good the trained bundles are, by published protocols: ``python -m benchmarks.quality``."""

from benchmarks.quality.networks import denoised
from benchmarks.quality.place import RESULTS, Place
from benchmarks.quality.protocol import LEVELS, psnr

__all__ = ["LEVELS", "RESULTS", "Place", "denoised", "psnr"]
