"""The file ``_table.json`` of an output: the table that it is published to, and the snapshot that has its files.

The snapshot says the same of the output, so that each proves the other.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from lake.core import sealed_json
from lake.storage import Guard, put, store_for
from pipeline.output.layout import Layout
from pipeline.output.state.state_file import read_state_file
from pipeline.output.state.state_values import Rule, data_name, list_of, natural, one_of, utf8
from pipeline.tables import TABLE_KINDS
from pipeline.tables.table import TableSpec

_RULES: Mapping[str, Rule] = {
    "kind": one_of(TABLE_KINDS),
    "catalog": utf8,
    "name": utf8,
    "snapshot": utf8,
    "digest": utf8,
    "files": natural,
    "superseded": list_of(data_name),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TableRecord:
    """What an output says of its table. The field names are those of the file.

    Attributes:
      kind: as of ``TableSpec``.
      catalog: likewise. It holds no credentials: these are in the catalog's own configuration.
      name: likewise.
      snapshot: id of the last snapshot that was published; "" before the first.
      digest: of the files of the output that it has.
      files: how many these are.
      superseded: names of data files that the manifest does not have any more, and a snapshot may have.
    """

    kind: str
    catalog: str
    name: str
    snapshot: str = ""
    digest: str = ""
    files: int = 0
    superseded: tuple[str, ...] = ()

    @property
    def spec(self) -> TableSpec:
        """Which table it is."""
        return TableSpec(kind=self.kind, catalog=self.catalog, name=self.name)


def read_table_record(layout: Layout) -> TableRecord | None:
    """Read what an output says of its table; None if it has none.

    Raises:
      VerifyError: the file is damaged.
    """
    if store_for(layout.output).stat(layout.table) is None:
        return None
    value = read_state_file(layout.table, _RULES)
    return TableRecord(**{**{name: value[name] for name in _RULES}, "superseded": tuple(value["superseded"])})


def write_table_record(layout: Layout, record: TableRecord, guard: Guard) -> None:
    """Write what an output says of its table."""
    put(layout.table, sealed_json.dumps(asdict(record)), guard.strict)
