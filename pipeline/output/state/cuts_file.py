"""The file ``_cuts.json`` of an output: where giant shards are cut, so that a later run need not look again."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from lake.core import sealed_json
from lake.core.errors import VerifyError
from lake.formats.common.cuts import Cuts, Giant
from lake.storage import Guard, put, store_for
from pipeline.output.layout import Layout
from pipeline.output.state.state_file import read_state_file
from pipeline.output.state.state_values import Rule, check_fields, list_of, natural, relative, utf8


def _name(value: object) -> None:
    """Take the name of a file beside a shard, or none."""
    if value != "":
        relative(value)
        if "/" in str(value):
            raise ValueError(f"{value!r} is no name of a file")


_RULES: Mapping[str, Rule] = {
    "format": utf8,
    "path": utf8,
    "size": natural,
    "identity": utf8,
    "rows": list_of(natural),
    "offsets": list_of(natural),
    "index": _name,
    "index_identity": utf8,
}


def read_cuts(layout: Layout) -> dict[Giant, Cuts]:
    """Read the cuts of earlier runs; none if there are none.

    Args:
      layout: the output.

    Raises:
      VerifyError: the file is damaged; the text names it and the remedy.
    """
    if store_for(layout.cuts).stat(layout.cuts) is None:
        return {}
    value = read_state_file(layout.cuts, {"shards": list_of(lambda one: check_fields(one, _RULES, whole=True))})
    return dict(_known(one, layout.cuts) for one in value["shards"])


def _known(value: Mapping[str, Any], uri: str) -> tuple[Giant, Cuts]:
    rows, offsets = tuple[int, ...](value["rows"]), tuple[int, ...](value["offsets"])
    edges = (*offsets, value["size"])
    rising = all(low < high for ascending in (rows, edges) for low, high in pairwise(ascending))
    if rows and not (len(rows) == len(edges) and rising and rows[0] == offsets[0] == 0):
        raise VerifyError(f"{uri}: damaged (the slices of {value['path']!r}); remove it and run the job again")
    cuts = Cuts(rows=rows, offsets=offsets, index=value["index"], index_identity=value["index_identity"])
    return (value["format"], value["path"], value["size"], value["identity"]), cuts


def write_cuts(layout: Layout, cuts: Mapping[Giant, Cuts], guard: Guard) -> None:
    """Write the cuts of a run's input.

    Args:
      layout: the output.
      cuts: of each giant.
      guard: the right to write them.
    """
    shards = [
        {
            **dict(zip(("format", "path", "size", "identity"), name, strict=True)),
            "rows": one.rows,
            "offsets": one.offsets,
            "index": one.index,
            "index_identity": one.index_identity,
        }
        for name, one in sorted(cuts.items(), key=lambda item: item[0])
    ]
    put(layout.cuts, sealed_json.dumps({"shards": shards}), guard)
