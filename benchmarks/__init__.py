"""Peers, limits and sections of the benchmark."""
