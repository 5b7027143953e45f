import re
import xml.etree.ElementTree as ET
from itertools import pairwise

import numpy as np
import pytest

from lstn.interval import Interval
from lstn.report.charts import HEIGHT, Point, bars, dots, histogram, lines, scatter

STN = Point(80, Interval(3.0, 2.8, 3.3), "stn", "STN")
LSTN = Point(20, Interval(2.0, 1.9, 2.1), "lstn", "L-STN & <co>")


def elements(svg: str, tag: str) -> list[dict[str, str]]:
    return [element.attrib for element in ET.fromstring(svg).iter(tag)]


def test_a_scatter_is_to_scale() -> None:
    svg = scatter([STN, LSTN], x_title="M MAC", y_title="ms", along=STN)
    base = float(re.findall(r'class="axis" d="M[0-9.]+ ([0-9.]+)H', svg)[0])
    left = float(re.findall(r'class="axis" d="M([0-9.]+) ', svg)[0])
    (stn, lstn) = elements(svg, "circle")
    assert (float(lstn["cx"]) - left) / (float(stn["cx"]) - left) == pytest.approx(20 / 80, abs=0.002)
    assert (base - float(lstn["cy"])) / (base - float(stn["cy"])) == pytest.approx(2 / 3, abs=0.002)
    x0, y0, x1, y1 = map(float, re.findall(r'class="guide" d="M(\S+) (\S+)L(\S+) (\S+)"', svg)[0])
    slope = (base - float(stn["cy"])) / (float(stn["cx"]) - left)
    assert (x0, y0) == (pytest.approx(left, abs=0.1), pytest.approx(base, abs=0.1))
    assert (y0 - y1) / (x1 - x0) == pytest.approx(slope, abs=0.01)


def test_labels_are_text_and_not_markup() -> None:
    svg = scatter([STN, LSTN], x_title="M MAC", y_title="ms")
    assert "L-STN & <co>" in [element.text for element in ET.fromstring(svg).iter("text")]
    assert ET.fromstring(svg).attrib["aria-label"].startswith("ms against M MAC. STN: 80, 3.00 (2.80 to 3.30)")


def test_bars_add_up() -> None:
    rows = {"STN": [("localizer", "localizer", 2.0), ("grid", "grid", 0.5), ("sampler", "sampler", 1.0)]}
    svg = bars(rows, {"STN": Interval(3.5, 3.4, 3.6)}, x_title="ms")
    drawn = [each for each in elements(svg, "rect") if float(each["y"]) < HEIGHT - 40]
    widths = [float(each["width"]) for each in drawn]
    assert widths[0] / widths[1] == pytest.approx(4, rel=0.01)
    end = float(drawn[-1]["x"]) + widths[-1]
    mark = float(re.findall(r'class="whole" d="M([0-9.]+) ', svg)[0])
    assert mark == pytest.approx(end, abs=0.2)


def test_labels_of_equal_lines_do_not_cover_each_other() -> None:
    series = {
        name: [Point(batch, Interval(20, 19, 21), "none", name) for batch in (1, 8)] for name in ("a", "b", "c", "d")
    }
    svg = lines(series, x_title="images", y_title="ms")
    heights = sorted(float(each["y"]) for each in elements(svg, "text") if each["class"].startswith("label"))
    assert all(lower - upper >= 13.9 for upper, lower in pairwise(heights))
    assert heights[-1] < HEIGHT


@pytest.mark.parametrize("height", [0.0, 2.0, 4.0])
def test_labels_of_equal_points_do_not_cover_each_other(height: float) -> None:
    points = [Point(x, Interval(height, height, 4.0), "stn", f"name {x}") for x in (1.0, 1.01, 1.02, 3.0)]
    svg = scatter(points, x_title="ms", y_title="error %")
    labels = [each for each in elements(svg, "text") if each["class"].startswith("label")]
    near = sorted(float(each["y"]) for each in labels[:3])
    assert all(lower - upper >= 13.9 for upper, lower in pairwise(near))
    assert all(0 < float(each["y"]) < HEIGHT - 30 for each in labels)
    assert float(labels[3]["y"]) == pytest.approx(float(elements(svg, "circle")[3]["cy"]) + 4, abs=0.2)


