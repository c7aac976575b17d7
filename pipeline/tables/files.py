"""What tables that take the files of an output know of these: paths, columns, and values of their directories."""

from collections.abc import Iterable
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq

from lake.core.records import OutputFile
from lake.formats.common.hive import NULL, Partition
from lake.formats.common.parquet_file import parse_footer, read_footer
from lake.storage import join, store_for
from lake.storage.location import is_local, local_path


def place(output: str) -> str:
    """What the paths of an output's files begin with in a table: an absolute path, or a URI of a store.

    >>> place("s3://lake/out")
    's3://lake/out/'
    """
    return f"{local_path(output).absolute()}/" if is_local(output) else f"{output}/"


def filled(files: Iterable[OutputFile]) -> list[OutputFile]:
    """The files that have rows."""
    return [file for file in files if file.rows]


def footer_of(output: str, name: str) -> pq.FileMetaData:
    """Read the footer of a data file.

    Args:
      output: URI of the output.
      name: of the file, relative to it.
    """
    uri = join(output, name)
    with store_for(uri).open(uri, sparse=True) as stream:
        return parse_footer(read_footer(stream))


def schema_of_file(output: str, file: OutputFile) -> pa.Schema:
    """Read the columns of a data file, with the one whose value its directory says, of the type that it had."""
    footer = footer_of(output, file.name)
    schema, partition = footer.schema.to_arrow_schema().remove_metadata(), Partition.of(footer.metadata)
    return schema if partition is None else schema.append(partition.field)


def directory_values(name: str) -> dict[str, str | None]:
    """The values that the directories of a file say, as Hive writes them.

    Args:
      name: of a data file, relative to the output.

    >>> directory_values("latents/dt=2026-11-28/site=a%20b/x.parquet")
    {'dt': '2026-11-28', 'site': 'a b'}
    """
    pairs = (part.partition("=") for part in name.split("/")[1:-1])
    return {key: None if value == NULL else unquote(value) for key, equals, value in pairs if key and equals}


def directory_keys(names: Iterable[str]) -> list[str]:
    """The names of the partitions of some files, in the order in which they appear."""
    return list(dict.fromkeys(key for name in names for key in directory_values(name)))
