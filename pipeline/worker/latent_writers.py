"""Writers of latents in the formats that trainers read."""

from math import prod

import pyarrow as pa

from lake.core.records import Unit
from lake.formats.common.latent_rows import LatentRows
from lake.formats.common.parquet_table import visible
from lake.formats.writer import Create, UnitWriter
from pipeline.config import FINGERPRINT, JobConfig
from pipeline.options.latent_form import ARRAYRECORD, MDS, TENSORS, LatentForm
from pipeline.output.units.latent_columns import SHAPE, LatentColumns


def latent_writer(unit: Unit, config: JobConfig, schema: pa.Schema, dimension: int, create: Create) -> UnitWriter:
    """Start the files of a unit's latents.

    Args:
      unit: the unit.
      config: the job, whose latents are not written as tables.
      schema: of the rows that the verb makes.
      dimension: of a latent of the model.
      create: opens the sink of a file.
    """
    assert config.latents is not None
    own = None if SHAPE in schema.names else dimension
    table = _rows(schema, LatentColumns.of(config, own), config.latents, own)
    name, metadata = visible(unit.id), config.metadata(unit)
    if config.latents.format == MDS:
        from lake.formats.mds.latents import MdsWriter

        return MdsWriter(name, create, table, metadata)
    if config.latents.format == ARRAYRECORD:
        from lake.formats.arrayrecord.latents import ArrayRecordWriter

        # By it a record's receipt is found, which a file of records alone does not lead to.
        return ArrayRecordWriter(name, create, table, metadata, {FINGERPRINT: metadata[FINGERPRINT]})
    from lake.formats.webdataset.latents import LatentTarWriter

    file = f"{name}.tar"
    return LatentTarWriter(file, create(file), table, metadata, tensors=config.latents.format == TENSORS)


def _rows(schema: pa.Schema, columns: LatentColumns, form: LatentForm, dimension: int | None) -> LatentRows:
    # Lists of scales may be longer than the latents, so samples do not repeat what their shard says.
    said = {name: value for name, value in form.said().items() if name not in ("scale", "offset", "shape")}
    shape, bits = form.written_shape(dimension), form.storage.type == "binary"
    others = {one.name: form.alone(one).written_shape(prod(one.shape)) or () for one in form.further}
    shapes = {column: others[name] for name, column in columns.of_further()}
    return LatentRows(schema=schema, names=columns.all_names, shape=shape, said=said, bits=bits, shapes=shapes)
