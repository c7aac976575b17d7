"""Quantisation of a model's functions to 8 bits, at export."""
