"""What several shard formats share: byte streams, headers, tables, text and error handling."""
