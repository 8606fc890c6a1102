"""A bench's report as LaTeX tables for a paper (package booktabs)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_SPECIAL = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
}  # fmt: skip
_MARKS = {"better": r"$\uparrow$", "worse": r"$\downarrow$", "not distinguishable": r"$\approx$"}


def latex(report: Mapping[str, Any]) -> str:
    """Two tables: success of each learner in each environment, and every pair with its verdict.

    Bold is what was found better than every other learner of its environment, not what happens to be highest.
    """
    return "\n".join(["% \\usepackage{booktabs}", *_results(report), "", *_pairs(report)]) + "\n"


def escaped(text: str) -> str:
    """A text as LaTeX shows it."""
    return "".join(_SPECIAL.get(character, character) for character in text)


def _results(report: Mapping[str, Any]) -> Iterator[str]:
    environments = report["environments"]
    labels = list(dict.fromkeys(label for it in environments.values() for label in it["learners"]))
    yield r"\begin{tabular}{l" + "c" * len(environments) + "}"
    yield r"\toprule"
    yield " & ".join(["learner", *map(escaped, environments)]) + r" \\"
    yield r"\midrule"
    for label in labels:
        cells = [_cell(report, name, label) for name in environments]
        yield " & ".join([escaped(label), *cells]) + r" \\"
    yield r"\bottomrule"
    yield r"\end{tabular}"
    confidence = f"{100 * (1 - report['question']['alpha']):g}"
    yield f"% Success on held-out tasks, mean over n seeds with its {confidence} % interval over seeds and tasks."
    yield "% Bold: found better than every other learner of the environment, after Holm's correction."


def _cell(report: Mapping[str, Any], environment: str, label: str) -> str:
    found = report["environments"][environment]["learners"].get(label)
    if found is None:
        return "--"
    low, high = found["success"]["interval"]
    mean = f"{found['success']['mean']:.3f}"
    mean = rf"\textbf{{{mean}}}" if _beats_all(report, environment, label) else mean
    return f"{mean} {{\\small [{low:.3f}, {high:.3f}]}} ($n={len(found['seeds'])}$)"


def _beats_all(report: Mapping[str, Any], environment: str, label: str) -> bool:
    """Whether the learner was found better than each of the others."""
    others = set(report["environments"][environment]["learners"]) - {label}
    beaten = set()
    for row in report["comparisons"]:
        if row["environment"] == environment and row["metric"] == "success":
            if row["first"] == label and row["verdict"] == "better":
                beaten.add(row["second"])
            if row["second"] == label and row["verdict"] == "worse":
                beaten.add(row["first"])
    return bool(others) and beaten == others


def _pairs(report: Mapping[str, Any]) -> Iterator[str]:
    yield r"\begin{tabular}{lllrrc}"
    yield r"\toprule"
    yield r"environment & metric & pair & difference & $p$ (Holm) & \\"
    yield r"\midrule"
    for row in report["comparisons"]:
        difference, p = row["difference"], row["p_holm"]
        shown = "--"
        if difference is not None:
            shown = "${:+.3f}$ {{\\small [${:+.3f}$, ${:+.3f}$]}}".format(difference["mean"], *difference["interval"])
        pair = f"{escaped(row['first'])} $-$ {escaped(row['second'])}"
        cells = [escaped(row["environment"]), row["metric"], pair, shown, "--" if p is None else f"{p:.4f}"]
        yield " & ".join([*cells, _MARKS[row["verdict"]]]) + r" \\"
    yield r"\bottomrule"
    yield r"\end{tabular}"
