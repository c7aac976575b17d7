"""The loss curve of a training, as JSON and as a plot."""

import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import TypeAlias

from lake.storage import join, put
from model.spec import Json

VALUES = "training.json"
PLOT = "curve.svg"
Points: TypeAlias = Sequence[tuple[float, float]]

_WIDTH, _HEIGHT, _MARGIN = 720, 400, 60  # pixels
_COLORS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd")


def write_curve(output: str, values: Json, lines: Mapping[str, Points], across: str, up: str) -> None:
    """Write ``training.json`` and ``curve.svg`` beside a bundle.

    Args:
      output: URI of the bundle's directory.
      values: content of ``training.json``.
      lines: name -> points (x, y) of each line of the plot.
      across: label of the x axis.
      up: label of the y axis.
    """
    put(join(output, VALUES), json.dumps(values, indent=2).encode() + b"\n")
    put(join(output, PLOT), svg(lines, across, up).encode())


def svg(lines: Mapping[str, Points], across: str, up: str) -> str:
    """Draw lines as an SVG document, with a legend and the range of both axes.

    Args:
      lines: name -> points (x, y).
      across: label of the x axis.
      up: label of the y axis.

    >>> "<polyline" in svg({"training": [(1, 0.5), (2, 0.25)]}, "epoch", "loss")
    True
    """
    # Written by hand: a plotting library would be one more dependency, for four lines.
    xs, ys = ([point[axis] for points in lines.values() for point in points] for axis in (0, 1))
    left, right, low, high = min(xs), max(xs), min(ys), max(ys)

    def place(x: float, y: float) -> str:
        inner_x = (x - left) / ((right - left) or 1) * (_WIDTH - 2 * _MARGIN)
        inner_y = (y - low) / ((high - low) or 1) * (_HEIGHT - 2 * _MARGIN)
        return f"{_MARGIN + inner_x:.1f},{_HEIGHT - _MARGIN - inner_y:.1f}"

    bottom = _HEIGHT - _MARGIN
    parts = [
        f'<rect x="0" y="0" width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        f'<path d="M{_MARGIN},{_MARGIN}V{bottom}H{_WIDTH - _MARGIN}" fill="none" stroke="#888"/>',
        _text(_MARGIN, bottom + 18, f"{left:g}"),
        _text(_WIDTH - _MARGIN, bottom + 18, f"{right:g}"),
        _text(_WIDTH // 2, bottom + 34, across),
        _text(_MARGIN // 2, bottom, f"{low:.4g}"),
        _text(_MARGIN // 2, _MARGIN, f"{high:.4g}"),
        _text(_WIDTH // 2, _MARGIN - 40, up),
    ]
    for number, (name, points) in enumerate(lines.items()):
        color = _COLORS[number % len(_COLORS)]
        path = " ".join(place(x, y) for x, y in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="1.5"/>')
        parts.append(_text(_MARGIN + 80 + 150 * number, _MARGIN - 16, name, color))
    size = f'width="{_WIDTH}" height="{_HEIGHT}" viewBox="0 0 {_WIDTH} {_HEIGHT}"'
    return "\n".join([f'<svg xmlns="http://www.w3.org/2000/svg" {size}>', *parts, "</svg>", ""])


def _text(x: float, y: float, text: str, color: str = "#333") -> str:
    font = 'font-family="sans-serif" font-size="12" text-anchor="middle"'
    return f'<text x="{x}" y="{y}" fill="{color}" {font}>{escape(text)}</text>'
