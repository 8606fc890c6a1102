"""What a report says of rows with known answers: numbers, verdicts, refusals, tables, pages."""

from __future__ import annotations

import dataclasses
import json
from html.parser import HTMLParser
from io import StringIO
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from rich.console import Console

from sdar_agents.bench.figure import figure
from sdar_agents.bench.file import BenchFileError
from sdar_agents.bench.latex import escaped, latex
from sdar_agents.bench.markdown import markdown
from sdar_agents.bench.page import page
from sdar_agents.bench.report import Question, make_report
from sdar_agents.bench.results import Missing, ResultError, Results, narrowed
from sdar_agents.bench.tables import tables
from tests.agents.bench.rows import drawn, results, row

QUESTION = Question(metrics=("success",))


def three_learners(seed: int = 0) -> Results:
    """Rates .3, .3 and .7 of 120 tasks, over five seeds; the first half of the tasks is short."""
    draws, rows = np.random.default_rng(seed), []
    lengths = tuple([4] * 60 + [12] * 60)
    for learner, rate in (("plain", 0.3), ("same", 0.3), ("good", 0.7)):
        for number, solved in enumerate(drawn(rate, seeds=5, tasks=120, draws=draws)):
            before = drawn(0.2, seeds=1, tasks=120, draws=draws)[0]
            rows.append(row(learner, number, solved, curve=(before, solved), steps=(0, 10), lengths=lengths))
    return results(*rows)


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    return make_report(three_learners(), Question(metrics=("success", "area")))


def pair(report: dict[str, Any], first: str, second: str, metric: str = "success") -> dict[str, Any]:
    return next(
        it for it in report["comparisons"] if (it["first"], it["second"], it["metric"]) == (first, second, metric)
    )


def test_numbers_of_a_learner_are_those_of_its_rows() -> None:
    # Seeds solve 3 and 1 of 4 tasks; before training none.
    one = row("a", 0, [1, 1, 1, 0], curve=([0, 0, 0, 0], [1, 1, 1, 0]), steps=(0, 10), lengths=(2, 12, 2, 12))
    two = row("a", 1, [1, 0, 0, 0], curve=([0, 0, 0, 0], [1, 0, 0, 0]), steps=(0, 10), lengths=(2, 12, 2, 12))
    made = make_report(results(one, two), QUESTION)["environments"]["toy"]
    it = made["learners"]["a"]
    assert it["per_seed"] == [0.75, 0.25]
    assert it["success"]["mean"] == it["interquartile_mean"] == 0.5
    assert it["interquartile_range"] == [0.375, 0.625]
    # The mean height between 0 and the rates .75 and .25.
    assert it["area"]["mean"] == pytest.approx(0.25)
    # Tasks t0 and t2 are even: 1, 1 and 1, 0; t1 and t3 are odd: 1, 0 and 0, 0.
    assert {kind: value["mean"] for kind, value in it["by_task_type"].items()} == {"even": 0.75, "odd": 0.25}
    assert made["lengths"] == {"1-5": 2, "over 10": 2}
    assert {name: value["mean"] for name, value in it["by_length"].items()} == {"1-5": 0.75, "over 10": 0.25}
    # The oracle would need 2 or 12 turns; these runs took 3, 4, 5 and 6 for the tasks, and solved t3 never.
    assert {name: value["mean"] for name, value in it["by_turns"].items()} == {"1-5": 0.5, "6-10": 0.0, "over 10": 0.0}
    assert it["steps_to_threshold"] == {"per_seed": [10, None], "reached": 1, "median": None}
    # Turns of the four tasks are 3, 4, 5 and 6.
    assert it["turns"] == 4.5
    assert {step: value["mean"] for step, value in it["curve"].items()} == {"0": 0.0, "10": 0.5}


def test_a_clear_difference_has_a_verdict_and_none_has_none(report: dict[str, Any]) -> None:
    assert pair(report, "good", "plain")["verdict"] == "better"
    assert pair(report, "good", "same")["verdict"] == "better"
    assert pair(report, "same", "plain")["verdict"] == "not distinguishable"
    # (.7 + .2) / 2 against (.3 + .2) / 2.
    found = pair(report, "good", "plain", "area")
    assert found["verdict"] == "better"
    assert found["difference"]["mean"] == pytest.approx(0.2, abs=0.03)
    assert found["difference"]["interval"][0] > 0


def test_a_difference_is_divided_by_how_long_tasks_and_solutions_are(report: dict[str, Any]) -> None:
    found = pair(report, "good", "plain")
    # Half of the tasks are of each length, so that the differences of the halves average to the whole.
    halves = [found["by_length"][name]["mean"] for name in ("1-5", "over 10")]
    assert sum(halves) / 2 == pytest.approx(found["difference"]["mean"])
    # Task t7 is solved in 10 turns, t8 and later ones in more; the parts add up to the whole.
    assert sum(it["mean"] for it in found["by_turns"].values()) == pytest.approx(found["difference"]["mean"])
    assert found["by_turns"]["over 10"]["mean"] > found["by_turns"]["1-5"]["mean"]


