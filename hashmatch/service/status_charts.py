"""Small line charts as inline SVG, for a page that needs no scripts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from typing import NamedTuple

_WIDTH, _HEIGHT = 320.0, 80.0
# Told apart by dashes as well as by colour, which not everybody sees.
_DASHES = ("none", "6 3", "2 2")


class Line(NamedTuple):
    """A line of a chart. `values` are at least 0; None leaves a gap."""

    name: str
    values: Sequence[float | None]


def chart(title: str, lines: Sequence[Line], *, capacity: int, show: Callable[[float], str]) -> str:
    """A figure with at most three lines of at most `capacity` values each, the newest at the right edge.

    `show` writes a value for people. Names and title are escaped here.
    """
    top = max((value for line in lines for value in line.values if value is not None), default=0.0)
    drawn = "".join(
        f'<polyline class="line{number}" stroke-dasharray="{_DASHES[number]}" points="{points}"/>'
        for number, line in enumerate(lines)
        for points in _runs(line.values, top, capacity)
    )
    legend = "".join(
        f'<li class="key{number}">{escape(line.name)}: <b>{escape(_latest(line.values, show))}</b></li>'
        for number, line in enumerate(lines)
    )
    highest = f"highest {show(top)}" if top else "nothing yet"
    return (
        f"<figure><figcaption>{escape(title)} <small>{escape(highest)}</small></figcaption>"
        f'<svg viewBox="0 0 {_WIDTH:g} {_HEIGHT:g}" role="img" aria-label="{escape(f"{title}, {highest}")}" '
        f'preserveAspectRatio="none"><path class="axis" d="M0 {_HEIGHT:g}H{_WIDTH:g}"/>{drawn}</svg>'
        f"<ul>{legend}</ul></figure>"
    )


def _runs(values: Sequence[float | None], top: float, capacity: int) -> list[str]:
    """The points of each run of values without a gap, in SVG's notation."""
    step = _WIDTH / max(1, capacity - 1)
    first = _WIDTH - step * (len(values) - 1)
    runs: list[list[str]] = [[]]
    for position, value in enumerate(values):
        if value is None:
            runs.append([])
            continue
        x = first + step * position
        y = _HEIGHT - 1 - (_HEIGHT - 4) * (value / top if top else 0.0)
        if not runs[-1]:
            # A value between two gaps would otherwise be a line of no length, which is not drawn.
            runs[-1].append(f"{x - step / 2:.1f},{y:.1f}")
        runs[-1].append(f"{x:.1f},{y:.1f}")
    return [" ".join(run) for run in runs if run]


def _latest(values: Sequence[float | None], show: Callable[[float], str]) -> str:
    value = values[-1] if values else None
    return "–" if value is None else show(value)
