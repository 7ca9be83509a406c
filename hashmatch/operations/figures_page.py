"""The figures as a page to print: one file, nothing loaded from elsewhere, black on white."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from html import escape

from hashmatch.operations.figures import Figures, ListFigures, Technology
from hashmatch.operations.regulators import Field

_STYLE = """
body { font: 11pt/1.4 sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #000; background: #fff }
h1 { font-size: 1.5rem } h2 { font-size: 1.15rem; margin-top: 2rem; break-after: avoid }
table { border-collapse: collapse; width: 100% } tr { break-inside: avoid }
th, td { border: 1px solid #999; padding: .25rem .5rem; text-align: left; vertical-align: top }
td.number { text-align: right; white-space: nowrap } th { background: #eee }
@page { margin: 15mm } @media print { body { margin: 0; max-width: none; font-size: 9pt } }
"""


def page(figures: Figures, fields: Sequence[Field]) -> str:
    """The whole document."""
    period = figures.period
    title = f"Use of hash lists, {period.first} to {period.last}"
    return "".join(
        (
            f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>',
            f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head><body>',
            f"<h1>{escape(title)}</h1>",
            f"<p>Made {escape(figures.made_at)} by hashmatch {escape(figures.hashmatch)}. Counts of {period.counted} "
            f"of {period.days} days.</p><ul>",
            *(f"<li>{escape(limit)}</li>" for limit in figures.limits),
            "</ul><h2>Volumes</h2>",
            _table(
                ("Algorithm", "Hashes asked about", "Match", "No known match", "Not determined"),
                (
                    (each.algorithm, each.asked, each.match, each.no_known_match, each.not_determined)
                    for each in figures.volumes
                ),
            ),
            "<h2>Matches by technology</h2>",
            _table(("Algorithm", *_TECHNOLOGY), (_technology(each) for each in figures.technologies)),
            "<h2>Lists</h2>",
            _table(("List", "Owner", "Nature", "Jurisdiction", "Hashes", "Current as of"), map(_list, figures.lists)),
            "<h2>Matches by list</h2>",
            _table(
                ("List", "Algorithm", *_TECHNOLOGY),
                ((listed.list_id, *_technology(each)) for listed in figures.lists for each in listed.technologies),
            ),
            "<h2>Updates and retractions</h2>",
            _table(
                ("List", "Publications", "Added", "Removed", "Entries withdrawn", "List withdrawn", "Roll-backs"),
                (
                    (
                        each.list_id,
                        each.publications,
                        each.added,
                        each.removed,
                        each.entries_withdrawn,
                        each.list_withdrawals,
                        each.roll_backs,
                    )
                    for each in figures.lists
                ),
            ),
            f"<p>{figures.suppressions:,} suppressions in the period; {figures.suppressed_now:,} hashes are suppressed "
            f"now. Publishing takes {figures.approvals_required} approvals.</p>",
            "<h2>Retention</h2>",
            _table(("What", "How long"), ((each.what, each.how_long) for each in figures.retention)),
            *_named(fields),
            "</body></html>\n",
        )
    )


_TECHNOLOGY = ("Matches", "Confirmed", "Disputed", "Precision", "Error ratio")


def _technology(each: Technology) -> tuple[object, ...]:
    shares = ("" if share is None else f"{share:.4%}" for share in (each.precision, each.error_ratio))
    return (each.algorithm, each.matches, each.confirmed, each.disputed, *shares)


def _list(each: ListFigures) -> tuple[object, ...]:
    hashes = "not served"
    if each.hashes is not None:
        hashes = ", ".join(f"{count:,} {algorithm}" for algorithm, count in each.hashes.items())
    return (each.list_id, each.body, each.nature, each.jurisdiction, hashes, each.as_of or "")


def _named(fields: Sequence[Field]) -> Iterator[str]:
    for law in dict.fromkeys(field.law for field in fields):
        rows = [(field.reference, field.asked, field.answer or "–", field.note) for field in fields if field.law == law]
        yield f"<h2>{escape(law)}</h2>"
        yield _table(("Reference", "Asked for", "Answer", "To be added"), rows)


def _table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    drawn = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    if not drawn:
        return "<p>None.</p>"
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{drawn}</tbody></table>"


def _cell(value: object) -> str:
    if isinstance(value, int):
        return f'<td class="number">{value:,}</td>'
    return f"<td>{escape(str(value))}</td>"
