"""The commit of a run: checks, manifest and ``_SUCCESS``, what is cleaned up, and what a dead run left."""