def test_the_other_way_round_it_is_worse() -> None:
    turned = three_learners()
    turned = dataclasses.replace(turned, learners=("good", "same", "plain"))
    assert pair(make_report(turned, QUESTION), "plain", "good")["verdict"] == "worse"


def test_holm_is_over_all_pairs_of_a_metric(report: dict[str, Any]) -> None:
    found = sorted((it["p"], it["p_holm"]) for it in report["comparisons"] if it["metric"] == "success")
    # The smallest of three times 3, the next times 2, the last as it is, and never below one before.
    first = 3 * found[0][0]
    second = max(first, 2 * found[1][0])
    assert [adjusted for _, adjusted in found] == pytest.approx([first, second, max(second, found[2][0])])


def test_the_verdict_is_after_the_correction(report: dict[str, Any]) -> None:
    best = min((it for it in report["comparisons"] if it["metric"] == "success"), key=lambda it: it["p"])
    assert best["p_holm"] == pytest.approx(3 * best["p"])
    # Twice the smallest p-value: enough for a single pair, not for the first of three.
    made = make_report(three_learners(), dataclasses.replace(QUESTION, alpha=2 * best["p"]))
    assert pair(made, best["first"], best["second"])["verdict"] == "not distinguishable"
    made = make_report(three_learners(), dataclasses.replace(QUESTION, alpha=4 * best["p"]))
    assert pair(made, best["first"], best["second"])["verdict"] == "better"


def test_a_baseline_leaves_the_other_pairs_out() -> None:
    made = make_report(three_learners(), dataclasses.replace(QUESTION, baseline="plain"))
    assert [(it["first"], it["second"]) for it in made["comparisons"]] == [("same", "plain"), ("good", "plain")]


def test_pairs_are_compared_on_the_seeds_that_both_have() -> None:
    rows = list(three_learners().rows)
    rows = [it for it in rows if not (it.learner == "good" and it.seed in (0, 4))]
    made = make_report(results(*rows), QUESTION)
    assert pair(made, "good", "plain")["seeds"] == [1, 2, 3]
    assert made["environments"]["toy"]["learners"]["plain"]["seeds"] == [0, 1, 2, 3, 4]


def test_one_seed_never_gets_a_verdict() -> None:
    made = make_report(results(row("a", 0, [1] * 50), row("b", 0, [0] * 50)), QUESTION)
    found = pair(made, "b", "a")
    assert (found["verdict"], found["difference"]["mean"], found["p_holm"]) == ("not distinguishable", -1.0, None)
    assert "one seed" in found["reason"]
    assert any("one seed alone" in note for note in made["notes"])


def test_learners_without_a_common_seed_get_no_verdict() -> None:
    made = make_report(results(row("a", 0, [1, 0]), row("b", 1, [0, 1])), QUESTION)
    assert pair(made, "b", "a")["reason"] == "no seed in common"


@pytest.mark.parametrize("key", ["panel_hash", "prompt_hash", "behaviour_hash", "bank_hash", "temperature"])
def test_rows_of_different_making_are_refused_by_what_differs(key: str) -> None:
    rows = [row("a", 0, [1, 0]), row("a", 1, [1, 0]), row("b", 0, [1, 0], **{key: "other"})]
    with pytest.raises(ResultError, match="must not be compared") as refusal:
        make_report(results(*rows), QUESTION)
    assert f"{key} is " in str(refusal.value)
    assert "a 0, a 1" in str(refusal.value)
    assert '"other" for b 0' in str(refusal.value)
    assert "--separately" in str(refusal.value)


def test_rows_of_different_making_are_reported_apart_and_never_pooled() -> None:
    rows = [row(learner, seed, [1, 0, 1]) for learner in ("a", "b") for seed in (0, 1)]
    rows += [row("a", seed, [0, 0, 0], panel_hash="other") for seed in (0, 1)]
    made = make_report(results(*rows), dataclasses.replace(QUESTION, separately=True))
    assert list(made["environments"]) == ["toy (panel_hash aaaa)", "toy (panel_hash other)"]
    apart = made["environments"]["toy (panel_hash other)"]["learners"]
    assert list(apart) == ["a"]
    assert apart["a"]["success"]["mean"] == 0.0
    assert [it["environment"] for it in made["comparisons"]] == ["toy (panel_hash aaaa)"]


