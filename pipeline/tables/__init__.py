"""Tables of a lake's catalog that have the rows of an output: one snapshot for each commit, of the files there are.

One module for each format, and one line of ``TABLE_KINDS``. What a format must do is in ``pipeline.tables.table``; the
commit knows ``pipeline.tables.publishing`` alone.
"""

# By name. A module is imported when the first output with such a table appears.
TABLE_KINDS = {
    "iceberg": ("pipeline.tables.iceberg", "IcebergTable"),
    "ducklake": ("pipeline.tables.ducklake", "DuckLakeTable"),
    "lance": ("pipeline.tables.lance", "LanceTable"),
}
