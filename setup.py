"""The package as users and workers install it: ``--setup_file=./setup.py`` ships it to a cluster."""

import re
from pathlib import Path

from setuptools import find_packages, setup

_HERE = Path(__file__).parent
_HOME = "https://github.com/latentlake/latentlake"
_STATED = re.search(r'__version__ = "(.+)"', (_HERE / "lake/__init__.py").read_text())
assert _STATED is not None
# Beside TensorFlow, what trains, exports and runs Keras models; bundles with graphs run without any of it.
_KERAS = ["h5py>=3.11", "keras>=3.14", "onnx>=1.17", "tf2onnx>=1.16.1"]

# The extensions are DuckDB's own, signed by it, and say which DuckDB they are for.
_DUCKLAKE = ["duckdb>=1.5.5", "duckdb-extension-ducklake>=1.5.5", "duckdb-extension-sqlite-scanner>=1.5.5"]
_ICEBERG = ["pyiceberg[sql-sqlite]>=0.12"]  # which commits again only as decision 39 needs it


def _read_me() -> str:
    """The README for a reader outside of the repository: its links, which are paths, lead there."""
    text = (_HERE / "README.md").read_text()
    text = re.sub(r"(!\[[^\]]*\]\()(?!\w+:)", rf"\1{_HOME}/raw/HEAD/", text)
    return re.sub(r"((?<!!)\[[^\]]*\]\()(?![\w+]+:|#)", rf"\1{_HOME}/blob/HEAD/", text)


setup(
    name="latentlake",
    version=_STATED[1],
    description="Run a trained Keras autoencoder over a lake of image shards, as a batch job on Apache Beam",
    long_description=_read_me(),
    long_description_content_type="text/markdown",
    author="The latentlake authors",
    url=_HOME,
    project_urls={
        "Documentation": f"{_HOME}/tree/HEAD/docs",
        "Source": _HOME,
        "Issues": f"{_HOME}/issues",
        "Changelog": f"{_HOME}/blob/HEAD/CHANGELOG.md",
    },
    license="Apache-2.0",
    license_files=["LICENSE"],
    keywords="autoencoder embeddings latent denoising batch-inference apache-beam keras tensorflow webdataset tfrecord",
    classifiers=[
        "Development Status :: 4 - Beta",
        "Environment :: Console",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Scientific/Engineering :: Image Processing",
        "Typing :: Typed",
    ],
    python_requires=">=3.11,<3.14",
    packages=find_packages(include=["lake", "lake.*", "model", "model.*", "pipeline", "pipeline.*", "latentlake"]),
    package_data={
        **{name: ["py.typed"] for name in ("lake", "model", "pipeline", "latentlake")},
        "model.zoo": ["*/*"],  # the trained bundles
        "pipeline.report.page": ["static/*", "templates/*"],
    },
    entry_points={"console_scripts": ["latentlake = latentlake.__main__:main"]},
    install_requires=[
        "apache-beam>=2.70",
        "google-cloud-storage>=3.0",
        "google-crc32c>=1.5",
        "imagecodecs>=2024.9.22",
        "numpy>=1.26",
        "onnxruntime>=1.20",
        "pillow>=11.3",
        "protobuf>=5.26",
        "pyarrow>=21",
        "tifffile>=2024.8",
    ],
    extras_require={
        "tensorflow": ["tensorflow>=2.20", *_KERAS],
        "s3": ["boto3>=1.36"],
        "dataflow": ["google-cloud-dataflow-client>=0.8"],
        "heif": ["pillow-heif>=0.22"],
        "iceberg": _ICEBERG,
        "lance": ["pylance>=14"],
        "arrayrecord": ["array-record>=0.8"],
        "ducklake": _DUCKLAKE,
        "ducklake-postgres": [*_DUCKLAKE, "duckdb-extension-postgres-scanner>=1.5.5"],
        "gpu-onnx": ["onnxruntime-gpu>=1.20"],  # it takes the place of onnxruntime, which has to be uninstalled
        "report": ["jinja2>=3.1", "plotly>=6"],
        "map": ["pacmap>=0.8"],  # another map of the latents in a report
        "onnx": ["onnx>=1.17"],  # to export ONNX files; to run bundles nothing more is needed
        "gpu": ["tensorflow[and-cuda]>=2.20", *_KERAS],
        "demo": ["duckdb>=1.1", "scikit-learn>=1.5"],
        "test": [
            "array-record>=0.8",
            "datasets>=3",
            "docstring-parser>=0.15",  # for Beam YAML
            "duckdb>=1.1",
            "ipykernel>=6.29",
            "jsonschema>=4.23",
            "mypy>=1.13",
            "nbclient>=0.10",
            "pillow-heif>=0.22",
            "pandas>=2.2",
            "playwright>=1.50",
            "polars>=1.10",
            *_ICEBERG,
            "pylance>=14",
            "pytest>=8.3",
            "pytest-timeout>=2.3",
            "pytest-xdist>=3.6",
            "ruff>=0.8",
            "scikit-learn>=1.5",
            "webdataset>=0.2.100",
        ],
        "bench": ["matplotlib>=3.9", "psutil>=6"],
        "docs": ["mkdocs-jupyter>=0.25", "mkdocs-material>=9.5", "mkdocstrings[python]>=0.27"],
    },
)
