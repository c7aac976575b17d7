"""A dataset as a whole: its shards, their units of work, the columns that are read, references and expected counts."""
