"""The figures under the names that laws and regulators give them: which field is asked for where, and what is known.

The wording of each field is ours and short; the law's own is what counts. Whether a law applies to a provider, and in
the period, is for the provider to know: Regulation (EU) 2021/1232, for one, applies for a limited time. What hashmatch
cannot know is named too, so that nobody takes the form for filled in.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec
from hashmatch_client.cli.text import counted

from hashmatch.operations.figures import Figures

EU_INTERIM = "Regulation (EU) 2021/1232"
DSA = "Regulation (EU) 2022/2065 (DSA)"
OFCOM = "Ofcom, Illegal content Codes of Practice for user-to-user services"
_YOURS = "to be added by the provider"
_REPORTED = "as far as callers reported their review (ReportFeedback)"


class Field(msgspec.Struct, frozen=True):
    """A field that is asked for. `answer` is None where hashmatch knows nothing; `note` says what is to be added."""

    law: str
    reference: str
    asked: str
    answer: str | None
    note: str = ""


def named_fields(figures: Figures) -> tuple[Field, ...]:
    """Every field, in the order of laws and references."""
    return (*_eu_interim(figures), *_dsa(figures), *_ofcom(figures))


def _eu_interim(figures: Figures) -> Iterator[Field]:
    def field(number: int, asked: str, answer: str | None, note: str = "") -> Field:
        return Field(EU_INTERIM, f"Art. 3(1)(g)(vii)({number})", asked, answer, note)

    yield field(
        1, "Type and volumes of data processed", _volumes(figures), "hashes alone; traffic and messages are yours"
    )
    yield field(2, "Ground relied on for the processing (GDPR)", None, _YOURS)
    yield field(3, "Ground relied on for transfers outside the Union", None, f"hashmatch transfers nothing; {_YOURS}")
    yield field(
        4,
        "Cases of online child sexual abuse identified: material; solicitation",
        f"material: {_matches(figures, ('illegal',))} matches in lists of illegal content; "
        "solicitation: not detected by comparing hashes",
        "matches are of hashes: how many cases they were is for your review",
    )
    yield field(5, "Complaints of users within the provider or to a court, and their outcome", None, _YOURS)
    yield field(
        6,
        "Numbers and ratios of errors (false positives) of the technologies used",
        _errors(figures),
        _REPORTED,
    )
    yield field(7, "Measures to limit the error rate, and the rate achieved", _measures(figures), _REPORTED)
    yield field(
        8, "Retention policy and data protection safeguards", _retention(figures), "and those of your own systems"
    )
    yield field(
        9,
        "Organisations acting against child sexual abuse with which data were shared",
        None,
        f"lists come from: {_owners(figures)}; with whom you share is {_YOURS}",
    )


def _dsa(figures: Figures) -> Iterator[Field]:
    def field(reference: str, asked: str, answer: str | None, note: str = "") -> Field:
        return Field(DSA, reference, asked, answer, note)

    yield field("Art. 15(1)(a)", "Orders of authorities", None, _YOURS)
    yield field("Art. 15(1)(b)", "Notices", None, _YOURS)
    yield field(
        "Art. 15(1)(c)",
        "Moderation at own initiative: by kind of illegal content and by detection method",
        f"detected by comparing hashes: {_by_nature(figures)}",
        f"which measures were taken is {_YOURS}",
    )
    yield field("Art. 15(1)(d)", "Complaints in the internal system, decisions and reversals", None, _YOURS)
    yield field(
        "Art. 15(1)(e)",
        "Automated means: purposes, indicators of accuracy, possible rate of error, safeguards",
        f"comparison of hashes with vetted lists ({_algorithms(figures)}); "
        f"{_errors(figures)}; safeguards: {_measures(figures)}",
        _REPORTED,
    )
    yield field("Art. 24(1)(a)", "Disputes before out-of-court bodies", None, _YOURS)
    yield field("Art. 24(1)(b)", "Suspensions for misuse", None, _YOURS)


def _ofcom(figures: Figures) -> Iterator[Field]:
    def field(asked: str, answer: str | None, note: str = "") -> Field:
        return Field(OFCOM, "ICU C9 (hash matching)", asked, answer, note)

    yield field("Sources of the hashes: bodies with expertise", _owners(figures), "state why you rely on each")
    yield field("The set of hashes is kept up to date", _updates(figures))
    yield field("Hashes that are wrong are found and removed", _retractions(figures))
    yield field(
        "The set of hashes is secured",
        "sealed with AES-256-GCM in store, archive and backups; no call reads a list out; acts are in a chained log",
        "and how your own machines are secured",
    )
    yield field(
        "Technical performance: balance between precision and recall",
        f"{_precision(figures)}; {_errors(figures)}; near values within what list, server and call permit",
        _REPORTED,
    )
    yield field(
        "Share of detected content that people review",
        None,
        f"{sum(each.matches for each in figures.technologies):,} matches were given; of how many is {_YOURS}",
    )


def _volumes(figures: Figures) -> str:
    told = [f"{each.asked:,} {each.algorithm}" for each in figures.volumes]
    return f"hashes compared with lists: {', '.join(told)}" if told else "no hash was compared with a list"


def _matches(figures: Figures, natures: Iterable[str]) -> str:
    wanted = set(natures)
    count = sum(each.matches for listed in figures.lists if listed.nature in wanted for each in listed.technologies)
    return f"{count:,}"


def _by_nature(figures: Figures) -> str:
    natures = sorted({listed.nature for listed in figures.lists if listed.nature not in ("", "test", "known-good")})
    return ", ".join(f"{nature}: {_matches(figures, [nature])} matches" for nature in natures) or "nothing"


def _errors(figures: Figures) -> str:
    told = [
        f"{each.algorithm}: {each.disputed:,} of {each.matches:,} matches disputed ({each.error_ratio or 0:.4%})"
        for each in figures.technologies
    ]
    return ", ".join(told) or "there was no match"


def _precision(figures: Figures) -> str:
    told = [
        f"{each.algorithm}: {each.confirmed:,} of {each.confirmed + each.disputed:,} reviewed ({each.precision:.2%})"
        for each in figures.technologies
        if each.precision is not None
    ]
    return f"matches confirmed: {', '.join(told)}" if told else "nobody reported a review of matches"


def _measures(figures: Figures) -> str:
    return (
        f"deliveries are vetted and approved by {figures.approvals_required} people who did not import them; "
        f"{figures.suppressions:,} suppressions in the period, {figures.suppressed_now:,} hashes suppressed now; "
        f"retractions: {_retractions(figures)}"
    )


def _retractions(figures: Figures) -> str:
    entries = sum(each.entries_withdrawn for each in figures.lists)
    lists = sum(each.list_withdrawals for each in figures.lists)
    back = sum(each.roll_backs for each in figures.lists)
    removed = sum(each.removed for each in figures.lists)
    return (
        f"{entries:,} entries withdrawn, {removed:,} removed by deliveries, {lists} lists withdrawn, {back} roll-backs"
    )


def _updates(figures: Figures) -> str:
    told = [
        f"{each.list_id}: {counted(each.publications, 'publication')}, current as of {each.as_of}"
        for each in figures.lists
        if each.as_of is not None
    ]
    return "; ".join(told) or "nothing is served"


def _retention(figures: Figures) -> str:
    return "; ".join(f"{each.what}: {each.how_long}" for each in figures.retention)


def _owners(figures: Figures) -> str:
    return ", ".join(sorted({each.body for each in figures.lists if each.body})) or "nobody known here"


def _algorithms(figures: Figures) -> str:
    return ", ".join(each.algorithm for each in figures.volumes) or "none used"
