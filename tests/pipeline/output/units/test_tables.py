"""The tables of a unit: columns, in their order and types, as readers of them rely on."""

import numpy as np
import pyarrow as pa
import pytest

from lake.core.records import Reason, Reject, Stage
from lake.images.buckets import Buckets
from lake.images.types import Target
from pipeline.options.values import CameraNoise, NoiseLevel
from pipeline.output.units.latent_columns import LatentColumns
from pipeline.output.units.tables import latent_schema, metrics_schema, reject_rows, size_columns

CARRY = pa.schema([("label", pa.int64()), ("mse", pa.string()), ("key", pa.string())])
IDENTITY = ["key: string not null", "shard: dictionary<values=string, indices=int32, ordered=0> not null"]


def described(schema: pa.Schema) -> list[str]:
    return [f"{field.name}: {field.type}{'' if field.nullable else ' not null'}" for field in schema]


def list_of(dimension: int) -> str:
    return f"fixed_size_list<element: float not null>[{dimension}] not null"


@pytest.mark.parametrize("errors", [False, True])
@pytest.mark.parametrize("variance", [False, True])
def test_latents(errors: bool, variance: bool) -> None:
    names = ("latent", "latent_variance") if variance else ("latent",)
    schema = latent_schema(LatentColumns(dimension=5, names=names), errors, CARRY)
    wanted = [f"latent: {list_of(5)}"]
    wanted += [f"latent_variance: {list_of(5)}"] if variance else []
    wanted += ["mse: float not null", "psnr: float not null"] if errors else []
    wanted += ["label: int64", "source_mse: string", "source_key: string"]
    assert described(schema) == [*IDENTITY, "index: int64 not null", *wanted]


@pytest.mark.parametrize("buckets", [None, Buckets(step=8, max_area=64)])
def test_latents_of_images_of_any_size(buckets: Buckets | None) -> None:
    sizes = size_columns(Target(shape=(None, None, 3), buckets=buckets))
    schema = latent_schema(LatentColumns(dimension=None), True, pa.schema([("height", pa.int64())]), sizes=sizes)
    own = ["height", "width"]
    own += ["original_height", "original_width", "crop_top", "crop_left"] if buckets else []
    assert described(schema) == [
        *IDENTITY,
        "index: int64 not null",
        "latent: list<element: float not null> not null",
        "latent_shape: fixed_size_list<element: int32 not null>[3] not null",
        *(f"{name}: int32 not null" for name in own),
        *("mse: float not null", "psnr: float not null", "source_height: int64"),
    ]
    assert size_columns(Target(shape=(8, 8, 3))) == ()


@pytest.mark.parametrize("reference", [False, True])
def test_metrics(reference: bool) -> None:
    wanted = ["height: int32 not null", "width: int32 not null", "noise_level: float"]
    wanted += ["mse: float not null", "psnr_input: float not null"]
    wanted += ["psnr_reference: float not null", "ssim_reference: float not null"] if reference else []
    names = ["height", "width", "noise_level", "mse", "psnr", "psnr_input", "psnr_reference", "ssim_reference", "label"]
    carry = pa.schema([(name, pa.int64()) for name in names])
    carried = [f"{'' if name == 'label' else 'source_'}{name}: int64" for name in names]
    assert described(metrics_schema(carry, reference)) == [*IDENTITY, "index: int64 not null", *wanted, *carried]


@pytest.mark.parametrize(
    ("noise", "wanted"),
    [
        (NoiseLevel(level=25.0), []),
        (NoiseLevel(column="sigma"), []),
        (NoiseLevel(estimate=True), ["noise_level_error", "noise_levels"]),
        (NoiseLevel(camera=CameraNoise()), ["gain", "read_noise", "black_level"]),
    ],
)
def test_metrics_of_noise(noise: NoiseLevel, wanted: list[str]) -> None:
    carry = pa.schema([("gain", pa.int64())])
    names = metrics_schema(carry, False, noise=noise).names
    assert names[8:] == [*wanted, "source_gain" if "gain" in wanted else "gain"]


def test_latents_are_rows_of_a_list_column() -> None:
    latents = np.arange(12, dtype=np.float32).reshape(4, 3)
    columns = LatentColumns(dimension=3)
    (column,), _ = columns.arrays([latents])
    assert column.to_pylist() == latents.tolist()
    assert str(column.type) == str(latent_schema(columns, False, pa.schema([])).field("latent").type)
    assert column.values.buffers()[1].address == latents.ctypes.data, "without a copy"


def test_every_name_of_the_table_is_kept_free() -> None:
    names = ("latent", "mse", "psnr", "latent_variance", "shard", "index")
    carry = pa.schema([(name, pa.int64()) for name in names])
    carried = latent_schema(LatentColumns(dimension=3), False, carry).names[-len(names) :]
    assert carried == [f"source_{name}" for name in names]


def test_rejects() -> None:
    def reject(data: bytes | None) -> Reject:
        return Reject(
            shard="s", index=7, key="k", stage=Stage.DECODE, reason=Reason.WRONG_SIZE, detail="why", data=data
        )

    rows = reject_rows([reject(None), reject(b""), reject(b"1234"), reject(b"12345")], 4)
    assert described(rows.schema) == [
        "shard: string not null",
        "index: int64 not null",
        "key: string not null",
        "stage: string not null",
        "reason: string not null",
        "detail: string not null",
        "data: binary",
        "data_truncated: bool not null",
    ]
    said = {"shard": "s", "index": 7, "key": "k", "stage": "decode", "reason": "wrong_size", "detail": "why"}
    kept: list[tuple[bytes | None, bool]] = [(None, False), (b"", False), (b"1234", False), (b"1234", True)]
    assert rows.to_pylist() == [{**said, "data": data, "data_truncated": cut} for data, cut in kept]
    assert reject_rows([], 4).num_rows == 0


def test_rejects_have_a_budget_and_lose_no_row() -> None:
    def reject(data: bytes | None) -> Reject:
        return Reject(shard="s", index=7, key="k", stage=Stage.READ, reason=Reason.WRONG_SIZE, detail="", data=data)

    rejects = [reject(data) for data in (b"1234", b"123456", None, b"1", b"123", b"", b"12")]
    kept = [(row["data"], row["data_truncated"]) for row in reject_rows(rejects, 5, 8).to_pylist()]
    assert kept == [
        (b"1234", False),
        (None, True),
        (None, False),
        (b"1", False),
        (b"123", False),
        (b"", False),
        (None, True),
    ]