def test_a_run_without_skills_has_no_bank_to_differ_in() -> None:
    rows = [row("a", seed, [1, 0], bank_hash=None) for seed in (0, 1)] + [row("b", seed, [1, 0]) for seed in (0, 1)]
    assert len(make_report(results(*rows), QUESTION)["environments"]) == 1


def test_environments_may_differ_in_everything() -> None:
    rows = [row("a", 0, [1, 0]), row("a", 0, [1, 0, 1], environment="other", panel_hash="x", env="y")]
    assert list(make_report(results(*rows), QUESTION)["environments"]) == ["toy", "other"]


def test_tasks_that_a_run_could_not_play_are_left_out_for_all_and_counted() -> None:
    whole = row("a", 0, [1, 0, 1])
    less = row("b", 0, [1, 0, 1])
    outcomes = {task: outcome for task, outcome in less.outcomes.items() if task != "t2"}
    made = make_report(results(whole, dataclasses.replace(less, outcomes=outcomes)), QUESTION)
    environment = made["environments"]["toy"]
    assert (environment["tasks"], environment["dropped_tasks"]) == (2, 1)
    assert environment["learners"]["a"]["success"]["mean"] == 0.5


def test_different_code_is_told() -> None:
    one, other = row("a", 0, [1, 0]), row("a", 1, [1, 0])
    other = dataclasses.replace(other, provenance={"version": "0.1.0", "commit": "5678"})
    notes = make_report(results(one, other), QUESTION)["notes"]
    assert notes == ["runs were made with different values of commit: 1234, 5678"]


@pytest.mark.parametrize(
    ("question", "words"),
    [
        ({"metrics": ("sucess",)}, "unknown metric 'sucess'; did you mean 'success'?"),
        ({"baseline": "goood"}, "unknown baseline 'goood'; did you mean 'good'?"),
        ({"threshold": 1.5}, "--threshold lies between 0 and 1"),
        ({"alpha": 0.0}, "--alpha lies between 0 and 1"),
    ],
)
def test_questions_without_an_answer_are_refused(question: dict[str, Any], words: str) -> None:
    with pytest.raises(ResultError, match=words.replace("?", r"\?")):
        make_report(three_learners(), Question(**question))


def test_nothing_but_missing_runs_is_an_error_that_names_them() -> None:
    nothing = Results("x", (), ("a",), (Missing("toy/a/seed-0", "failed", "ModelError: no such model"),))
    with pytest.raises(ResultError, match=r"toy/a/seed-0 failed .ModelError: no such model"):
        make_report(nothing, QUESTION)


def test_the_report_is_plain_json_and_the_same_every_time(report: dict[str, Any]) -> None:
    again = make_report(three_learners(), Question(metrics=("success", "area")))
    assert json.loads(json.dumps(report)) == json.loads(json.dumps(again))


# ---- forms -----------------------------------------------------------------------------------------------

HOSTILE = '<script>alert("&")</script>'


def hostile_report() -> dict[str, Any]:
    rows = [row(f"{HOSTILE}{name}", seed, [1, 0, name, 1]) for name in (0, 1) for seed in (0, 1)]
    made = results(*rows)
    return make_report(dataclasses.replace(made, missing=(Missing(HOSTILE, "failed", HOSTILE),)), QUESTION)


