"""Folders of image files, one record per file."""
