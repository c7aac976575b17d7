"""Pipelines in a notebook, where Beam puts the number of the cell before every label."""

import sys

import apache_beam as beam
from apache_beam.utils.interactive_utils import is_in_ipython


def allow_plain_labels() -> None:
    """Let labels stay as they are where Beam cannot change them.

    Beam's code for notebooks imports pandas, and fails without it and with version 3. It runs for every transform of a
    pipeline, also for those of the user, so it cannot be kept from it by a label. Outside of notebooks it would import
    IPython, wherever that is installed, and find that there is nothing to change.
    """
    if "IPython" not in sys.modules or (is_in_ipython() and not _labels_can_change()):
        beam.pipeline.alter_label_if_ipython = _leave_label


def _labels_can_change() -> bool:
    try:
        from apache_beam.runners.interactive.interactive_environment import current_env

        current_env()
    except Exception:  # whatever it is, Beam would meet it again
        return False
    return True


def _leave_label(transform: object, pvalueish: object) -> None:
    """In place of ``apache_beam.utils.interactive_utils.alter_label_if_ipython``."""
