"""Look at an output: its committed tables, neighbours, outliers, duplicates and drift. Nothing here runs on Beam."""
