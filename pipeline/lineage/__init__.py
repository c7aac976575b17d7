"""Lineage: what a run tells an OpenLineage server, such as Marquez or DataHub, of its input and output."""
