"""The page of a report: it stands alone, shows what was measured, and no name can break it."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree

import pytest

from sdar_agents.cli import main
from sdar_agents.skill_page import page
from sdar_agents.svg_plots import Estimate, curve_plot, interval_plot, learning_plot, matrix_plot

HOSTILE = '"><script>alert(1)</script>&amp;'


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("page")
    arguments = ["skills", "eval", "--embedder", "hashing", "--episodes", "18", "--foreign", "4", "--k", "1", "3"]
    arguments += ["--retriever", "dense,uniform", "--ablate", "fields", "--distractors", "10", "--html"]
    main([*arguments, str(folder / "page.html"), "--json", str(folder / "report.json")])
    read: dict[str, Any] = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    assert (folder / "page.html").read_text(encoding="utf-8") == page(read)
    return read


class Tags(HTMLParser):
    """Collects tags and attributes, and sees that what is opened is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def tags_of(html: str) -> Tags:
    tags = Tags()
    tags.feed(html)
    assert tags.open == []
    return tags


def svgs(html: str) -> list[ElementTree.Element]:
    return [ElementTree.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", html, re.DOTALL)]


def test_the_page_stands_alone(report: dict[str, Any]) -> None:
    tags = tags_of(page(report))
    assert not {"script", "link", "img", "iframe", "object", "form", "a"} & {tag for tag, _ in tags.seen}
    assert not any({"src", "href", "onload", "onclick"} & attributes.keys() for _, attributes in tags.seen)
    assert "url(" not in page(report)
    assert "@import" not in page(report)


def test_the_page_shows_every_measure_and_where_it_comes_from(report: dict[str, Any]) -> None:
    html = page(report)
    for name, result in report["retrievers"].items():
        assert f"<th>{name}</th>" in html
        for metric, value in result["metrics"].items():
            assert f"<td>{metric}</td>" in html
            if not metric.startswith("tokens"):
                low, high = value["interval"]
                assert f"<td>{value['mean']:.3f} [{low:.2f}, {high:.2f}]</td>" in html
    for shown in ("bank_hash", "panel_hash", "queries_hash"):
        assert report["provenance"][shown] in html
    # Measures, differences, confusions of each retriever that has any, fields, two curves.
    confused = sum(bool(result["confusions"]) for result in report["retrievers"].values())
    assert len(svgs(html)) == 5 + confused


def test_no_name_can_break_the_page(report: dict[str, Any]) -> None:
    text = json.dumps(report)
    names = ("uniform", "heat-a-thing", "alfworld_mini", "pick_and_place_simple", "valid-18")
    for name in names:
        assert name in text
        text = text.replace(name, json.dumps(HOSTILE + name)[1:-1])
    html = page(json.loads(text))
    assert "<script" not in html
    assert len(svgs(html)) == len(svgs(page(report)))
    assert [tag for tag, _ in tags_of(html).seen] == [tag for tag, _ in tags_of(page(report)).seen]


def test_a_report_without_the_options_has_no_such_plots(report: dict[str, Any]) -> None:
    one = {"dense": {**report["retrievers"]["dense"], "abstention": None, "confusions": []}}
    bare = {
        **report,
        "retrievers": one,
        "comparisons": [],
        "ablation": None,
        "distractors": None,
        "queries": {**report["queries"], "without_right_skill": 0},
    }
    html = page(bare)
    assert len(svgs(html)) == 1
    assert "without a right skill</h2>" not in html


def numbers(element: ElementTree.Element, *names: str) -> list[float]:
    return [float(element.attrib[name]) for name in names]


def test_dots_and_intervals_stand_where_the_axis_says() -> None:
    (svg,) = svgs(interval_plot({"a": {"x": Estimate(0.25, 0.0, 1.0)}, "b": {"x": Estimate(1.0, 1.0, 1.0)}}))
    lines = [line for line in svg.iter() if line.tag.endswith("line") and "stroke" in line.attrib]
    dots = [dot for dot in svg.iter() if dot.tag.endswith("circle")]
    left, right = numbers(lines[0], "x1", "x2")
    assert numbers(dots[0], "cx") == [pytest.approx(left + 0.25 * (right - left), abs=0.1)]
    assert numbers(dots[1], "cx") == [right]
    # Series do not cover each other.
    assert numbers(dots[0], "cy") < numbers(dots[1], "cy")


def test_curves_rise_upwards_on_a_logarithmic_axis() -> None:
    curve = {0: Estimate(1.0, 1.0, 1.0), 9: Estimate(0.5, 0.4, 0.6), 99: Estimate(0.0, 0.0, 0.0)}
    (svg,) = svgs(curve_plot({"a": curve}, title="recall"))
    points = [numbers(dot, "cx", "cy") for dot in svg.iter() if dot.tag.endswith("circle")]
    (x0, y0), (x9, y9), (x99, y99) = points
    # log10(1 + n) of 0, 9 and 99 is 0, 1 and 2.
    assert x9 - x0 == pytest.approx(x99 - x9, abs=0.1)
    assert y0 < y9 < y99
    assert y9 == pytest.approx((y0 + y99) / 2, abs=0.1)


def test_learning_curves_stand_on_an_even_axis_that_ends_above_them() -> None:
    curve = {0: Estimate(0.0, 0.0, 0.0), 5: Estimate(0.2, 0.1, 0.3), 20: Estimate(0.4, 0.3, 0.5)}
    (svg,) = svgs(learning_plot({"a": curve}, title="success"))
    (x0, y0), (x5, y5), (x20, y20) = [numbers(dot, "cx", "cy") for dot in svg.iter() if dot.tag.endswith("circle")]
    assert x5 - x0 == pytest.approx((x20 - x0) / 4, abs=0.1)
    assert y5 == pytest.approx((y0 + y20) / 2, abs=0.1)
    labels = [text.text for text in svg.iter() if text.tag.endswith("}text")]
    # .5 is below .6, a fifth above it; nothing is drawn at 1.
    assert "0.6" in labels
    assert "1" not in labels


def test_a_long_learning_curve_keeps_its_labels_apart() -> None:
    (svg,) = svgs(learning_plot({"a": {step: Estimate(0.5, 0.4, 0.6) for step in range(0, 1000, 10)}}, title="success"))
    below = [text for text in svg.iter() if text.tag.endswith("}text") and text.get("text-anchor") == "middle"]
    assert 10 <= len(below) <= 16


def test_a_matrix_shows_each_count_once() -> None:
    (svg,) = svgs(matrix_plot({("heat", "cool"): 3, ("heat", "wash"): 1, ("wash", "cool"): 2}))
    shown = [text.text for text in svg.iter() if text.tag.endswith("}text") and (text.text or "").isdigit()]
    assert sorted(map(str, shown)) == ["1", "2", "3"]
    opacities = [numbers(rect, "opacity")[0] for rect in svg.iter() if "opacity" in rect.attrib]
    assert opacities[0] == 1.0
    assert opacities == [1.0, 0.5, 0.75]
