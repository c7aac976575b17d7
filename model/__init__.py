"""Autoencoders: networks, bundles of trained ones, and the compiled functions that a worker calls."""
