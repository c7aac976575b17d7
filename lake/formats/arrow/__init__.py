"""Arrow IPC: images or vectors in a column, one record per row, in streams or files of record batches."""
