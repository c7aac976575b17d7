"""The manifest: the receipts of all units of the committed state, in one file or in parts."""
