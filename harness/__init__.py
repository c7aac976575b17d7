"""Real servers and engines, started on this machine: what tests and benchmarks share. Not part of the package.

``servers/`` has object stores (fake-gcs-server, MinIO) and a proxy that injects faults into what goes to them;
``engines/`` has clusters of Flink and Spark, Beam's worker pools, and jobs that run there.
"""
