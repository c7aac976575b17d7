"""TFRecord shards of tf.train.Example with other images in them, or of new Examples."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from pipeline.readers.base import Columns
from pipeline.readers.example import example_class
from pipeline.readers.framing import framed
from pipeline.readers.stream import is_gzip
from pipeline.receipts import Output
from pipeline.records import Shard, Unit
from pipeline.storage import Sink
from pipeline.writers.base import Create, Image, ImageFile, Results
from pipeline.writers.features import lists
from pipeline.writers.gzip import GzipSink

_ENCODED, _FORMAT, _FILENAME = _OWN = ("image/encoded", "image/format", "image/filename")
_WORDS = {"jpg": "jpeg", "tif": "tiff"}  # suffixes that are not what a feature calls the format
_FORMATS = (b"png", b"jpeg", b"jpg", b"webp", b"tiff", b"tif", b"bmp", b"gif")


class Rendered(NamedTuple):
    """Records as the shard has them."""

    data: bytes
    rows: int


class TFRecordFormat:
    """Again: every Example is what it was, but for the image feature, whose value is the new file.

    A feature beside it that names the image's format (``image/format`` of ``image/encoded``; ``format`` or
    ``image/format`` of ``image``) names the new one, in capitals where it did so. A feature of numbers, which the image
    was made of, gives way to a bytes feature ``image/encoded`` (``other_image/encoded`` where that is taken). Features
    come sorted by name; their order on the wire has no meaning. The shard is gzip where the input is.

    Anew: Examples of ``image/encoded``, ``image/format`` (png, jpeg, webp, tiff), ``image/filename`` (the key), and the
    carried columns, as ``features`` says. A column of one of the three names is called ``source_<name>``.
    """

    pixels = False

    def __init__(self, columns: Columns, again: bool) -> None:
        self._columns, self._again = columns, again
        self._beside = _beside(columns.image)

    def render(self, results: Results) -> Rendered:
        """The framed Examples of some results."""
        examples = self._replaced(results) if self._again else self._made(results)
        return Rendered(framed(examples), len(examples))

    def begin(self, unit: Unit, create: Create) -> "TFRecordWriter":
        """Begin ``<shard>``, or ``<unit>.tfrecord``; it is created with the first batch."""
        if not self._again:
            name = f"{unit.id}.tfrecord"
            return TFRecordWriter(name, lambda: create(name))
        (shard,) = unit.shards
        return TFRecordWriter(shard.path, lambda: _alike(shard, create))

    def _replaced(self, results: Results) -> list[bytes]:
        source, replace = results.records.source, self._decoded if self._columns.numeric else self._exchanged
        assert isinstance(source, Sequence)
        parse, found = example_class().FromString, zip(results.positions.tolist(), results.images, strict=True)
        return [_serialized(replace(parse(source[position]), image)) for position, image in found]

    def _exchanged(self, example: Any, image: Image) -> Any:
        feature, file = example.features.feature, _file(image)
        feature[self._columns.image].bytes_list.value[0] = file.data  # there is one, or the record had been rejected
        for name in self._beside:
            if name in feature and len(values := feature[name].bytes_list.value) == 1:
                values[0] = _format_name(values[0], file.suffix)
        return example

    def _decoded(self, example: Any, image: Image) -> Any:
        feature, name = example.features.feature, _ENCODED
        del feature[self._columns.image]
        while name in feature:
            name = f"other_{name}"
        feature[name].bytes_list.value.append(_file(image).data)
        return example

    def _made(self, results: Results) -> list[bytes]:
        keys, carried = results.records.key.to_pylist(), self._lists(results)
        made, new = [], example_class()
        for position, image in zip(results.positions.tolist(), results.images, strict=True):
            example, file = new(), _file(image)
            feature = example.features.feature
            feature[_ENCODED].bytes_list.value.append(file.data)
            feature[_FORMAT].bytes_list.value.append(_WORDS.get(file.suffix, file.suffix).encode())
            feature[_FILENAME].bytes_list.value.append(keys[position].encode())
            for name, (kind, values) in carried.items():
                if values[position] is not None:
                    getattr(feature[name], kind).value.extend(values[position])
            made.append(_serialized(example))
        return made

    def _lists(self, results: Results) -> dict[str, tuple[str, Sequence[Sequence[Any] | None]]]:
        carried = results.records.carried.items()
        return {f"source_{name}" if name in _OWN else name: lists(column) for name, column in carried}


class TFRecordWriter:
    """One shard."""

    def __init__(self, name: str, create: Callable[[], Sink]) -> None:
        self._name, self._create = name, create
        self._sink: Sink | None = None
        self._rows = 0

    def write(self, rendered: Rendered) -> None:
        """Append records."""
        self._opened().write(rendered.data)
        self._rows += rendered.rows

    def publish(self) -> tuple[Output, ...]:
        """Make the shard visible, also without records."""
        sink = self._opened()
        sink.finish()
        return (Output(name=self._name, size=sink.size, rows=self._rows, crc32c=sink.crc32c),)

    def abort(self) -> None:
        """Drop the shard."""
        if self._sink is not None:
            self._sink.abort()

    def _opened(self) -> Sink:
        if self._sink is None:
            self._sink = self._create()
        return self._sink


def _alike(shard: Shard, create: Create) -> Sink:
    """The sink of a shard that is written again, through gzip where it was gzip."""
    packed = is_gzip(shard)
    sink = create(shard.path)
    return GzipSink(sink) if packed else sink


def _beside(image: str) -> tuple[str, ...]:
    """Features that may name the format of the image in this one."""
    return (f"{image.rpartition('/')[0]}/format".lstrip("/"), f"{image}/format")


@lru_cache(maxsize=256)
def _format_name(value: bytes, suffix: str) -> bytes:
    """The name of the format of ``suffix`` in place of another one's, in capitals where that was; else ``value``."""
    had, has = value.lower(), _WORDS.get(suffix, suffix).encode()
    if had not in _FORMATS or _WORDS.get(had.decode(), had.decode()).encode() == has:
        return value
    return has.upper() if value.isupper() else has


def _file(image: Image) -> ImageFile:
    assert isinstance(image, ImageFile)
    return image


def _serialized(example: Any) -> bytes:
    data: bytes = example.SerializeToString(deterministic=True)
    return data
