"""Latents of tables that are there already, found by the content of their records."""
