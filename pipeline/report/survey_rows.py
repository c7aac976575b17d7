"""Rows of a survey: their names, their errors, and the parts of the output that they are of."""

import re

import numpy as np

from lake.core.records import Array
from pipeline.report.shown import RecordName
from pipeline.report.survey import Survey

_NAME = 200  # characters
_PARTITION = re.compile(r"(?:^|/)([^/=]+)=([^/]*)(?=/)")


def record_name(survey: Survey, row: int) -> RecordName:
    """What tells the record of a row, cut to what is shown.

    Args:
      survey: of the output.
      row: of the survey.
    """
    key, shard, index = (survey.identity.column(name)[row].as_py() for name in ("key", "shard", "index"))
    return RecordName(key=key[:_NAME], shard=shard[:_NAME], index=index)


def errors_of(survey: Survey) -> tuple[Array | None, str]:
    """The error of each row, float64 ``[n]``, None if there is none; and what it is.

    With clean images to compare with it is the error against those. Else it is the output against the input, which for
    a denoiser is what it took away.
    """
    if "psnr_reference" in survey.numbers:
        return 10 ** (-survey.numbers["psnr_reference"] / 10), "error against the reference (mse)"
    if "mse" not in survey.numbers:
        return None, ""
    return survey.numbers["mse"], "change (mse)" if "noise_level" in survey.numbers else "error (mse)"


def partitions_of(units: list[str]) -> tuple[str, list[str]]:
    """The partition of each unit: of the first name in the form ``name=value`` that has several values.

    Args:
      units: ids of units.

    Returns:
      Name of the partition, and the value of each unit as ``name=value``; "unit" and the units themselves where there
      is none.

    >>> partitions_of(["dt=1/x=1/a", "dt=1/x=2/b"])
    ('x', ['x=1', 'x=2'])
    >>> partitions_of(["a", "b"])
    ('unit', ['a', 'b'])
    """
    found = [dict(_PARTITION.findall(unit)) for unit in units]
    names = dict.fromkeys(name for one in found for name in one)
    for name in names:
        if all(name in one for one in found) and len({one[name] for one in found}) > 1:
            return name, [f"{name}={one[name]}" for one in found]
    return "unit", units


def number_matrix(survey: Survey) -> tuple[Array, Array, list[str]]:
    """What tells the sampled records apart: their latents, error, noise level and size.

    Args:
      survey: of the output.

    Returns:
      Rows of the survey int64 ``[m]``, numbers float64 ``[m, F]``, and the name of each column.
    """
    latents = survey.latents
    rows = survey.sampled if latents is None else latents.rows
    columns = {name: _finite(survey.numbers[name][rows]) for name in _TOLD if name in survey.numbers}
    own = np.stack([*columns.values()], axis=1) if columns else np.empty((len(rows), 0))
    if latents is None:
        return rows, own, list(columns)
    names = [f"latent[{number}]" for number in range(latents.values.shape[1])]
    return rows, np.concatenate([latents.values.astype(np.float64), own], axis=1), [*names, *columns]


def _finite(values: Array) -> Array:
    """Numbers with the mean in place of those that are not finite."""
    finite = np.isfinite(values)
    return np.where(finite, values, values[finite].mean() if finite.any() else 0.0)


_TOLD = ("mse", "noise_level", "psnr_reference", "height", "width")
