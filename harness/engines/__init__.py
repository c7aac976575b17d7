"""Clusters of Beam's runners as processes of this machine, and jobs that run on them."""
