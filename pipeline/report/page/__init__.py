"""A report as a page of HTML."""

from pipeline.report.page.render import render

__all__ = ["render"]