def test_points_far_from_zero_have_an_axis_of_their_own() -> None:
    """Two pictures of one axis, for which `beside` has the other's points; with a guide it begins at 0."""
    points = [Point(x, Interval(1.0, 1.0, 1.0), "stn", "STN") for x in (50.0, 52.0)]
    far, shared, whole = (
        [float(each["cx"]) for each in elements(svg, "circle")]
        for svg in (
            scatter(points, x_title="ms", y_title="%"),
            scatter(points[1:], x_title="ms", y_title="%", beside=[50.0, 52.0]),
            scatter(points, x_title="ms", y_title="%", along=points[0]),
        )
    )
    assert far[1] - far[0] > 100
    assert shared == far[1:]
    assert whole[1] - whole[0] < 15


@pytest.mark.parametrize("figure", ["scatter", "lines", "bars", "dots", "histogram"])
def test_nothing_but_zeros_lies_on_the_axis(figure: str) -> None:
    """A model without errors is no reason for a page less."""
    none = Interval(0.0, 0.0, 0.0)
    point = Point(0, none, "stn", "STN")
    svg = {
        "scatter": lambda: scatter([point], x_title="M MAC", y_title="ms"),
        "lines": lambda: lines({"stn": [point]}, x_title="epoch", y_title="error %"),
        "bars": lambda: bars({"STN": [("grid", "grid", 0.0)]}, {"STN": none}, x_title="ms"),
        "dots": lambda: dots({"stn": ("stn", [0.0, 0.0], none)}, x_title="error %"),
        "histogram": lambda: histogram(np.zeros(3), 0.0, style="measured", x_title="px", mark_name="p99"),
    }[figure]()
    left, base = map(float, re.findall(r'class="axis" d="M([0-9.]+) ([0-9.]+)H', svg)[0])
    marks = elements(svg, "circle")
    if figure in ("scatter", "lines"):
        assert [float(each["cy"]) for each in marks] == [pytest.approx(base, abs=0.1)]
    if figure == "dots":
        assert [float(each["cx"]) for each in marks] == [pytest.approx(left, abs=0.1)] * 2
    if figure == "bars":
        assert [float(each["width"]) for each in elements(svg, "rect") if float(each["y"]) < HEIGHT - 64] == [0.0]
    assert "nan" not in svg
    assert "inf" not in svg


def test_a_histogram_is_to_scale() -> None:
    values = np.array([0.1] * 6 + [0.5] * 3 + [2.99, 3.0])
    svg = histogram(values, 1.5, style="measured", x_title="px", mark_name="p99")
    left, base = map(float, re.findall(r'class="axis" d="M([0-9.]+) ([0-9.]+)H', svg)[0])
    drawn = elements(svg, "rect")
    heights = [float(each["height"]) for each in drawn]
    assert [height / heights[0] for height in heights] == [pytest.approx(share, abs=0.01) for share in (1, 0.5, 1 / 3)]
    assert [float(each["y"]) + height for each, height in zip(drawn, heights, strict=True)] == [
        pytest.approx(base, abs=0.1)
    ] * 3
    one_px = (float(drawn[-1]["x"]) - left) / 2.9  # bins of 0.1: the last begins at 2.9
    assert float(drawn[1]["x"]) == pytest.approx(left + 0.5 * one_px, abs=0.2)
    mark = float(re.findall(r'class="whole" d="M([0-9.]+) ', svg)[0])
    assert mark == pytest.approx(left + 1.5 * one_px, abs=0.2)
    assert "11 images, from 0.1 to 3; p99 1.5" in ET.fromstring(svg).attrib["aria-label"]
