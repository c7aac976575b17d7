"""Columns of latents, read back with PyArrow and Polars."""

import io

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from lake.formats.common.vector_storage import VectorStorage
from pipeline.output.units.latent_columns import LatentColumns


def test_latents_with_shapes_of_their_own() -> None:
    shapes = [(2, 3, 4), (1, 1, 4), (5, 2, 4)]
    latents = [np.random.default_rng(n).normal(size=shape).astype(np.float32) for n, shape in enumerate(shapes)]
    columns = LatentColumns(dimension=None, storage=VectorStorage(type="float16"))
    arrays, clipped = columns.arrays([latents])
    file = io.BytesIO()
    pq.write_table(pa.Table.from_arrays(arrays, schema=pa.schema(columns.fields())), file)
    for row, latent in zip(pl.read_parquet(file.getvalue()).iter_rows(named=True), latents, strict=True):
        assert tuple(row["latent_shape"]) == latent.shape
        np.testing.assert_array_equal(np.float16(row["latent"]).reshape(latent.shape), latent.astype(np.float16))
    assert clipped == 0


def test_a_batch_without_records_has_columns_of_the_same_types() -> None:
    for columns, none in (
        (LatentColumns(dimension=None), []),
        (LatentColumns(dimension=5, storage=VectorStorage(type="bfloat16")), np.empty((0, 5), np.float32)),
    ):
        arrays, clipped = columns.arrays([none])
        assert [array.type for array in arrays] == [field.type for field in columns.fields()]
        assert (len(arrays[0]), clipped) == (0, 0)


def test_several_columns_have_one_shape_and_their_clipped_numbers_add_up() -> None:
    latents = [np.full((1, 2, 1), 1e6, np.float32), np.zeros((2, 2, 1), np.float32)]
    columns = LatentColumns(dimension=None, names=("latent", "latent_flip"), storage=VectorStorage(type="float16"))
    arrays, clipped = columns.arrays([latents, latents])
    assert [field.name for field in columns.fields()] == ["latent", "latent_flip", "latent_shape"]
    assert arrays[0].equals(arrays[1])
    assert clipped == 4
