"""The configuration: what changes a unit's fingerprint, and what must not."""

import json
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest

from lake import __version__
from lake.core.records import Unit
from lake.images.types import Color, DecodeMode, Resize, Target
from lake.inputs.reference import Reference
from lake.inputs.sampled import LatentSampling
from lake.storage import StoreOptions
from pipeline.config import CameraNoise, Gate, ImagesOut, NoiseLevel, RejectRetry, fingerprint, options_digest
from pipeline.worker.verbs import VERBS
from tests.pipeline.values import COLUMNS, make_config, make_shard, make_unit

UNIT = make_unit("a", stop=None)
IMAGES = ImagesOut(format="parquet", rewrite=False, image_format="lossless", quality=90, error_map=False)


def test_what_a_fingerprint_is_never_changes() -> None:
    """Every output that exists was written with it: another one would do all of its units again."""
    config = make_config(noise=NoiseLevel(level=25.0), images=replace(IMAGES, rewrite=True), variance=True)
    assert config.options() == {
        "output_version": 1,
        "verb": "encode",
        "model_digest": "d1",
        "target": {
            "shape": [8, 8, 1],
            "resize": None,
            "orientation": "apply",
            "color": "strict",
            "max_pixels": Target(shape=()).max_pixels,
        },
        "columns": {
            "image": "image",
            "key": "id",
            "carry": [["label", "int64"]],
            "numeric": False,
            "length": None,
            "max_record_bytes": 1 << 20,
        },
        "reject_bytes": 100,
        "variance": True,
        "noise": {"level": 25.0, "column": None, "estimate": False},
        "images": {
            "again": True,
            "format": "parquet",
            "image_format": "lossless",
            "quality": 90,
            "error_map": False,
        },
    }
    assert fingerprint(UNIT, make_config()) == "6534169a3c64732baaacc8292ad5e1780b0ed02bef58f100190cbf3bf3ea4741"
    assert options_digest(make_config()) == "f0142eaaeb76157220abb85bafa54401be1a771badaed28022ee435bd838b58d"


def test_only_denoise_has_changed_what_it_writes() -> None:
    versions = {verb: make_config(verb=verb).options()["output_version"] for verb in VERBS}
    assert versions == dict.fromkeys(VERBS, 1) | {"denoise": 2}


def test_where_latents_come_from() -> None:
    line = LatentSampling(count=5, ends=((0.0,), (1.0,)))
    assert make_config(sampling=LatentSampling(count=5, seed=3)).options()["drawn"] == {"seed": 3}
    assert make_config(sampling=line).options()["drawn"] == {"count": 5, "ends": [[0.0], [1.0]]}


def test_what_is_not_asked_for_is_no_option() -> None:
    assert set(make_config().options()) == {
        *("output_version", "verb", "model_digest", "target", "columns", "reject_bytes")
    }


OPTIONS: list[dict[str, Any]] = [
    {"executor": "onnx"},
    {"verb": "reconstruct"},
    {"model_digest": "d2"},
    {"target": Target(shape=(8, 8, 3))},
    {"target": Target(shape=(8, 8, 1), resize=next(iter(Resize)))},
    {"target": Target(shape=(8, 8, 1), decode=DecodeMode.FAST)},
    {"target": Target(shape=(8, 8, 1), color=next(c for c in Color if c != Color.STRICT))},
    {"target": Target(shape=(8, 8, 1), max_pixels=7)},
    {"columns": replace(COLUMNS, image="other")},
    {"columns": replace(COLUMNS, key=None)},
    {"columns": replace(COLUMNS, carry=pa.schema([("label", pa.int32())]))},
    {"columns": replace(COLUMNS, carry=pa.schema([("name", pa.int64())]))},
    {"columns": replace(COLUMNS, numeric=True)},
    {"columns": replace(COLUMNS, length=5)},
    {"columns": replace(COLUMNS, max_record_bytes=5)},
    {"reject_bytes": 101},
    {"reject_budget": 101},
    {"variance": True},
    {"sampling": LatentSampling(count=5)},
    {"sampling": LatentSampling(count=5, seed=1)},
    {"sampling": LatentSampling(count=5, ends=((0.0,), (1.0,)))},
    {"sampling": LatentSampling(count=6, ends=((0.0,), (1.0,)))},
    {"images": IMAGES},
    {"images": replace(IMAGES, quality=91)},
    {"images": replace(IMAGES, error_map=True)},
    {"noise": NoiseLevel(level=25.0)},
    {"noise": NoiseLevel(column="sigma")},
    {"noise": NoiseLevel(estimate=True)},
    {"noise": NoiseLevel(camera=CameraNoise())},
    {"noise": NoiseLevel(camera=CameraNoise(gain=2.0, read_noise=3.0))},
    {"noise": NoiseLevel(camera=CameraNoise(gain=2.0, read_noise=3.0, black_level=100.0))},
]


