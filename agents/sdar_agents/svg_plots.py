"""Plots as inline SVG, for pages that stand alone: no script, no font, nothing from elsewhere; all text is escaped."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

# Okabe and Ito's colours, which people with any colour vision can tell apart.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#882255", "#999933")
_CHARACTER = 7.2
_WIDTH = 900
_MOST_LABELS = 16
"""So many counts find room below an axis."""
_HEADING = 56
"""Height of the title and the series' names of a plot that is a file of its own."""
_OWN_STYLE = """
svg { --ink: #1b1f24; --page: #fff; --soft: #57606a; --line: #d8dee4; --band: #f6f8fa }
@media (prefers-color-scheme: dark) {
  svg { --ink: #e6edf3; --page: #0d1117; --soft: #9198a1; --line: #30363d; --band: #161b22 } }
svg { font: 12px system-ui, sans-serif; fill: var(--ink) } .title { font-size: 15px; font-weight: 600 }
.grid { stroke: var(--line) } .zero { stroke: var(--soft) } .band { fill: var(--band) } .page { fill: var(--page) }
"""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean with its interval."""

    mean: float
    low: float
    high: float


def colour(place: int) -> str:
    """The colour of the series at a place; colours come round again after eight."""
    return COLOURS[place % len(COLOURS)]


def legend(names: Sequence[str]) -> str:
    """Names of series with their colours, as HTML."""
    items = (
        f'<span class="key"><i style="background:{colour(place)}"></i>{escape(name)}</span>'
        for place, name in enumerate(names)
    )
    return f'<p class="legend">{"".join(items)}</p>'


def interval_plot(
    series: Mapping[str, Mapping[str, Estimate]], *, low: float = 0.0, high: float = 1.0, title: str | None = None
) -> str:
    """A row a label, in it a dot with its interval for each series.

    Args:
        series: Series name -> label -> estimate; a series may lack labels that another has.
        low, high: Ends of the axis.
        title: With one, the plot is a file of its own: it names its series, and brings its colours.
    """
    labels = list(dict.fromkeys(label for estimates in series.values() for label in estimates))
    row, left = 12 * len(series) + 14, 24 + _CHARACTER * max(map(len, labels))
    bottom = row * len(labels) + 8
    scale = _Scale(low, high, left, _WIDTH - 24)
    parts = [_grid_x(scale, _ticks(low, high), bottom)]
    for at, label in enumerate(labels):
        middle = at * row + 8 + row / 2
        parts.append(f'<text x="{left - 10:.1f}" y="{middle + 4:.1f}" text-anchor="end">{escape(label)}</text>')
        if at % 2:
            parts.insert(0, f'<rect class="band" x="0" y="{at * row + 8}" width="{_WIDTH}" height="{row}"/>')
        for place, (name, estimates) in enumerate(series.items()):
            y = middle + 12 * (place - (len(series) - 1) / 2)
            if label in estimates:
                parts.append(_dot(scale, y, estimates[label], colour(place), f"{name}, {label}"))
    if title is None:
        return _svg(bottom + 24, parts)
    headed = [*_heading(title, list(series)), f'<g transform="translate(0 {_HEADING})">', *parts, "</g>"]
    return _svg(bottom + 24 + _HEADING, headed)


def curve_plot(series: Mapping[str, Mapping[int, Estimate]], *, title: str) -> str:
    """Lines over counts on a logarithmic axis, 0 having a place of its own, with their intervals as bands.

    Args:
        series: Series name -> count -> estimate between 0 and 1; all have the same counts.
        title: What the vertical axis shows.
    """
    # log10(1 + n) keeps 0 on the axis and is the logarithm for all but the smallest counts.
    return _curves(series, lambda count: math.log10(1 + count), title=title)


def learning_plot(series: Mapping[str, Mapping[int, Estimate]], *, title: str) -> str:
    """Lines over training steps on an even axis, with their intervals as bands.

    Args:
        series: Series name -> step -> estimate between 0 and 1; all have the same steps.
        title: What the vertical axis shows.
    """
    highest = max(it.high for estimates in series.values() for it in estimates.values())
    return _curves(series, float, title=title, most=min(1.0, max(0.2, math.ceil(5.0 * highest - 1e-9) / 5.0)))


def _curves(
    series: Mapping[str, Mapping[int, Estimate]], place_of: Callable[[int], float], *, title: str, most: float = 1.0
) -> str:
    """Lines with bands, up to `most`; `place_of` puts counts, which are not negative, on the axis."""
    counts = sorted(next(iter(series.values())))
    left, top, bottom = 56, 28, 290
    across = _Scale(0.0, place_of(max(counts[-1], 1)), left, _WIDTH - 40)
    up = _Scale(0.0, most, bottom, top)
    parts = [f'<text x="{left - 40}" y="16">{escape(title)}</text>']
    for tick in _ticks(0.0, most):
        y = up(tick)
        parts.append(f'<line class="grid" x1="{left}" x2="{_WIDTH - 40}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{left - 8}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>')
    for count in counts[:: math.ceil(len(counts) / _MOST_LABELS)]:
        x = across(place_of(count))
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{bottom}"/>')
        parts.append(f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{count:,}</text>')
    for place, (name, estimates) in enumerate(series.items()):
        points = [(across(place_of(count)), estimates[count]) for count in counts]
        edge = [f"{x:.1f},{up(it.high):.1f}" for x, it in points]
        edge += [f"{x:.1f},{up(it.low):.1f}" for x, it in reversed(points)]
        line = " ".join(f"{x:.1f},{up(it.mean):.1f}" for x, it in points)
        parts.append(f'<polygon points="{" ".join(edge)}" fill="{colour(place)}" opacity="0.15"/>')
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour(place)}" stroke-width="2"/>')
        for (x, it), count in zip(points, counts, strict=True):
            words = escape(f"{name}, {count:,}: {_words(it)}")
            parts.append(
                f'<circle cx="{x:.1f}" cy="{up(it.mean):.1f}" r="3.5" fill="{colour(place)}">'
                f"<title>{words}</title></circle>"
            )
    return _svg(bottom + 28, parts)


def matrix_plot(cells: Mapping[tuple[str, str], int]) -> str:
    """Counts by row and column, darker for more; rows and columns in the order of their totals.

    Args:
        cells: (row, column) to a count above 0; at least one.
    """
    rows, columns = (_by_total(cells, axis) for axis in (0, 1))
    size, left = 26, 20 + _CHARACTER * max(map(len, rows))
    # Names of columns are written at 45 degrees.
    top = 20 + _CHARACTER * max(map(len, columns)) * 0.71
    most = max(cells.values())
    parts = []
    for at, column in enumerate(columns):
        x = left + size * (at + 0.5)
        parts.append(
            f'<text transform="translate({x:.1f},{top - 6:.1f}) rotate(-45)">{escape(column)}</text>'
            f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{top:.1f}" y2="{top + size * len(rows):.1f}"/>'
        )
    for at, row in enumerate(rows):
        y = top + size * (at + 0.5)
        parts.append(
            f'<text x="{left - 8:.1f}" y="{y + 4:.1f}" text-anchor="end">{escape(row)}</text>'
            f'<line class="grid" x1="{left:.1f}" x2="{left + size * len(columns):.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'
        )
    for (row, column), count in cells.items():
        x, y = left + size * columns.index(column), top + size * rows.index(row)
        share = 0.25 + 0.75 * count / most
        words = escape(f"{row}: {column} came first in {count}")
        parts.append(
            f'<g><title>{words}</title><rect x="{x + 1:.1f}" y="{y + 1:.1f}" width="{size - 2}" height="{size - 2}" '
            f'class="page"/><rect x="{x + 1:.1f}" y="{y + 1:.1f}" width="{size - 2}" height="{size - 2}" '
            f'fill="{COLOURS[1]}" opacity="{share:.2f}"/><text x="{x + size / 2:.1f}" y="{y + size / 2 + 4:.1f}" '
            f'text-anchor="middle">{count}</text></g>'
        )
    # The last column's name leans to the right, beyond its column.
    width = left + size * len(columns) + _CHARACTER * max(map(len, columns)) * 0.71 + 12
    return _svg(top + size * len(rows) + 8, parts, width=width)


@dataclass(frozen=True, slots=True)
class _Scale:
    """Values to places on the page."""

    low: float
    high: float
    begin: float
    end: float

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return self.begin + (self.end - self.begin) * share


def _dot(scale: _Scale, y: float, it: Estimate, fill: str, words: str) -> str:
    return (
        f"<g><title>{escape(f'{words}: {_words(it)}')}</title>"
        f'<line x1="{scale(it.low):.1f}" x2="{scale(it.high):.1f}" y1="{y:.1f}" y2="{y:.1f}" stroke="{fill}" '
        f'stroke-width="2.5"/><circle cx="{scale(it.mean):.1f}" cy="{y:.1f}" r="4" fill="{fill}"/></g>'
    )


def _heading(title: str, names: Sequence[str]) -> list[str]:
    """Style, ground, title and the names of series for a plot that is a file of its own."""
    parts = [
        f'<style>{_OWN_STYLE}</style><rect class="page" width="100%" height="100%"/>',
        f'<text class="title" x="16" y="24">{escape(title)}</text>',
    ]
    x = 16.0
    for place, name in enumerate(names):
        parts.append(
            f'<circle cx="{x + 5:.1f}" cy="42" r="5" fill="{colour(place)}"/>'
            f'<text x="{x + 15:.1f}" y="46">{escape(name)}</text>'
        )
        x += 36 + _CHARACTER * len(name)
    return parts


def _words(it: Estimate) -> str:
    return f"{it.mean:.3f} [{it.low:.3f}, {it.high:.3f}]"


def _grid_x(scale: _Scale, ticks: Sequence[float], bottom: float) -> str:
    return "".join(
        f'<line class="{"zero" if tick == 0 else "grid"}" x1="{scale(tick):.1f}" x2="{scale(tick):.1f}" y1="8" '
        f'y2="{bottom}"/><text x="{scale(tick):.1f}" y="{bottom + 17}" text-anchor="middle">{tick:g}</text>'
        for tick in ticks
    )


def _ticks(low: float, high: float) -> list[float]:
    """Round values that divide the axis into about five."""
    step = 10.0 ** math.floor(math.log10((high - low) / 4))
    step *= next(factor for factor in (1, 2, 2.5, 5, 10) if (high - low) / (step * factor) <= 6)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(number * step, 10) for number in range(first, last + 1)]


def _by_total(cells: Mapping[tuple[str, str], int], axis: int) -> list[str]:
    totals: dict[str, int] = {}
    for names, count in cells.items():
        totals[names[axis]] = totals.get(names[axis], 0) + count
    return sorted(totals, key=lambda name: (-totals[name], name))


def _svg(height: float, parts: Sequence[str], *, width: float = _WIDTH) -> str:
    return (
        f'<svg viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" role="img" '
        f'xmlns="http://www.w3.org/2000/svg">{"".join(parts)}</svg>'
    )
