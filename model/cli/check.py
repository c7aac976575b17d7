"""The command ``latentlake check``."""

from argparse import Namespace
from typing import Any


def run(options: Namespace) -> tuple[dict[str, Any], str]:
    """Check a bundle.

    Args:
      options: the parsed command line.

    Returns:
      The report as JSON values and as text.
    """
    from model.check import check_bundle

    report = check_bundle(options.bundle.rstrip("/"), allow_code=hasattr(options, "allow_code"))
    return report.to_value(), report.describe()
