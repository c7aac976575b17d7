"""MosaicML's MDS: shards of samples with an index, for its ``StreamingDataset``."""
