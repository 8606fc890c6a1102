"""A report on retrievers as one HTML page that needs nothing else: tables, and plots as inline SVG."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from sdar_agents.html_page import document, listing, table
from sdar_agents.svg_plots import Estimate, curve_plot, interval_plot, legend, matrix_plot

MOST_CONFUSIONS = 40
"""So many different confusions a retriever are drawn; the JSON has all."""


def page(report: Mapping[str, Any]) -> str:
    """The page of a report.

    Args:
        report: What `sdar-gym skills eval --json` writes.
    """
    return document(f"Skill retrieval: {report['provenance']['bank']}", _parts(report))


def _parts(report: Mapping[str, Any]) -> Iterator[str]:
    names, metric = list(report["retrievers"]), report["compared_metric"]
    yield _introduction(report)
    yield "<h2>How well the right skills are found</h2>" + legend(names)
    quality = [name for name in report["metrics"] if not name.startswith("tokens")]
    results = {name: result["metrics"] for name, result in report["retrievers"].items()}
    yield interval_plot({name: _estimates(values, quality) for name, values in results.items()})
    yield '<p class="soft">Means over the queries with their 95 % bootstrap intervals.</p>'
    yield _metric_table(report)
    if report["comparisons"]:
        yield from _comparisons(report["comparisons"])
    yield from _by_task_type(report, metric)
    yield from _abstention(report)
    yield from _confusions(report)
    if report["ablation"] is not None:
        yield f"<h2>{escape(metric)} with one field of each skill</h2>" + legend(names)
        yield interval_plot(_pick(report["ablation"], metric))
    if report["distractors"] is not None:
        yield "<h2>Among foreign skills</h2>" + legend(names)
        for shown in dict.fromkeys((metric, quality[0])):
            curves = _pick(report["distractors"], shown)
            by_count = {name: {int(n): it for n, it in curve.items()} for name, curve in curves.items()}
            yield curve_plot(by_count, title=f"{shown} by the number of foreign skills")
    yield _times(report)
    yield "<h2>Provenance</h2>" + listing(report["provenance"])


def _introduction(report: Mapping[str, Any]) -> str:
    provenance, queries = report["provenance"], report["queries"]
    source = (
        f"{provenance['env']}, panel {provenance['panel']} ({provenance['panel_hash']}), {queries['tasks']} tasks"
        if "env" in provenance
        else str(provenance["queries_file"])
    )
    return (
        f'<p class="soft">{escape(source)}; asked by {escape(queries["from"])}: {queries["judged"]} different queries '
        f"with a right skill, {queries['without_right_skill']} without. {provenance['skills']} skills, bank "
        f"{escape(provenance['bank_hash'][:16])}.</p>"
    )


def _metric_table(report: Mapping[str, Any]) -> str:
    rows = [
        [metric, *(_number(metric, result["metrics"][metric]) for result in report["retrievers"].values())]
        for metric in report["metrics"]
    ]
    return table(["", *report["retrievers"]], rows)


def _comparisons(comparisons: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield f"<h2>Differences in {escape(comparisons[0]['metric'])}, query by query</h2>"
    estimates = {f"{row['first']} − {row['second']}": _estimate(row, "difference") for row in comparisons}  # noqa: RUF001
    # An axis with 0 in the middle; a hair wider than the widest interval.
    reach = max(0.05, *(abs(bound) for it in estimates.values() for bound in (it.low, it.high))) * 1.05
    yield interval_plot({"difference": estimates}, low=-reach, high=reach)
    rows = [
        [name, f"{it.mean:+.3f}", f"{row['p']:.4f}", f"{row['p_holm']:.4f}"]
        for (name, it), row in zip(estimates.items(), comparisons, strict=True)
    ]
    yield table(["pair", "difference", "p", "p (Holm)"], rows)
    tosses = comparisons[0]["permutations"]
    yield (
        f'<p class="soft">Paired randomisation test with {tosses:,} tosses, two-sided; Holm\'s correction for all '
        "pairs; 95 % bootstrap intervals.</p>"
    )


def _by_task_type(report: Mapping[str, Any], metric: str) -> Iterator[str]:
    results = report["retrievers"]
    kinds = next(iter(results.values()))["by_task_type"]
    if len(kinds) > 1:
        yield f"<h2>{escape(metric)} by task type</h2>"
        rows = [
            [kind, str(values["queries"]), *(f"{r['by_task_type'][kind][metric]:.3f}" for r in results.values())]
            for kind, values in kinds.items()
        ]
        yield table(["task type", "queries", *results], rows)


def _abstention(report: Mapping[str, Any]) -> Iterator[str]:
    count = report["queries"]["without_right_skill"]
    if count:
        yield "<h2>Queries without a right skill</h2>"
        rows = []
        for name, result in report["retrievers"].items():
            it = result["abstention"]
            at = "-" if it["threshold"] is None else f"{it['threshold']:.4g}"
            withheld = f"{result['auroc_withheld']:.3f}"
            rows.append([name, f"{it['auroc']:.3f}", withheld, at, f"{it['false_triggers']:.3f}", str(it["refused"])])
        yield table(["retriever", "AUROC", "withheld", "threshold", "false triggers", "refused"], rows)
        yield (
            f'<p class="soft">{count} queries. The best score tells them from those with a right skill (AUROC); '
            "withheld: it tells the latter from themselves, their right skills taken out. At the threshold, 95 % of "
            "the queries with a right skill trigger.</p>"
        )


def _confusions(report: Mapping[str, Any]) -> Iterator[str]:
    yield "<h2>Near misses: which skill came first instead of which</h2>"
    for name, result in report["retrievers"].items():
        shown = result["confusions"][:MOST_CONFUSIONS]
        total = sum(row["count"] for row in result["confusions"])
        yield f"<h3>{escape(name)}: {total} of {report['queries']['judged']}</h3>"
        if shown:
            cells = {(row["wanted"], row["got"]): row["count"] for row in shown}
            yield f'<div class="wide">{matrix_plot(cells)}</div>'
        if len(shown) < len(result["confusions"]):
            yield f'<p class="soft">The {len(shown)} most frequent of {len(result["confusions"])} pairs.</p>'
    yield '<p class="soft">Rows: the right skill. Columns: what came first. General skills are passed over.</p>'


def _times(report: Mapping[str, Any]) -> str:
    heads = {"query_median": "query, median", "query_p95": "query, 95 %", "encode_query": "encoder", "build": "index"}
    rows = [
        [name, *(f"{result['milliseconds'][key]:.2f}" for key in heads)]
        for name, result in report["retrievers"].items()
    ]
    return (
        "<h2>Milliseconds</h2>"
        + table(["retriever", *heads.values()], rows)
        + '<p class="soft">One query at a time, the encoder apart.</p>'
    )


def _pick(results: Mapping[str, Mapping[str, Any]], metric: str) -> dict[str, dict[str, Estimate]]:
    return {
        name: {row: _estimate(values[metric], "mean") for row, values in by_row.items() if metric in values}
        for name, by_row in results.items()
    }


def _estimates(values: Mapping[str, Any], metrics: Sequence[str]) -> dict[str, Estimate]:
    return {metric: _estimate(values[metric], "mean") for metric in metrics}


def _estimate(value: Mapping[str, Any], key: str) -> Estimate:
    return Estimate(value[key], *value["interval"])


def _number(metric: str, value: Mapping[str, Any]) -> str:
    if metric.startswith("tokens"):
        return f"{value['mean']:.0f}"
    return f"{value['mean']:.3f} [{value['interval'][0]:.2f}, {value['interval'][1]:.2f}]"
