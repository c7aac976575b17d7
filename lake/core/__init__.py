"""What every other part uses: errors, records, retries, bounded parallel maps, counters, JSON with a checksum."""
