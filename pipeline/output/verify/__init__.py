"""Verify an output: compare every file with the manifest, and every count with every other place that states it."""

from pipeline.output.verify.report import Problem, VerifyReport
from pipeline.output.verify.verify import verify

__all__ = ["Problem", "VerifyReport", "verify"]
