"""The page `/status`: how this server stands, for people who have a browser and no dashboard.

One HTML document without scripts or outside resources. Texts of operators and bodies are escaped, and whatever could be
a digest in them is withheld. Configuration is shown as `hashmatch-server config show` shows it: the settings name the
files of secrets and never hold one, and a password in a URL is masked.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from html import escape

from hashmatch.index.refresher import Served
from hashmatch.index.snapshot import LoadedList
from hashmatch.model.algorithms import Algorithm
from hashmatch.model.clock import Clock
from hashmatch.service.config import Config
from hashmatch.service.config_schema import known_settings, section_types
from hashmatch.service.config_text import toml
from hashmatch.service.recent_rates import MAXIMUM_SAMPLES, SAMPLE_INTERVAL, Interval
from hashmatch.service.status_charts import Line, chart
from hashmatch.store.manifest import ListState

_RELAXED_APPROVALS = 2
_REFRESH_SECONDS = 15
# A digest has at least 32 hexadecimal digits; whoever separates them in a title hides them from nobody.
_COULD_BE_A_DIGEST = re.compile(r"(?:[0-9a-fA-F][ :-]?){32,}")


class StatusPage:
    """Renders the page. `render` is called from any thread."""

    def __init__(
        self,
        config: Config,
        *,
        served: Callable[[], Served | None],
        clock: Clock,
        version: str,
    ) -> None:
        """`served` tells what is answered from, None until the first snapshot is loaded."""
        self._config = config
        self._served = served
        self._clock = clock
        self._version = version
        self._started = clock.monotonic()

    def render(self, components: Mapping[str, str], recent: Iterable[Interval]) -> str:
        """The document: `components` are those of the health, "ok" or what is wrong; `recent` what was done lately."""
        served = self._served()
        ready = all(state == "ok" for state in components.values())
        word = "ready" if ready else "not ready"
        return "".join(
            (
                _HEAD.format(title=f"hashmatch: {word}", refresh=_REFRESH_SECONDS, style=_STYLE),
                f'<h1>hashmatch <span class="{"good" if ready else "bad"}">{word}</span></h1>',
                self._summary(served),
                "<h2>Readiness</h2>",
                _table(("component", "state"), (_component(name, state) for name, state in components.items())),
                "<h2>Lists</h2>",
                self._lists(served),
                "<h2>Loaded</h2>",
                _loaded(served),
                f"<h2>The last {MAXIMUM_SAMPLES * SAMPLE_INTERVAL / 60:.0f} minutes</h2>",
                _charts(tuple(recent)),
                "<h2>Configuration</h2>",
                *self._configuration(),
                "</body></html>\n",
            )
        )

    def _summary(self, served: Served | None) -> str:
        facts = [f"version {escape(self._version)}", f"up {_duration(self._clock.monotonic() - self._started)}"]
        if served is None:
            return _paragraph([*facts, "no snapshot is loaded"])
        manifest = served.snapshot.manifest
        facts += [
            f"epoch {manifest.epoch}",
            f"confirmed {_duration(self._clock.monotonic() - served.confirmed_monotonic)} ago",
            f"{manifest.approvals_required} approvals required"
            + (' <b class="bad">(relaxed)</b>' if manifest.approvals_required < _RELAXED_APPROVALS else "")
            + (", signed" if manifest.approvals_signed else ', <b class="bad">not signed</b>'),
        ]
        return _paragraph(facts)

    def _lists(self, served: Served | None) -> str:
        states = () if served is None else served.snapshot.manifest.lists.values()
        if not states:
            return "<p>There are no lists.</p>"
        now = self._clock.now()
        return _table(
            ("list", "nature", "generation", "hashes", "age", "at most", "state"),
            (_list_row(state, now) for state in sorted(states, key=lambda state: state.definition.list_id)),
        )

    def _configuration(self) -> Iterator[str]:
        settings = known_settings().values()
        for section in section_types():
            values = getattr(self._config, section)
            rows = (
                (escape(known.name), f"<code>{_text(toml(getattr(values, known.name)))}</code>")
                for known in settings
                if known.section == section
            )
            yield f"<details><summary>[{escape(section)}]</summary>{_table(('setting', 'value'), rows)}</details>"


def _component(name: str, state: str) -> tuple[str, str]:
    return escape(name), f'<span class="{"good" if state == "ok" else "bad"}">{_text(state)}</span>'


def _list_row(state: ListState, now: float) -> tuple[str, ...]:
    definition, generation = state.definition, state.generation
    described = ", ".join(_text(text) for text in (definition.title, definition.body) if text)
    name = f"<b>{_text(definition.list_id)}</b><br><small>{described}</small>"
    nature = definition.nature.name.lower().replace("_", "-")
    longest = _duration(definition.max_age)
    if generation is None:
        return name, nature, "–", "–", "–", longest, "not published"
    loaded = LoadedList(state, generation, {})
    counts = "<br>".join(
        f"{count:,} {Algorithm(algorithm).name}" for algorithm, count in sorted(generation.counts.items())
    )
    if not definition.nature.is_served:
        word = "corpus, never matched"
    elif loaded.is_stale(now):
        word = '<span class="bad">stale: gives no negatives</span>'
    else:
        word = '<span class="good">served</span>'
    return name, nature, str(generation.number), counts, _duration(loaded.age(now)), longest, word


def _loaded(served: Served | None) -> str:
    if served is None:
        return "<p>Nothing is loaded.</p>"
    snapshot = served.snapshot
    tables = (
        (escape(algorithm.name), f"{table.entries:,}", f"{table.nbytes / (1 << 20):,.1f} MiB")
        for algorithm, table in sorted(snapshot.tables.items())
    )
    near = ", ".join(algorithm.name for algorithm in sorted(snapshot.perceptual)) or "none"
    return _table(("algorithm", "entries in memory", "table"), tables) + _paragraph(
        (
            f"{len(snapshot.sources()):,} segments",
            f"{len(snapshot.suppressions):,} suppressions",
            f"searched by nearness: {escape(near)}",
        )
    )


def _charts(intervals: tuple[Interval, ...]) -> str:
    def line(name: str, value: Callable[[Interval], float | None]) -> Line:
        return Line(name, [value(interval) for interval in intervals])

    def draw(title: str, show: Callable[[float], str], *lines: Line) -> str:
        return chart(title, lines, capacity=MAXIMUM_SAMPLES - 1, show=show)

    return "".join(
        (
            '<div class="charts">',
            draw(
                "Hashes answered a second",
                _rate,
                line("no known match", lambda each: each.hashes["no_known_match"]),
                line("match", lambda each: each.hashes["match"]),
                line("not determined", lambda each: each.hashes["not_determined"]),
            ),
            draw(
                "Batches a second",
                _rate,
                line("BatchMatch", lambda each: each.batches),
                line("BulkMatch", lambda each: each.bulk_batches),
            ),
            draw(
                "Latency of BatchMatch",
                _milliseconds,
                line("median", lambda each: each.median),
                line("99th percentile", lambda each: each.p99),
            ),
            draw("Failed calls a second", _rate, line("BatchMatch and BulkMatch", lambda each: each.failed)),
            "</div>",
        )
    )


def _table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table; its cells are HTML already."""
    names = tuple(columns)
    head = "".join(f'<th scope="col">{name}</th>' for name in names)
    # On a narrow screen each cell stands on a line of its own, behind the name of its column.
    body = "".join(
        "<tr>"
        + "".join(f'<td data-column="{name}"><div>{cell}</div></td>' for name, cell in zip(names, row, strict=True))
        + "</tr>"
        for row in rows
    )
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _paragraph(facts: Iterable[str]) -> str:
    return f"<p>{' · '.join(facts)}</p>"


