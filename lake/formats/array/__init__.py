"""Arrays: ``.npy``, ``.npz`` and IDX, one record per row."""
