"""A selection and what it is resolved to: no field that both have is forgotten on the way."""

from dataclasses import fields

import pyarrow as pa

from lake.formats.reader import ColumnSelection, RecordSchema
from lake.images.types import PixelLayout

_TOLD = {"image", "key", "carry", "length"}  # by a shard
_BARE = {"image_shape", "image_dtype"}  # of formats with bare pixels alone


def test_what_is_asked_for_is_read() -> None:
    asked = ColumnSelection(
        numeric=True,
        max_record_bytes=7,
        layout=PixelLayout.CHW,
        image_shape=(2, 2, 1),
        image_dtype="uint8",
        shaped=True,
        latents=True,
        whole=True,
        salvage=True,
    )
    carry = pa.schema([("label", pa.int64())])
    schema = asked.resolved(image="x", key="k", carry=carry, length=3)
    assert (schema.image, schema.key, schema.carry, schema.length) == ("x", "k", carry, 3)
    shared = {field.name for field in fields(RecordSchema)} & {field.name for field in fields(ColumnSelection)}
    for name in shared - _TOLD - _BARE:
        assert getattr(asked, name) != getattr(ColumnSelection(), name), name
        assert getattr(schema, name) == getattr(asked, name), name
