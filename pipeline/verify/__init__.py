"""Prove an output: every file against its manifest, every count against every other place that states it."""

from pipeline.verify.output import verify
from pipeline.verify.report import Problem, Report

__all__ = ["Problem", "Report", "verify"]
