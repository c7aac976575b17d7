"""Read WebDataset shards: tar archives, plain or gzip, whose members form samples by their names.

The convention is that of https://github.com/webdataset/webdataset.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import pyarrow as pa

from lake.core.errors import InputError, NoColumnError, NoRecordsError
from lake.core.records import (
    Array,
    Fault,
    RawBatch,
    Reason,
    Records,
    Shard,
    Unit,
)
from lake.formats.common.byte_stream import decompressed, is_compressed
from lake.formats.common.cuts import Cuts, as_cut
from lake.formats.common.safetensors import SUFFIX
from lake.formats.common.shard_errors import as_planned
from lake.formats.common.text import text
from lake.formats.common.vector_storage import VectorStorage
from lake.formats.reader import BATCH_BYTES, ColumnSelection, Reader, RecordSchema
from lake.formats.webdataset.cuts import indexed_sample_cuts, sample_cuts
from lake.formats.webdataset.latent_samples import (
    IMAGE_SIZES,
    JSON,
    SampleLatents,
    check_latents,
    is_image_size,
    key_of_record,
    size_column,
    storage_of_shard,
)
from lake.formats.webdataset.member_names import shown
from lake.formats.webdataset.npy_vectors import images, vector, vectors
from lake.formats.webdataset.samples import Sample, SampleGrouping, WholeSample, fault_of
from lake.formats.webdataset.tar_head import about_samples
from lake.formats.webdataset.tar_read import TAR_BLOCK, is_header
from lake.storage import Stat, store_for

_IMAGES = "png;jpg;jpeg;webp;tif;tiff;bmp;gif"
_IMAGE_SET = frozenset(_IMAGES.encode().split(b";"))
_MORE_IMAGES = f"{_IMAGES};jpe;jfif;avif;jp2;j2k;heic;heif;jxl"
_ALL_IMAGES = f"{_MORE_IMAGES};mpo;jif;pjpeg;pjp;apng;j2c;jpc;jpx;jpf;hif"
# A longer list is settled only where a sample needs it, so that what was settled before stays the same.
_IMAGE_LISTS = _IMAGES, _MORE_IMAGES, _ALL_IMAGES
_VECTORS = "npy"
_SIDECARS = ("cls", "txt", "json")
_TEXTS = ("txt", "json")
_SAMPLE = 16  # samples from which the schema is derived
_HEAD = 1 << 18  # bytes that tell about how many samples there are
_INTEGER = re.compile(rb"\s*([+-]?[0-9]{1,19})\s*")


class WebDatasetReader(Reader):
    r"""Reads samples. A sample is a run of members whose names are equal up to the first dot of the base name.

    That part of the name is the key, and the rest, in lower case, the extension. A repeated extension starts a new
    sample, so samples may share a key. Members whose base name starts with a dot belong to no sample. Images and
    vectors are found by
    extension: the first that a sample has of a list such as "jpg;png". Where no list is asked for, a sample has one
    image: a photograph and its mask cannot be told apart. ``.cls`` is carried as int64, ``.txt`` and
    ``.json`` as strings (bytes that are not UTF-8 written ``\xNN``), anything else as binary; null if a sample has
    none. Vectors are ``.npy`` files of one dimension.
    """

    suffixes: tuple[str, ...] = (
        *(".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2"),
        *(".tar.xz", ".txz", ".tar.zst", ".tzst"),
    )
    indexes = (".idx",)

    def recognises(self, name: str, head: bytes) -> bool:
        return name.lower().endswith(self.suffixes) or is_header(decompressed(head)[:TAR_BLOCK])

    def settle(self, shard: Shard, selection: ColumnSelection) -> RecordSchema:
        looked_at = {b"cls", *(name.encode() for name in _extensions_of(selection))}
        looked_at |= {JSON, SUFFIX.encode()} if selection.latents else set()
        # A compressed one would be unpacked as a whole for that.
        salvage = selection.salvage and not is_compressed(shard)
        grouping = SampleGrouping(shard, looked_at, selection.max_record_bytes, names=True, salvage=salvage)
        samples, damage = grouping.only(_SAMPLE)
        if damage is not None and not samples:
            raise damage
        if not samples:
            raise NoRecordsError(f"{shard.path}: it has no samples")
        if selection.key is not None:
            raise NoColumnError("the key of a sample is its name in the archive; leave --key out", "key", selection.key)
        image = _image(shard, samples, selection)
        if selection.latents:
            check_latents(shard, samples, _chosen(samples, image), selection)
        return selection.resolved(
            image=image,
            key=None,
            carry=pa.schema([(name, _type(name, samples, selection)) for name in _carried(shard, samples, selection)]),
            length=_length(shard, samples, image, selection) if selection.numeric else None,
        )

    def about(self, shard: Shard) -> float | None:
        """As ``Reader.about``; of a compressed archive nothing is told."""
        with store_for(shard.uri).open(shard.uri, sparse=True) as file:
            return about_samples(file.read(_HEAD), shard.size)

    def cuts(self, shard: Shard, index: Stat | None = None) -> Cuts:
        """Between samples of different keys; the index is one of NVIDIA DALI's ``wds2idx``, version 1.2."""
        if is_compressed(shard):
            return Cuts()
        return sample_cuts(shard) if index is None else indexed_sample_cuts(shard, index)

    def read(self, unit: Unit, columns: RecordSchema, size: int, room: int = BATCH_BYTES) -> Iterator[RawBatch]:
        """Samples in order. With ``whole``, ``Records.source`` holds a ``WholeSample`` each."""
        return as_cut(_batches(unit, columns, size, room), unit, salvage=columns.salvage)