class Tags(HTMLParser):
    """Collects tags, and sees that what is opened is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_stands_alone_whatever_names_hold() -> None:
    html = page(hostile_report())
    tags = Tags()
    tags.feed(html)
    assert tags.open == []
    assert not tags.seen & {"script", "link", "img", "iframe"}
    assert "src=" not in html
    assert "url(" not in html


def test_the_page_shows_curves_intervals_and_verdicts(report: dict[str, Any]) -> None:
    html = page(report)
    assert html.count("<svg") == 4  # two metrics' differences, the curves, the final success
    assert html.count("<polyline") == 3
    assert "good − plain" in html  # noqa: RUF001
    assert "not distinguishable" in html
    assert "prefers-color-scheme: dark" in html


def test_the_figure_is_a_picture_of_differences_to_the_baseline() -> None:
    report = make_report(three_learners(), Question(metrics=("area",), baseline="plain"))
    drawn_svg = ElementTree.fromstring(figure(report, "area"))
    texts = ["".join(it.itertext()) for it in drawn_svg.iter("{http://www.w3.org/2000/svg}text")]
    assert texts[0] == "toy-bench: area under the learning curve, minus that of plain (95% intervals, 5 seeds)"
    assert {"toy", "same", "good"} <= set(texts)
    assert "plain" not in texts
    # A dot stands where its number says: 0 and the difference on one scale.
    words = {"".join(it.itertext()): it for it in drawn_svg.iter("{http://www.w3.org/2000/svg}title")}
    of_good = next(text for text in words if text.startswith("toy, good: "))
    expected = pair(report, "good", "plain", "area")["difference"]
    assert (
        of_good == f"toy, good: {expected['mean']:.3f} [{expected['interval'][0]:.3f}, {expected['interval'][1]:.3f}]"
    )


def test_a_figure_of_hostile_names_is_one_document() -> None:
    rows = [
        dataclasses.replace(it, learner=HOSTILE if it.learner == "good" else it.learner) for it in three_learners().rows
    ]
    report = make_report(results(*rows), Question(metrics=("success",), baseline="plain"))
    tags = {it.tag.rpartition("}")[2] for it in ElementTree.fromstring(figure(report, "success")).iter()}
    assert tags <= {"svg", "style", "rect", "text", "circle", "g", "line", "title"}


def test_a_figure_needs_a_baseline(report: dict[str, Any]) -> None:
    with pytest.raises(ResultError, match="--baseline"):
        figure(report, "area")
    alone = make_report(three_learners(), Question(metrics=("success",), baseline="plain"))
    with pytest.raises(ResultError, match="no pair could be compared in area"):
        figure(alone, "area")


def test_the_tables_hold_the_verdicts_and_what_is_missing(report: dict[str, Any]) -> None:
    console = Console(width=240, record=True, file=StringIO())
    for table in tables(report):
        console.print(table)
    text = console.export_text()
    assert "good - plain" in text
    assert "over 10 (n=60)" in text
    assert "better" in text


def test_markdown_is_a_table_with_the_differences_to_the_baseline() -> None:
    told = [dataclasses.replace(it, training={"gap": (-0.5, 0.25)}) for it in three_learners().rows if it.seed < 4]
    given = results(*told)
    report = make_report(given, Question(metrics=("area", "success"), baseline="plain", show=("gap",)))
    table, _, caption = markdown(report).partition("\n\n")
    heads, rule, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines())
    assert heads[:7] == ["environment", "learner", "seeds", "success", "area", "area - plain", "success - plain"]
    assert heads[7:] == ["s/step", "tokens/step", "gap"]
    assert {len(cells) for cells in (heads, rule, *rows)} == {10}
    found = {cells[1]: dict(zip(heads, cells, strict=True)) for cells in rows}
    assert found["`plain`"]["success - plain"] == ""
    assert (found["`plain`"]["seeds"], found["`plain`"]["gap"]) == ("4", "-0.5 -> 0.25")
    difference = pair(report, "good", "plain")["difference"]
    assert found["`good`"]["success - plain"].startswith(f"**{difference['mean']:+.3f} [")
    assert found["`good`"]["success - plain"].endswith("** better")
    assert found["`same`"]["success - plain"].endswith("] not distinguishable")
    assert "2 pairs in area, 2 pairs in success" in caption
    alone = markdown(make_report(given, QUESTION))
    assert "- plain" not in alone
    assert "Holm" not in alone


def test_a_report_on_some_runs_corrects_for_their_pairs_alone() -> None:
    given = dataclasses.replace(
        three_learners(), missing=(Missing("toy/good/seed-9", "begun"), Missing("toy/same/seed-9", "begun"))
    )
    question = Question(metrics=("success",), baseline="plain")
    some = narrowed(given, ["plain", "toy/good/*"])
    report = make_report(some, question)
    assert list(report["environments"]["toy"]["learners"]) == ["plain", "good"]
    assert [it["name"] for it in report["missing"]] == ["toy/good/seed-9"]
    found, among_all = (pair(it, "good", "plain") for it in (report, make_report(given, question)))
    assert found["difference"] == among_all["difference"]
    assert found["p_holm"] == found["p"] == pytest.approx(among_all["p_holm"] / 2)
    assert narrowed(given, []) is given
    with pytest.raises(BenchFileError, match="did you mean 'good'"):
        narrowed(given, ["goood"])


def test_latex_marks_what_beats_every_other_and_escapes_names(report: dict[str, Any]) -> None:
    text = latex(report)
    assert text.count(r"\textbf{") == 1
    bold = next(line for line in text.splitlines() if r"\textbf{" in line)
    assert bold.startswith("good & ")
    assert text.count(r"\toprule") == text.count(r"\bottomrule") == 2
    assert all(line.endswith(r"\\") for line in text.splitlines() if " & " in line)
    # Of two that are equally good, neither beats every other.
    kept = results(*(it for it in three_learners().rows if it.learner != "same"))
    twins = [dataclasses.replace(it, learner="twin") for it in kept.rows if it.learner == "good"]
    assert r"\textbf{" not in latex(make_report(results(*kept.rows, *twins), QUESTION))
    assert escaped("grpo_opsd 50% & {x}") == r"grpo\_opsd 50\% \& \{x\}"
