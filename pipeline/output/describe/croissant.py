"""The text of ``croissant.json``: an output in Croissant, the vocabulary of MLCommons for datasets.

Croissant 1.0 (https://docs.mlcommons.org/croissant/docs/croissant-spec.html): a part is a ``FileSet``, by patterns that
are relative to this file, and a table's columns are the fields of a ``RecordSet``. Files of a ``FileSet`` need no
SHA-256.
"""

import glob
import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import pyarrow as pa

from lake.core.printable import printable
from pipeline.output.describe.parts import OutputPart

_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    **{
        name: f"cr:{name}"
        for name in (
            *("citeAs", "column", "equivalentProperty", "extract", "field", "fileProperty", "fileObject", "fileSet"),
            *("format", "includes", "isLiveDataset", "jsonPath", "key", "md5", "parentField", "path", "recordSet"),
            *("references", "regex", "repeated", "replace", "samplingRate", "separator", "source", "subField"),
            "transform",
        )
    },
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "rai": "http://mlcommons.org/croissant/RAI/",
    "sc": "https://schema.org/",
}
_MAKER = {"@type": "Organization", "name": "latentlake"}  # a file that says so is one that runs write
_OURS = ("@context", "@type", "conformsTo", "sdPublisher", "description", "distribution", "recordSet")
_FORMATS = {  # media types by suffix
    ".parquet": "application/x-parquet",
    ".tar": "application/x-tar",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".webp": "image/webp",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
    ".json": "application/json",
    ".jsonl": "application/jsonlines",
    ".csv": "text/csv",
}
_TYPES = (
    (pa.types.is_boolean, "sc:Boolean"),
    (pa.types.is_integer, "sc:Integer"),
    (pa.types.is_float16, "cr:Float16"),
    (pa.types.is_float32, "cr:Float32"),
    (pa.types.is_float64, "cr:Float64"),
    (pa.types.is_string, "sc:Text"),
    (pa.types.is_large_string, "sc:Text"),
    (pa.types.is_date, "sc:Date"),
    (pa.types.is_timestamp, "sc:DateTime"),
)


def is_croissant(text: str) -> bool:
    """Whether a file is one that runs write: the publisher of its structured data is this project."""
    return _parsed(text).get("sdPublisher") == _MAKER


def croissant(
    before: str | None, parts: Sequence[OutputPart], summary: Mapping[str, Any], source: Sequence[str]
) -> str:
    """Return the text of the file.

    Args:
      before: the file that is there, whose other entries are kept; None for none.
      parts: what the output holds.
      summary: of the run, as ``_SUCCESS`` holds it. Equal states give equal files: nothing is used that only tells of
        the run.
      source: URIs of the input.
    """
    kept = {name: value for name, value in _parsed(before or "").items() if name not in _OURS}
    ours = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "sdPublisher": _MAKER,
        "name": printable(str(summary["output"]).rpartition("/")[2], 100),
        "description": _description(summary, source),
        "distribution": [_file_set(part) for part in parts],
        "recordSet": [_record_set(part, part.schema) for part in parts if part.schema is not None],
    }
    return json.dumps({**ours, **kept}, indent=2) + "\n"


def _parsed(text: str) -> dict[str, Any]:
    """The entries of a file; none of what is no object."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _description(summary: Mapping[str, Any], source: Sequence[str]) -> str:
    total = summary["total"]
    counts = f"{total['read']:,} records read, {total['results']:,} results, {total['rejects']:,} rejects"
    lacks = f" Not complete: {'; '.join(summary['refused'])}." if summary["refused"] else ""
    of = f" of {', '.join(source)}" if source else ""
    made = f"Made by latentlake {summary['verb']} {summary['version']} with the model {summary['model_digest']}"
    return printable(f"{made}{of}: {counts}.{lacks}")


def _file_set(part: OutputPart) -> dict[str, Any]:
    """The files of a part; of images in several formats, each has its patterns."""
    patterns = [f"{part.name}/{where}*{glob.escape(suffix)}" for suffix in part.suffixes for where in ("", "**/")]
    formats = {_FORMATS.get(suffix.lower(), "application/octet-stream") for suffix in part.suffixes}
    return {
        "@type": "cr:FileSet",
        "@id": f"{part.name}-files",
        "name": f"{part.name}-files",
        "description": f"{part.files:,} files, {part.size:,} bytes",
        "encodingFormat": sorted(formats),
        "includes": patterns,
    }


def _record_set(part: OutputPart, schema: pa.Schema) -> dict[str, Any]:
    fields = [(field.name, _data_type(field.type)) for field in schema]
    return {
        "@type": "cr:RecordSet",
        "@id": part.name,
        "name": part.name,
        "description": f"{part.rows:,} rows",
        "field": [_field(part.name, name, found) for name, found in fields if found is not None],
    }


def _field(part: str, name: str, data_type: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "@type": "cr:Field",
        "@id": f"{part}/{quote(name, safe='')}",
        "name": name,
        **data_type,
        "source": {"fileSet": {"@id": f"{part}-files"}, "extract": {"column": name}},
    }


def _data_type(kind: pa.DataType) -> dict[str, Any] | None:
    """The type of a column; None for one that Croissant has no name for, such as bytes and structs.

    >>> _data_type(pa.list_(pa.float32(), 128)), _data_type(pa.dictionary(pa.int32(), pa.string()))
    ({'dataType': 'cr:Float32', 'repeated': True}, {'dataType': 'sc:Text'})
    """
    if pa.types.is_dictionary(kind):
        return _data_type(kind.value_type)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        item = _data_type(kind.value_type)
        return None if item is None or "repeated" in item else {**item, "repeated": True}
    return next(({"dataType": name} for is_kind, name in _TYPES if is_kind(kind)), None)