def _batches(unit: Unit, columns: RecordSchema, size: int, room: int) -> Iterator[RawBatch]:
    wanted = {extension.encode() for extension in (*columns.image.split(";"), *columns.carry.names)}
    wanted |= {JSON} if columns.latents else set()
    for shard in unit.shards:
        source = SampleGrouping(
            shard,
            wanted,
            columns.max_record_bytes,
            whole=columns.whole,
            salvage=columns.salvage,
            byte_range=unit.byte_range,
        )
        with as_planned(shard), closing(source):
            start, storage = unit.start, storage_of_shard(shard, columns) if columns.latents else None
            for samples in source.batches(size, room):
                yield SampleBatch(shard.path, start, samples, columns, storage)
                start += len(samples)


@dataclass(frozen=True, slots=True)
class SampleBatch:
    """Consecutive samples of a shard.

    Attributes:
      shard: its path.
      start: position of the first sample in the shard.
      samples: the samples.
      columns: what is read of each sample.
      storage: how the shard says that its latents are stored; None if it does not, or samples are no latents.
    """

    shard: str
    start: int
    samples: Sequence[Sample]
    columns: RecordSchema
    storage: VectorStorage | None = None

    def __len__(self) -> int:
        return len(self.samples)

    def records(self) -> Records:
        faults = {i: sample.fault for i, sample in enumerate(self.samples) if sample.fault}
        carried = {field.name: self._column(field, faults) for field in self.columns.carry}
        payload = self._payload(faults)
        return Records(
            shard=self.shard,
            index=np.arange(self.start, self.start + len(self.samples)),
            key=text(pa.array([*map(key_of_record if self.columns.latents else _name, self.samples)], pa.binary())),
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
        if self.columns.image in _IMAGE_LISTS:
            for position, several in _ambiguous(self.samples):
                faults.setdefault(position, fault_of(Reason.INVALID_RECORD, several))
        for position, fault in faults.items():
            faults[position] = replace(fault, data=found[position])
            found[position] = None
        if self.columns.latents:
            return SampleLatents(self.samples, found, self.storage).payload(self.columns, faults)
        if self.columns.numeric:
            return vectors(found, self.columns.length or 0, faults)
        if _VECTORS in self.columns.image.split(";"):
            return pa.array(images(found, faults, self.columns.layout), pa.binary())
        return pa.array(found, pa.binary())

    def _column(self, field: pa.Field, faults: dict[int, Fault]) -> pa.Array:
        if self.columns.latents and field.name in IMAGE_SIZES:
            return size_column(self.samples, field.name)
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


def _name(sample: Sample) -> bytes:
    return sample.key


def _chosen(samples: Sequence[Sample], extensions: str) -> list[bytes | None]:
    """For each sample, its first member of a list of extensions."""
    first, *others = (extension.encode() for extension in extensions.split(";"))
    found = [sample.members.get(first) for sample in samples]
    for position, data in enumerate(found):
        if data is None:
            members = samples[position].members
            found[position] = next((members[extension] for extension in others if extension in members), None)
    return found


def _ambiguous(samples: Sequence[Sample]) -> Iterator[tuple[int, str]]:
    """Positions of the samples that have several images, and which."""
    for position, sample in enumerate(samples):
        if len(sample.members) > 1 and len(several := [name for name in sample.members if name in _IMAGE_SET]) > 1:
            names = " and ".join(shown(sample.key + b"." + name) for name in several)
            yield position, f"a sample has several images, {names}"


@lru_cache(maxsize=1 << 14)
def _integer(value: bytes) -> int | None:
    match = _INTEGER.fullmatch(value)
    number = int(match[1]) if match else None
    return number if number is not None and -(1 << 63) <= number < 1 << 63 else None


def _extensions_of(selection: ColumnSelection) -> list[str]:
    """The extensions that an image or vector may have, the first one first."""
    usual = _VECTORS if selection.numeric else _IMAGES
    return [part.strip(" .").lower() for part in (selection.image or usual).split(";")]


def _image(shard: Shard, samples: Sequence[Sample], selection: ColumnSelection) -> str:
    wanted = ";".join(_extensions_of(selection))
    if wanted == _IMAGES and (found := next(_ambiguous(samples), None)):
        raise InputError(f"{shard.path}: {found[1]}; choose with --image, as in --image jpg or --image 'jpg;png'")
    if wanted == _IMAGES and (longer := _longer_list(samples)):
        return longer
    # Arrays are images too, where a sample has no image file.
    others = [_VECTORS] if wanted == _IMAGES else [SUFFIX] if selection.latents and selection.image is None else []
    for extensions in (wanted, *others):
        if any(data is not None for data in _chosen(samples, extensions)):
            return extensions
    raise NoColumnError(
        f"{shard.path}: no sample with a member {wanted.replace(';', ' or ')} among the first {_SAMPLE},"
        f" there are {_extensions(samples)}; name the right extension with --image",
        "image",
        selection.image or "",
    )


def _longer_list(samples: Sequence[Sample]) -> str | None:
    """The shortest list with an extension of each sample that has an image; None if that is the usual one."""
    lists = [frozenset(extensions.encode().split(b";")) for extensions in _IMAGE_LISTS]
    needed = [
        next((at for at, known in enumerate(lists) if not known.isdisjoint(sample.members)), 0) for sample in samples
    ]
    return _IMAGE_LISTS[most] if (most := max(needed)) else None


def _carried(shard: Shard, samples: Sequence[Sample], selection: ColumnSelection) -> list[str]:
    there = {extension for sample in samples for extension in sample.members}
    if selection.carry is None:
        return [name for name in _SIDECARS if name.encode() in there]
    names = {asked: asked.lstrip(".").lower() for asked in selection.carry}
    for asked, name in names.items():
        if name.encode() not in there and not is_image_size(name, samples, selection):
            raise NoColumnError(
                f"{shard.path}: no member {name!r} among the first {_SAMPLE} samples, there are {_extensions(samples)};"
                " set --carry to some of them",
                "carry",
                asked,
            )
    return list(dict.fromkeys(names.values()))


def _type(name: str, samples: Sequence[Sample], selection: ColumnSelection) -> pa.DataType:
    if is_image_size(name, samples, selection):
        return pa.int32()
    if name in _TEXTS:
        return pa.string()
    if name != "cls":
        return pa.binary()
    classes = [sample.members[b"cls"] for sample in samples if b"cls" in sample.members]
    return pa.int64() if any(_integer(value) is not None for value in classes) else pa.string()


def _length(shard: Shard, samples: Sequence[Sample], image: str, selection: ColumnSelection) -> int | None:
    if selection.latents:
        return selection.length
    found = [vector(data) for data in _chosen(samples, image) if data is not None]
    lengths = [len(numbers) for numbers in found if not isinstance(numbers, str)]
    if not lengths:
        problem = f"{shard.path}: the members {image} are no vectors"
        raise InputError(f"{problem}: {found[0]}; name others with --image")
    if selection.length not in (None, *lengths):
        raise InputError(
            f"{shard.path}: the members {image} hold {lengths[0]} numbers, and the model takes vectors of"
            f" {selection.length}; name others with --image"
        )
    return selection.length or lengths[0]


def _extensions(samples: Sequence[Sample]) -> str:
    names = sorted({extension for sample in samples for extension in sample.members})
    return ", ".join(shown(name) for name in names[:20]) or "none"
