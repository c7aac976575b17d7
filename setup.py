"""The package as workers install it: ``--setup_file=./setup.py`` ships it to a cluster."""

import re
from pathlib import Path

from setuptools import find_packages, setup

_STATED = re.search(r'__version__ = "(.+)"', (Path(__file__).parent / "pipeline/__init__.py").read_text())
assert _STATED is not None

setup(
    name="latentlake",
    version=_STATED[1],
    description="Run a trained Keras autoencoder over a lake of image shards, as a batch job on Apache Beam",
    long_description="See README.md.",
    license="Apache-2.0",
    python_requires=">=3.11,<3.14",
    packages=find_packages(include=["pipeline", "pipeline.*", "model", "model.*"]),
    package_data={"pipeline": ["py.typed"], "model": ["py.typed"]},
    install_requires=[
        "apache-beam>=2.70",
        "google-cloud-storage>=3.0",
        "google-crc32c>=1.5",
        "h5py>=3.11",
        "keras>=3.14",
        "numpy>=1.26",
        "pillow>=11.3",
        "protobuf>=5.26",
        "pyarrow>=21",
        "tensorflow>=2.20",
    ],
    extras_require={
        "s3": ["boto3>=1.36"],
        "dataflow": ["google-cloud-dataflow-client>=0.8"],
        "gpu": ["tensorflow[and-cuda]>=2.20"],
        "demo": ["duckdb>=1.1", "scikit-learn>=1.5"],
        "test": [
            "datasets>=3",
            "duckdb>=1.1",
            "mypy>=1.13",
            "pandas>=2.2",
            "polars>=1.10",
            "pytest>=8.3",
            "pytest-timeout>=2.3",
            "ruff>=0.8",
            "scikit-learn>=1.5",
            "tifffile>=2024.8",
            "webdataset>=0.2.100",
        ],
        "bench": ["matplotlib>=3.9", "psutil>=6"],
    },
)