def _text(text: str) -> str:
    """A text of somebody else's, as HTML, without anything that could be a digest."""
    return escape(_COULD_BE_A_DIGEST.sub("(withheld)", text))


def _duration(seconds: float) -> str:
    """In the two largest units, for people."""
    whole = int(seconds)
    parts = [
        f"{whole // size % modulus} {unit}"
        for unit, size, modulus in (("d", 86_400, whole + 1), ("h", 3_600, 24), ("min", 60, 60), ("s", 1, 60))
        if whole // size % modulus
    ]
    return " ".join(parts[:2]) or "0 s"


def _rate(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 or not value else f"{value:.2g}"


def _milliseconds(value: float) -> str:
    return f"{value * 1_000:.3g} ms"


_HEAD = """\
<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta http-equiv="refresh" content="{refresh}">
<title>{title}</title><style>{style}</style></head><body>
"""

_STYLE = """
:root{color-scheme:light dark;--ink:#1b1f24;--paper:#fff;--faint:#6b7480;--rule:#d5dae0;--good:#0b6b3a;--bad:#b3261e;
--c0:#0b62a8;--c1:#b3261e;--c2:#8a5a00}
@media(prefers-color-scheme:dark){:root{--ink:#e4e8ee;--paper:#14181d;--faint:#97a1ad;--rule:#343c46;--good:#5ccb8d;
--bad:#ff8a80;--c0:#6cb6ff;--c1:#ff8a80;--c2:#e0b050}}
body{font:15px/1.45 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:72rem;margin:0 auto;
padding:1rem}
h1{font-size:1.5rem;margin:0}h2{font-size:1.1rem;margin:1.6rem 0 .4rem}small,figcaption small{color:var(--faint)}
.good{color:var(--good)}.bad{color:var(--bad)}.wide{overflow-x:auto}
table{border-collapse:collapse;width:100%}th,td{text-align:left;vertical-align:top;padding:.3rem .6rem .3rem 0;
border-bottom:1px solid var(--rule)}th{color:var(--faint);font-weight:500}code{overflow-wrap:anywhere}
@media(max-width:40rem){thead{display:none}tr{display:block;padding:.4rem 0;border-bottom:1px solid var(--rule)}
td{display:grid;grid-template-columns:7rem 1fr;border:0;padding:.1rem 0}td::before{content:attr(data-column);
color:var(--faint)}}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(17rem,1fr));gap:1.2rem}figure{margin:0}
figcaption{font-weight:600}svg{display:block;width:100%;height:5rem}polyline{fill:none;stroke-width:1.5;
vector-effect:non-scaling-stroke}.axis{stroke:var(--rule);vector-effect:non-scaling-stroke}
.line0{stroke:var(--c0)}.line1{stroke:var(--c1)}.line2{stroke:var(--c2)}
.key0{color:var(--c0)}.key1{color:var(--c1)}.key2{color:var(--c2)}
figure ul{list-style:none;margin:.2rem 0 0;padding:0;display:flex;flex-wrap:wrap;gap:0 1rem}
details{border-bottom:1px solid var(--rule)}summary{padding:.4rem 0;cursor:pointer}
"""
