"""Command-line options as a table, and those about inputs and stores, which both command lines share."""
