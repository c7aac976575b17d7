"""What a run leaves in its output: layout, lease, plan, receipts, manifest, tables, commit."""
