"""CSV of numbers: pixels or vectors, one record per line."""
