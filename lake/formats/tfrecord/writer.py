"""Image datasets as TFRecord of tf.train.Example: shards rewritten with other images, or new ones."""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from lake.core.records import OutputFile, Shard, Unit
from lake.formats.common.byte_stream import window_of
from lake.formats.common.gzip_sink import GzipSink
from lake.formats.reader import RecordSchema
from lake.formats.tfrecord.example import example_class
from lake.formats.tfrecord.features import lists
from lake.formats.tfrecord.framing import framed
from lake.formats.tfrecord.lengths import begins
from lake.formats.writer import Create, DatasetWriter, Image, Results, UnitWriter
from lake.images.types import ImageFile
from lake.storage import Sink

_ENCODED, _FORMAT, _FILENAME = _OWN = ("image/encoded", "image/format", "image/filename")
_WORDS = {"jpg": "jpeg", "tif": "tiff"}  # suffixes that differ from the name of their format
_FORMATS = (b"png", b"jpeg", b"jpg", b"webp", b"tiff", b"tif", b"bmp", b"gif")


class RenderedExamples(NamedTuple):
    """Framed records.

    Attributes:
      data: as the shard holds them.
      rows: how many.
    """

    data: bytes
    rows: int


class TFRecordDatasetWriter(DatasetWriter):
    """Writes image datasets as TFRecord.

    In a rewritten shard every Example is unchanged except for the image feature, whose value is the new file. A feature
    beside it that names the image's format (``image/format`` for ``image/encoded``; ``format`` or ``image/format`` for
    ``image``) names the new one, in capitals if it did so. If the image was made of a feature of numbers, a bytes
    feature ``image/encoded`` replaces that (``other_image/encoded`` if the name is taken). Features are sorted by name;
    their order on the wire has no meaning. The shard is gzip if the input is.

    New Examples have ``image/encoded``, ``image/format`` (png, jpeg, webp, tiff), ``image/filename`` (the key) and the
    carried columns, converted by ``features``. A column with one of the three names becomes ``source_<name>``.
    """

    def __init__(
        self, columns: RecordSchema, rewrite: bool, metadata: Callable[[Unit], Mapping[str, str]] = lambda _: {}
    ) -> None:
        super().__init__(columns, rewrite, metadata)
        self._beside = _beside(columns.image)

    def render(self, results: Results) -> RenderedExamples:
        """The framed Examples of some results."""
        examples = self._rewritten(results) if self._rewrite else self._new_examples(results)
        return RenderedExamples(framed(examples), len(examples))

    def begin(self, unit: Unit, create: Create) -> "TFRecordUnitWriter":
        """Start ``<shard>``, or ``<unit>.tfrecord``. The file is created with the first batch."""
        if not self._rewrite:
            name = f"{unit.id}.tfrecord"
            return TFRecordUnitWriter(name, lambda: create(name))
        (shard,) = unit.shards
        return TFRecordUnitWriter(shard.path, lambda: _sink_like(shard, create))

    def _rewritten(self, results: Results) -> list[bytes]:
        source, replace = (
            results.records.source,
            self._with_image_feature if self._columns.numeric else self._with_image,
        )
        assert isinstance(source, Sequence)
        parse, found = example_class().FromString, zip(results.positions.tolist(), results.images, strict=True)
        return [_serialized(replace(parse(source[position]), image)) for position, image in found]

    def _with_image(self, example: Any, image: Image) -> Any:
        feature, file = example.features.feature, _file(image)
        feature[self._columns.image].bytes_list.value[0] = file.data  # a record without exactly one value is a reject
        for name in self._beside:
            if name in feature and len(values := feature[name].bytes_list.value) == 1:
                values[0] = _format_name(values[0], file.suffix)
        return example

    def _with_image_feature(self, example: Any, image: Image) -> Any:
        feature, name = example.features.feature, _ENCODED
        del feature[self._columns.image]
        while name in feature:
            name = f"other_{name}"
        feature[name].bytes_list.value.append(_file(image).data)
        return example

    def _new_examples(self, results: Results) -> list[bytes]:
        keys, carried = results.records.key.to_pylist(), self._lists(results)
        examples, new = [], example_class()
        for position, image in zip(results.positions.tolist(), results.images, strict=True):
            example, file = new(), _file(image)
            feature = example.features.feature
            feature[_ENCODED].bytes_list.value.append(file.data)
            feature[_FORMAT].bytes_list.value.append(_WORDS.get(file.suffix, file.suffix).encode())
            feature[_FILENAME].bytes_list.value.append(keys[position].encode())
            for name, (kind, values) in carried.items():
                if values[position] is not None:
                    getattr(feature[name], kind).value.extend(values[position])
            examples.append(_serialized(example))
        return examples

    def _lists(self, results: Results) -> dict[str, tuple[str, Sequence[Sequence[Any] | None]]]:
        carried = results.records.carried.items()
        return {f"source_{name}" if name in _OWN else name: lists(column) for name, column in carried}


class TFRecordUnitWriter(UnitWriter):
    """Writes one shard.

    Args:
      name: its path relative to the output.
      create: opens its sink.
    """

    def __init__(self, name: str, create: Callable[[], Sink]) -> None:
        self._name, self._create = name, create
        self._sink: Sink | None = None
        self._rows = 0

    def write(self, rendered: RenderedExamples) -> None:
        """Append records."""
        self._opened().write(rendered.data)
        self._rows += rendered.rows

    def publish(self) -> tuple[OutputFile, ...]:
        """Make the shard visible, even without records."""
        sink = self._opened()
        sink.finish()
        return (OutputFile(name=self._name, size=sink.size, rows=self._rows, crc32c=sink.crc32c),)

    def abort(self) -> None:
        """Discard the shard."""
        if self._sink is not None:
            self._sink.abort()

    def _opened(self) -> Sink:
        if self._sink is None:
            self._sink = self._create()
        return self._sink


def _sink_like(shard: Shard, create: Create) -> Sink:
    """The sink of a rewritten shard, through gzip or zlib if the input is."""
    window = window_of(shard, begins)  # may fail, so before anything is created
    sink = create(shard.path)
    return sink if window is None else GzipSink(sink, window)


def _beside(image: str) -> tuple[str, ...]:
    """Names of features that may hold the format of the image in this feature."""
    return (f"{image.rpartition('/')[0]}/format".lstrip("/"), f"{image}/format")


@lru_cache(maxsize=256)
def _format_name(value: bytes, suffix: str) -> bytes:
    """The name of a suffix's format, in capitals if ``value`` was; ``value`` if it names that format or none."""
    had, has = value.lower(), _WORDS.get(suffix, suffix).encode()
    if had not in _FORMATS or _WORDS.get(had.decode(), had.decode()).encode() == has:
        return value
    return has.upper() if value.isupper() else has


def _file(image: Image) -> ImageFile:
    assert isinstance(image, ImageFile)
    return image


def _serialized(example: Any) -> bytes:
    # Without this the order of a map's entries, and so the bytes, may differ between runs.
    data: bytes = example.SerializeToString(deterministic=True)
    return data
