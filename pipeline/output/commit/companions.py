"""Files that describe the images of an input's directory, written again beside the new images by the commit.

They name images that any number of units made, so only the commit knows the names, and which images there are.
"""

import posixpath
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import filterfalse

from lake.core import sealed_json
from lake.core.records import OutputFile, Shard, Unit
from lake.formats import FORMATS
from lake.formats.folder.metadata import NAMES, rewrite
from lake.formats.folder.metadata_table import Renamed
from lake.inputs.companions import sidecars_of
from lake.storage import Guard, put, store_for
from pipeline.output.layout import IMAGES, Layout
from pipeline.output.units.receipts import Receipt

_WRITTEN = (".png", ".jpg", ".webp", ".tif")  # extensions of new images whose format is not that of the old one


@dataclass(frozen=True, slots=True, kw_only=True)
class Companion:
    """A file that describes images.

    Attributes:
      uri: where it is.
      path: relative to the input root.
      unit: id of the unit whose receipt names its copy.
    """

    uri: str
    path: str
    unit: str


def with_companions(units: Iterable[Unit], companions: Sequence[Shard]) -> list[Unit]:
    """Give each description to the first unit of its directory, or below it, and each sidecar to its image's unit.

    Where one changes, that unit is done again.

    Args:
      units: all units of the output.
      companions: of the input.
    """
    units = list(units)
    if not companions:
        return units
    first = _first_units(unit for unit in units if FORMATS[unit.format].reader.companions)
    owned: dict[str, list[Shard]] = {}
    for companion in filter(_is_description, companions):
        if (owner := first.get(companion.path.rpartition("/")[0])) is not None:
            owned.setdefault(owner, []).append(companion)
    shards = (unit.shards if FORMATS[unit.format].reader.sidecars else () for unit in units)
    sidecars = sidecars_of(shards, filterfalse(_is_description, companions))
    pairs = zip(units, sidecars, strict=True)
    return [replace(unit, companions=(*owned.get(unit.id, ()), *found)) for unit, found in pairs]


def _is_description(companion: Shard) -> bool:
    return companion.path.rpartition("/")[2] in NAMES


def is_copy(output: OutputFile, unit: str) -> bool:
    """Whether an output is the copy of a description, and no shard of that name.

    Args:
      output: one of a receipt.
      unit: id of the receipt's unit, after which the output of a shard is named.
    """
    stem, _, name = output.name.rpartition("/")
    return name in NAMES and f"{stem}/{name.rpartition('.')[0]}" != f"{IMAGES}/{unit}"


def lists_any(units: Iterable[Unit]) -> bool:
    """Whether the commit has something to copy."""
    return any(_is_description(one) for unit in units for one in unit.companions)


def _first_units(units: Iterable[Unit]) -> dict[str, str]:
    """The id of the first unit of each directory or below it."""
    first: dict[str, str] = {}
    for unit in units:
        directory = unit.id
        while directory:
            directory = directory.rpartition("/")[0]
            first[directory] = min(first.get(directory, unit.id), unit.id)
    return first


def write_list(uri: str, units: Iterable[Unit], guard: Guard | None = None) -> None:
    """Write the list of companions for the commit.

    Args:
      uri: of the list.
      units: all units of the output.
      guard: the right to write it.
    """
    found = [
        Companion(uri=one.uri, path=one.path, unit=unit.id)
        for unit in units
        for one in unit.companions
        if _is_description(one)
    ]
    put(uri, sealed_json.dumps({"companions": [asdict(one) for one in found]}), guard)


def copy_companions(
    layout: Layout,
    listed: str,
    state: Mapping[str, Receipt],
    before: Mapping[str, Receipt],
    guard: Guard | None = None,
) -> dict[str, Receipt]:
    """Write the companions with the names of the images that there are.

    If the list is gone, an earlier attempt of this commit has written them and cleaned it up.

    Args:
      layout: the output.
      listed: URI of the list; "" for none.
      state: receipts of all units that the output is about to have.
      before: receipts of the committed state.
      guard: the right to write them.

    Returns:
      The receipts, with the copies among the outputs of their units.

    Raises:
      OSError: a companion cannot be read, or its copy not be written.
    """
    new = dict(state)
    if not listed:
        return new
    if store_for(listed).stat(listed) is None:
        copies = {unit: _copies(receipt) for unit, receipt in before.items() if unit in state}
        return new | {unit: _with(state[unit], *found) for unit, found in copies.items()}
    with store_for(listed).open(listed) as file:
        companions = [Companion(**one) for one in sealed_json.loads(file.read(), listed)["companions"]]
    images = _images(state.values())
    for companion in companions:
        if (receipt := new.get(companion.unit)) is not None:
            new[receipt.unit] = _with(receipt, _copy(layout, companion, images, guard))
    return new


def _copies(receipt: Receipt) -> list[OutputFile]:
    return [output for output in receipt.outputs if is_copy(output, receipt.unit)]


def _with(receipt: Receipt, *copies: OutputFile) -> Receipt:
    """The receipt with these among its outputs."""
    outputs = {output.name: output for output in (*receipt.outputs, *copies)}
    return replace(receipt, outputs=tuple(sorted(outputs.values(), key=lambda output: output.name)))


def _copy(layout: Layout, companion: Companion, images: frozenset[str], guard: Guard | None) -> OutputFile:
    directory, _, base = companion.path.rpartition("/")
    name = f"{IMAGES}/{companion.path}"
    with (
        store_for(companion.uri).open(companion.uri) as source,
        store_for(layout.output).create(layout.at(name), guard) as sink,
    ):
        for line in rewrite(base, source, _renamed(directory, images)):
            sink.write(line)
    return OutputFile(name=name, size=sink.size, rows=0, crc32c=sink.crc32c)


def _renamed(directory: str, images: frozenset[str]) -> Renamed:
    """The names of images, relative to a directory."""

    def new_name(name: str) -> str | None:
        path = posixpath.normpath(posixpath.join(directory, name))
        bare = path.rpartition(".")[0] or path
        found = next((one for one in (path, *(bare + suffix for suffix in _WRITTEN)) if one in images), None)
        if found is None or found == path:
            return name if found else None
        return name.rpartition(".")[0] + found[len(bare) :]

    return new_name


def _images(receipts: Iterable[Receipt]) -> frozenset[str]:
    """Paths of the images of all units."""
    names = (output.name.partition("/") for receipt in receipts for output in receipt.outputs)
    return frozenset(path for directory, _, path in names if directory == IMAGES)
