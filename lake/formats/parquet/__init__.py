"""Parquet: images or vectors in a column, one record per row."""
