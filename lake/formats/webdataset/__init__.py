"""WebDataset: tar shards whose members are grouped into samples by name."""
