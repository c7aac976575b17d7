"""WebDataset shards: tar archives, plain or gzip, whose members make samples by their names."""

import re
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import pyarrow as pa

from pipeline.errors import InputError
from pipeline.readers.base import BATCH_BYTES, Columns, Request
from pipeline.readers.damage import as_planned
from pipeline.readers.samples import Sample, Samples, WholeSample, fault_of, shown
from pipeline.readers.stream import decompressed
from pipeline.readers.tar import BLOCK, is_header
from pipeline.readers.text import text
from pipeline.readers.vectors import vector, vectors
from pipeline.records import Array, Fault, RawBatch, Reason, Records, Shard, Unit

_IMAGES = "png;jpg;jpeg;webp;tif;tiff;bmp;gif"
_VECTORS = "npy"
_SIDECARS = ("cls", "txt", "json")
_TEXTS = ("txt", "json")
_SAMPLE = 16  # samples that settle looks at
_INTEGER = re.compile(rb"\s*([+-]?[0-9]{1,19})\s*")


class WebDatasetReader:
    r"""A sample is the members that follow one another with the same name up to the base name's first dot.

    That name is the key, the rest, in lower case, the extension. A repeated extension begins a new sample, so samples
    may share a key. Members whose base name begins with a dot belong to no sample. Images and vectors are found by
    extension: the first of a list as webdataset writes it, "jpg;png". ``.cls`` is carried as int64, ``.txt`` and
    ``.json`` as strings (bytes that are not UTF-8 written ``\xNN``), anything else as binary; null where a sample
    has none. Vectors are ``.npy`` files of one dimension.
    """

    suffixes: tuple[str, ...] = (".tar", ".tar.gz", ".tgz")
    grouped = False

    def recognises(self, name: str, head: bytes) -> bool:
        return name.lower().endswith(self.suffixes) or is_header(decompressed(head)[:BLOCK])

    def settle(self, shard: Shard, request: Request) -> Columns:
        samples, damage = Samples(shard, None, request.max_record_bytes).only(_SAMPLE)
        if damage is not None and not samples:
            raise damage
        if request.key is not None:
            raise InputError("the key of a sample is its name in the archive; leave --key out")
        image = _image(shard, samples, request)
        return Columns(
            image=image,
            key=None,
            carry=pa.schema([(name, _type(name, samples)) for name in _carried(shard, samples, request)]),
            numeric=request.numeric,
            max_record_bytes=request.max_record_bytes,
            length=_length(shard, samples, image, request) if request.numeric else None,
            whole=request.whole,
            salvage=request.salvage,
        )

    def rows(self, shard: Shard) -> Sequence[int] | None:  # noqa: ARG002
        return None

    def read(self, unit: Unit, columns: Columns, size: int, room: int = BATCH_BYTES) -> Iterator[RawBatch]:
        """Samples in order. The ``source`` of whole ones is a ``WholeSample`` each."""
        wanted = {extension.encode() for extension in (*columns.image.split(";"), *columns.carry.names)}
        for shard in unit.shards:
            source = Samples(shard, wanted, columns.max_record_bytes, whole=columns.whole, salvage=columns.salvage)
            with as_planned(shard), closing(source):
                start = 0
                for samples in source.batches(size, room):
                    yield SampleBatch(shard=shard.path, start=start, samples=samples, columns=columns)
                    start += len(samples)


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleBatch:
    """Samples that follow one another in a shard, the first at position ``start``."""

    shard: str
    start: int
    samples: Sequence[Sample]
    columns: Columns

    def __len__(self) -> int:
        return len(self.samples)

    def records(self) -> Records:
        faults = {i: sample.fault for i, sample in enumerate(self.samples) if sample.fault}
        carried = {field.name: self._column(field, faults) for field in self.columns.carry}
        payload = self._payload(faults)
        return Records(
            shard=self.shard,
            index=np.arange(self.start, self.start + len(self.samples)),
            key=text(pa.array([sample.key for sample in self.samples], pa.binary())),
            payload=payload,
            carried=carried,
            faults=faults,
            source=self._whole() if self.columns.whole else None,
        )

    def _whole(self) -> list[WholeSample]:
        images = [extension.encode() for extension in self.columns.image.split(";")]
        chosen = [next((i for i in images if i in sample.members), b"") for sample in self.samples]
        return [WholeSample(sample.whole, image) for sample, image in zip(self.samples, chosen, strict=True)]

    def _payload(self, faults: dict[int, Fault]) -> pa.Array | Array:
        found = _chosen(self.samples, self.columns.image)
        missing = f"no member with the extension {self.columns.image.replace(';', ' or ')}"
        for position, data in enumerate(found):
            if data is None:
                faults.setdefault(position, fault_of(Reason.MISSING_IMAGE, missing))
        for position, fault in faults.items():
            faults[position] = replace(fault, data=found[position])
            found[position] = None
        if self.columns.numeric:
            return vectors(found, self.columns.length or 0, faults)
        return pa.array(found, pa.binary())

    def _column(self, field: pa.Field, faults: dict[int, Fault]) -> pa.Array:
        extension = field.name.encode()
        values = [sample.members.get(extension) for sample in self.samples]
        if pa.types.is_string(field.type):
            return text(pa.array(values, pa.binary()))
        if not pa.types.is_integer(field.type):
            return pa.array(values, pa.binary())
        numbers = [None if value is None else _integer(value) for value in values]
        for position, (value, number) in enumerate(zip(values, numbers, strict=True)):
            if number is None and value is not None:
                detail = f"member {field.name!r} is no 64-bit integer: {value[:40]!r}"
                faults.setdefault(position, fault_of(Reason.WRONG_TYPE, detail))
        return pa.array(numbers, pa.int64())


