"""The dataset card of an output: ``README.md`` as the Hugging Face Hub and ``datasets.load_dataset`` read it.

A card has two readers. Its YAML header tells ``datasets`` which files are data, which it cannot guess: an output also
holds rejects, a model and state. Its text tells people what the data are, and what made them. Both belong to the user
as well, who alone knows a license. So a run replaces three entries of the header and the text between two marks, and
keeps the rest. A page without the marks is not the job's.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lake.core.printable import printable
from lake.core.quantities import counted
from pipeline.output.describe.features import features_of
from pipeline.output.describe.parts import OutputPart
from pipeline.output.describe.yaml_text import to_yaml
from pipeline.output.layout import IMAGES, LATENTS, MAPS, METRICS, REJECTS

MARK_BEGIN = "<!-- latentlake: every run writes this part of the page anew -->"
MARK_END = "<!-- latentlake: from here on the page is yours -->"

_HEADER = re.compile(r"\A---\n(.*?)^---\n", re.DOTALL | re.MULTILINE)
_ENTRY = re.compile(r"^(?=[^\s#-])", re.MULTILINE)  # where an entry of the header begins
_OURS = ("configs", "dataset_info", "size_categories")  # entries of the header
_YOURS = "# Add license, pretty_name, tags and what else you know: runs keep it.\n"
_ORDER = (LATENTS, IMAGES, METRICS, MAPS, REJECTS)  # the first that there is, is what the output is made for
_IMAGE_FILES = frozenset((".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".gif"))
_BUILDERS = {".parquet": "parquet", ".arrow": "arrow", ".tar": "webdataset"}  # of datasets, by suffix
_SIZES = (  # as the Hub names them
    *("n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M", "10M<n<100M", "100M<n<1B", "1B<n<10B"),
    *("10B<n<100B", "100B<n<1T", "n>1T"),
)
_FEWEST = 1_000  # rows of the second size; each further one begins at ten times as many


def is_card(text: str) -> bool:
    """Whether a page has the marks between which a run writes."""
    page = _split(text)[1]
    return -1 < page.find(MARK_BEGIN) < page.find(MARK_END)


def card(before: str | None, parts: Sequence[OutputPart], summary: Mapping[str, Any], source: Sequence[str]) -> str:
    """Return the text of a card.

    Args:
      before: the card that is there; None for none.
      parts: what the output holds.
      summary: of the run, as ``_SUCCESS`` holds it. Equal states give equal cards: nothing is used that only tells of
        the run.
      source: URIs of the input.
    """
    ordered = sorted(parts, key=lambda part: _ORDER.index(part.name))
    configs = _loadable(ordered)
    body = f"{MARK_BEGIN}\n{''.join(_body(ordered, configs, summary, source))}{MARK_END}"
    header, page = (
        _split(before) if before is not None else (_YOURS, f"\n# {_title(summary)}\n\n{MARK_BEGIN}{MARK_END}\n")
    )
    start, stop = page.index(MARK_BEGIN), page.index(MARK_END) + len(MARK_END)
    return f"---\n{_yours(header)}{to_yaml(_entries(ordered, configs))}---\n{page[:start]}{body}{page[stop:]}"


def _split(text: str) -> tuple[str, str]:
    """The header of a page, and the rest."""
    text = text.replace("\r\n", "\n")
    found = _HEADER.match(text)
    return (found[1], text[found.end() :]) if found else ("", f"\n{text}")


def _yours(header: str) -> str:
    """The header without the entries that runs write."""
    return "".join(_kept(entry) for entry in _ENTRY.split(header))


def _kept(entry: str) -> str:
    """What stays of an entry: of those that runs write the comments."""
    ours = entry.partition(":")[0].strip() in _OURS
    return "".join(line for line in entry.splitlines(True) if not ours or line.startswith("#"))


def _title(summary: Mapping[str, Any]) -> str:
    return _text(printable(str(summary["output"]).rpartition("/")[2], 100))


def _loadable(parts: Sequence[OutputPart]) -> list[OutputPart]:
    """The parts that ``datasets`` can load, the main one first. It takes one builder for all configs of a dataset."""
    first = next((builder for part in parts if (builder := _builder(part))), None)
    return [part for part in parts if first is not None and _builder(part) == first]


def _builder(part: OutputPart) -> str | None:
    if part.name in (IMAGES, MAPS) and _IMAGE_FILES & {suffix.lower() for suffix in part.suffixes}:
        return "imagefolder"
    return _BUILDERS.get(part.suffixes[0].lower()) if len(part.suffixes) == 1 else None


def _entries(parts: Sequence[OutputPart], configs: Sequence[OutputPart]) -> dict[str, Any]:
    listed = [
        {"config_name": part.name, "data_files": part.glob, **({"default": True} if at == 0 else {})}
        for at, part in enumerate(configs)
    ]
    found = ((part.name, None if part.schema is None else features_of(part.schema)) for part in configs)
    infos = [{"config_name": name, "features": features} for name, features in found if features is not None]
    return {
        **({"size_categories": [_size(parts[0].rows)]} if parts else {}),
        **({"configs": listed} if listed else {}),
        **({"dataset_info": infos} if infos else {}),
    }


def _size(rows: int) -> str:
    """How many rows there are, as a word of the Hub.

    >>> _size(999), _size(1_000), _size(60_000), _size(10**15)
    ('n<1K', '1K<n<10K', '10K<n<100K', 'n>1T')
    """
    return _SIZES[min(len(str(rows // _FEWEST)) if rows >= _FEWEST else 0, len(_SIZES) - 1)]


def _body(
    parts: Sequence[OutputPart], configs: Sequence[OutputPart], summary: Mapping[str, Any], source: Sequence[str]
) -> Iterator[str]:
    total = summary["total"]
    yield (
        f"Made by `latentlake {summary['verb']}` of [latentlake](https://github.com/latentlake/latentlake) "
        f"{summary['version']}: {counted(total['read'], 'record')} read, {counted(total['results'], 'result')}, "
        f"{counted(total['rejects'], 'reject')}.\n\n"
    )
    if summary["refused"]:
        yield f"**Not complete**: {_text('; '.join(summary['refused']))}.\n\n"
    yield from _table(("part", "files", "rows", "bytes", ""), _part_rows(parts))
    if configs:
        yield "\n```python\nfrom datasets import load_dataset\n\n"
        yield "".join(f'{part.name} = load_dataset(path, "{part.name}", split="train")\n' for part in configs)
        yield "```\n"
    yield "\n## How it was made\n\n"
    yield from _table(("", ""), _provenance(summary, source))
    # No text of others ends the block, or the part: every line begins with a brace, a bracket, a quote or a blank.
    options = json.dumps(summary["options"], indent=2).replace("<", "\\u003c")
    yield f"\n```json\n{options}\n```\n\n"


def _part_rows(parts: Sequence[OutputPart]) -> Iterator[tuple[str, ...]]:
    for part in parts:
        kinds = ", ".join(f"`{suffix}`" if suffix[1:].isalnum() else _code(suffix) for suffix in part.suffixes)
        yield f"`{part.name}/`", f"{part.files:,}", f"{part.rows:,}", f"{part.size:,}", kinds


def _provenance(summary: Mapping[str, Any], source: Sequence[str]) -> Iterator[tuple[str, ...]]:
    yield "model", f"`_model/{summary['model_digest']}/`, named after the SHA-256 of its `model.json`"
    if summary["latent_layer"]:
        yield "latent layer", _code(summary["latent_layer"])
    if source:
        yield "source", ", ".join(map(_code, source))
    for reason, count in sorted(summary["total"]["reasons"].items()):
        yield f"rejects: {reason}", f"{count:,}"
    yield "files, sizes and checksums", f"`_manifest.parquet`, CRC-32C `{summary['manifest']['crc32c']}`"


def _table(head: Sequence[str], rows: Iterator[tuple[str, ...]]) -> Iterator[str]:
    for cells in (head, ["---"] * len(head), *rows):
        yield f"| {' | '.join(cells)} |\n"


def _code(text: str) -> str:
    """A text of others as code: whatever it holds, no structure of Markdown or HTML comes of it."""
    return f"<code>{_text(printable(text))}</code>"


def _text(text: str) -> str:
    """A text of others as text.

    >>> _text("a*b|<c> 50%")
    'a&#42;b&#124;&#60;c&#62; 50%'
    """
    return "".join(c if c.isalnum() or c in " ./:,;=%()+-" else f"&#{ord(c)};" for c in text)
