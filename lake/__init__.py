"""Image datasets: from bytes in a store to batches of records, and back.

The package knows nothing of models or jobs. It has six parts:

- ``core``: errors, records, retries, counters and the other values that every part uses.
- ``storage``: where bytes live (local disk, Google Cloud Storage, Amazon S3).
- ``images``: image files to pixels and back.
- ``formats``: shards to records and back, one folder per shard format.
- ``inputs``: a dataset as a whole: its shards, its units of work, the columns that are read.
- ``cli``: the command-line options that are about inputs and stores.
"""

__version__ = "0.1.0"