def _chosen(samples: Sequence[Sample], extensions: str) -> list[bytes | None]:
    """For each sample its first member of a list of extensions."""
    first, *others = (extension.encode() for extension in extensions.split(";"))
    found = [sample.members.get(first) for sample in samples]
    for position, data in enumerate(found):
        if data is None:
            kept = samples[position].members
            found[position] = next((kept[extension] for extension in others if extension in kept), None)
    return found


@lru_cache(maxsize=1 << 14)
def _integer(value: bytes) -> int | None:
    match = _INTEGER.fullmatch(value)
    number = int(match[1]) if match else None
    return number if number is not None and -(1 << 63) <= number < 1 << 63 else None


def _image(shard: Shard, samples: Sequence[Sample], request: Request) -> str:
    usual = _VECTORS if request.numeric else _IMAGES
    wanted = ";".join(part.strip(" .").lower() for part in (request.image or usual).split(";"))
    if any(data is not None for data in _chosen(samples, wanted)):
        return wanted
    raise InputError(
        f"{shard.path}: no sample with a member {wanted.replace(';', ' or ')} among the first {_SAMPLE},"
        f" there are {_extensions(samples)}; name the right extension with --image"
    )


def _carried(shard: Shard, samples: Sequence[Sample], request: Request) -> list[str]:
    there = {extension for sample in samples for extension in sample.members}
    if request.carry is None:
        return [name for name in _SIDECARS if name.encode() in there]
    names = list(dict.fromkeys(name.lstrip(".").lower() for name in request.carry))
    for name in names:
        if name.encode() not in there:
            raise InputError(
                f"{shard.path}: no member {name!r} among the first {_SAMPLE} samples, there are {_extensions(samples)};"
                " set --carry to some of them"
            )
    return names


def _type(name: str, samples: Sequence[Sample]) -> pa.DataType:
    if name in _TEXTS:
        return pa.string()
    if name != "cls":
        return pa.binary()
    classes = [sample.members[b"cls"] for sample in samples if b"cls" in sample.members]
    return pa.int64() if any(_integer(value) is not None for value in classes) else pa.string()


def _length(shard: Shard, samples: Sequence[Sample], image: str, request: Request) -> int:
    found = [vector(data) for data in _chosen(samples, image) if data is not None]
    lengths = [len(numbers) for numbers in found if not isinstance(numbers, str)]
    if not lengths:
        problem = f"{shard.path}: the members {image} are no vectors"
        raise InputError(f"{problem}: {found[0]}; name others with --image")
    if request.length not in (None, *lengths):
        raise InputError(
            f"{shard.path}: the members {image} hold {lengths[0]} numbers, and the model takes vectors of"
            f" {request.length}; name others with --image"
        )
    return request.length or lengths[0]


def _extensions(samples: Sequence[Sample]) -> str:
    names = sorted({extension for sample in samples for extension in sample.members})
    return ", ".join(shown(name) for name in names[:20]) or "none"
