import json
from xml.etree import ElementTree

from model.training.loss_curve import svg, write_curve

_SVG = "{http://www.w3.org/2000/svg}"


def _points(line):
    return [tuple(map(float, point.split(","))) for point in line.get("points").split()]


def test_points_stand_where_they_belong():
    lines = {"training": [(1, 4.0), (2, 3.0), (4, 1.0)], "held out": [(2, 5.0), (3, 2.0)]}
    root = ElementTree.fromstring(svg(lines, "epoch", "loss <&>"))
    first, second = (_points(line) for line in root.iter(f"{_SVG}polyline"))
    left, right, low, high = 60, 720 - 60, 400 - 60, 60
    assert first[0] == (left, low + (high - low) * 3 / 4)
    assert first[-1] == (right, low)
    assert second[0] == (left + (right - left) / 3, high)
    texts = [text.text for text in root.iter(f"{_SVG}text")]
    assert {"training", "held out", "epoch", "loss <&>", "1", "4", "5"} <= set(texts)


def test_a_single_point_and_a_flat_line(tmp_path):
    assert _points(next(ElementTree.fromstring(svg({"a": [(3, 2.0)]}, "x", "y")).iter(f"{_SVG}polyline"))) == [
        (60, 340)
    ]
    write_curve(str(tmp_path), {"best": 1}, {"a": [(1, 2.0), (2, 2.0)]}, "x", "y")
    assert json.loads((tmp_path / "training.json").read_text()) == {"best": 1}
    (line,) = ElementTree.parse(tmp_path / "curve.svg").getroot().iter(f"{_SVG}polyline")
    assert _points(line) == [(60, 340), (660, 340)]
