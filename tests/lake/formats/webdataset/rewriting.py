"""Tar shards that the tests write again, and anew."""

import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from lake.core.records import OutputFile, Records, Unit
from lake.formats.reader import RecordSchema
from lake.formats.webdataset.writer import WebDatasetWriter
from lake.formats.writer import Results
from lake.images.types import ImageFile
from tests.lake.formats.rewriting import create_in

Members = list[tuple[str, bytes]]


def new(index: int) -> ImageFile:
    return ImageFile(data=b"image %d" % index * (1 + index * 401 % 997), suffix="png")


def found_in(path: Path) -> Members:
    """Every member as tarfile sees it; all must be plain files of nobody and no time."""
    with tarfile.open(path, "r:*") as tar:
        found = []
        for info in tar:
            assert (info.type, info.mode, info.mtime) == (tarfile.REGTYPE, 0o644, 0)
            assert (info.uid, info.gid, info.uname, info.gname) == (0, 0, "", "")
            found.append((info.name, tar.extractfile(info).read()))
    return found


def anew(root: Path, batches: Sequence[tuple[Records, Sequence[ImageFile], Sequence[int]]]) -> OutputFile:
    """A unit of some batches, each with images of the records at some positions."""
    carried = batches[0][0].carried
    carry = pa.schema([(name, column.type) for name, column in carried.items()])
    columns = RecordSchema(image="image", key=None, carry=carry, numeric=False, max_record_bytes=1 << 20)
    format = WebDatasetWriter(columns, False)
    writer = format.begin(Unit(id="d/x-00000", format="parquet", shards=()), create_in(root))
    for records, images, positions in batches:
        results = Results(records=records, positions=np.array(positions, np.int64), images=images)
        writer.write(format.render(results))
    (output,) = writer.publish()
    assert output.name == "d/x-00000.tar"
    return output
