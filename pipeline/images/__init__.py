"""Bytes to pixels: what an image is by its header, decoding in bulk and one by one, and geometry."""
