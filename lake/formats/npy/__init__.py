"""Folders of ``.npy`` files with one image or vector each, one record per file."""