def test_levels_that_are_given_are_the_options_that_they_were() -> None:
    """Noise that could not be anything else before is said as it was."""
    old = {"level": 25.0, "column": None, "estimate": False}
    assert make_config(noise=NoiseLevel(level=25.0)).options()["noise"] == old
    estimated = make_config(noise=NoiseLevel(estimate=True)).options()["noise"]
    assert estimated == {"level": None, "column": None, "estimate": True}


def test_every_option_that_changes_bytes_changes_the_fingerprint() -> None:
    configs = [make_config(), *(make_config(**changes) for changes in OPTIONS)]
    assert len({fingerprint(UNIT, config) for config in configs}) == len(configs)
    assert len({options_digest(config) for config in configs}) == len(configs)


@pytest.mark.parametrize(
    "changes",
    [
        {"output": "/elsewhere"},
        {"run": "run-2"},
        {"model": "/copy"},
        {"latent_layer": "other"},
        {"threads": 3},
        {"reject_limit": 3},
        {"stores": StoreOptions(anonymous=True)},
        {"retry": RejectRetry(target=Target(shape=(8, 8, 1)), max_record_bytes=1)},
        {"columns": replace(COLUMNS, whole=True, salvage=True)},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_what_changes_no_byte_changes_no_fingerprint(changes: dict[str, Any]) -> None:
    assert fingerprint(UNIT, make_config(**changes)) == fingerprint(UNIT, make_config())


@pytest.mark.parametrize(
    "other",
    [
        make_unit("b", "a.tfrecord"),
        make_unit("a", format="parquet"),
        make_unit("a", start=1),
        make_unit("a", stop=5),
        make_unit("a", stop=6),
        make_unit("a", start=1, stop=5),
        make_unit("a", "b.tfrecord"),
        make_unit("a", "a.tfrecord", "b.tfrecord"),
        make_unit("a", shards=(make_shard("a.tfrecord", size=11),)),
        make_unit("a", shards=(make_shard("a.tfrecord", identity="2"),)),
        make_unit("a", clean=(make_shard("clean/a.tfrecord"),)),
        make_unit("a", clean=(make_shard("clean/a.tfrecord", identity="2"),)),
    ],
)
def test_another_input_is_another_fingerprint(other: Unit) -> None:
    config = make_config()
    assert fingerprint(other, config) != fingerprint(UNIT, config)


def test_slices_of_one_shard_have_fingerprints_of_their_own() -> None:
    """Of the same shard under the same name, other rows are other results."""
    slices = [make_unit("a", start=start, stop=stop) for start, stop in ((0, 5), (5, 9), (0, 9), (5, 10), (0, None))]
    assert len({fingerprint(unit, make_config()) for unit in slices}) == len(slices)


@pytest.mark.parametrize(
    "same",
    [
        make_unit("a", shards=(make_shard("a.tfrecord", uri="gs://moved/a.tfrecord"),)),
        make_unit("a", expected=3),
        make_unit("a", retry_rejects=True),
    ],
)
def test_a_moved_input_is_the_same(same: Unit) -> None:
    assert fingerprint(same, make_config()) == fingerprint(UNIT, make_config())


def test_a_table_says_what_made_it() -> None:
    config = make_config()
    assert config.metadata(UNIT) == {
        "latentlake.version": __version__,
        "latentlake.verb": "encode",
        "latentlake.model_digest": "d1",
        "latentlake.latent_layer": "encoded",
        "latentlake.preprocessing": json.dumps(config.options()["target"], sort_keys=True),
        "latentlake.unit": "a",
        "latentlake.fingerprint": fingerprint(UNIT, config),
    }
    retry = RejectRetry(target=Target(shape=(8, 8, 1), max_pixels=9), max_record_bytes=5)
    again = replace(config, retry=retry)
    assert json.loads(again.metadata(UNIT)["latentlake.retried"]) == {
        "target": {"shape": [8, 8, 1], "resize": None, "orientation": "apply", "color": "strict", "max_pixels": 9},
        "max_record_bytes": 5,
    }
    assert again.retried == json.dumps(retry.options(), sort_keys=True)
    assert config.retried == ""


def test_options_are_json_values() -> None:
    """They are compared with those that JSON gave back."""
    for changes in ({}, *OPTIONS):
        options = make_config(**changes).options()
        assert json.loads(json.dumps(options)) == options, changes


def test_a_reference_is_an_option() -> None:
    reference = Reference(format="folder", columns=COLUMNS)
    configs = [make_config(), make_config(reference=reference), make_config(reference=replace(reference, only="x"))]
    assert configs[1].options()["reference"] == {"format": "folder", "image": "image"}
    assert len({fingerprint(UNIT, config) for config in configs}) == 3


def test_what_an_output_may_fall_short_of() -> None:
    assert Gate() == Gate(max_reject_fraction=0.01, max_failed_units=0)
