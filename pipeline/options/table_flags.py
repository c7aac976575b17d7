"""The command-line flags of tables of a lake's catalog."""

from lake.cli.option import Option
from pipeline.tables import TABLE_KINDS

LAKE_TABLE = (
    Option(
        flag="--table",
        group="output",
        field="table",
        choices=tuple(TABLE_KINDS),
        help="also publish the latents as a table of Iceberg or DuckLake, without copies of files, or copy them to a "
        "Lance dataset; one version for each run, and later runs go on with it",
    ),
    Option(
        flag="--catalog",
        group="output",
        field="catalog",
        metavar="NAME|PATH",
        help="with --table: a catalog of pyiceberg's configuration, for ducklake a secret of DuckDB, or a SQLite file "
        "(default: one within the output)",
    ),
    Option(
        flag="--table-name",
        group="output",
        field="table_name",
        metavar="NAMESPACE.NAME",
        help="with --table: name of the table (default: latentlake.latents, in the catalog within the output)",
    ),
)
