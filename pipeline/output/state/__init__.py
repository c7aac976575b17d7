"""The files of an output's state, each read with a checksum and with a check of every value."""
