"""What a provider reports of its use of lists: volumes, matches, disputes, retractions, retention, owners of lists.

Everything comes from the data directory of a server with administration: the daily counts of all servers, and the
manifest that was served last. Neither store nor server need to run.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from hashmatch.model.algorithms import Algorithm
from hashmatch.model.clock import Clock
from hashmatch.model.counts import CONFIRMED, DISPUTED, MATCHED, Count, days_between
from hashmatch.model.lists import ListNature
from hashmatch.operations.access import data_directory, open_store
from hashmatch.operations.list_checks import read_floor
from hashmatch.service.config import Config
from hashmatch.service.secrets import SecretError
from hashmatch.store.counts import CountError, CountFiles
from hashmatch.store.floor import FloorError
from hashmatch.store.manifest import MAXIMUM_HISTORY, HistoryRecord, ListState, Manifest
from hashmatch.store.segments import StoreDamagedError
from hashmatch.trust.sealing import SealingKeyError
from hashmatch.version import VERSION

_VERDICTS = ("match", "no_known_match", "not_determined")


class FiguresError(Exception):
    """A report that cannot be made. The message is for the operator."""


UNREADABLE = (FiguresError, CountError, FloorError, SealingKeyError, SecretError, StoreDamagedError)
"""What `figures` raises; each message is for the operator."""


class Period(msgspec.Struct, frozen=True, kw_only=True):
    """From the first to the last day in UTC, both included; `counted` of its days have counts."""

    first: str
    last: str
    days: int
    counted: int


class Volume(msgspec.Struct, frozen=True, kw_only=True):
    """How many hashes of an algorithm were asked about, and what the verdicts were."""

    algorithm: str
    asked: int
    match: int
    no_known_match: int
    not_determined: int


class Technology(msgspec.Struct, frozen=True, kw_only=True):
    """What came of an algorithm in a list, or in all.

    A hash that is in several lists counts once in each. `confirmed` and `disputed` are what callers said of matches,
    each time that they said something new; `precision` is the share of what was confirmed in that, and `error_ratio`
    the share of all matches that were disputed. None says that there is nothing to have a share of.
    """

    algorithm: str
    matches: int
    confirmed: int
    disputed: int
    precision: float | None
    error_ratio: float | None


class ListFigures(msgspec.Struct, frozen=True, kw_only=True):
    """A list that was served or matched. `hashes` are those of today, by algorithm; None says that it is not served.

    The numbers of acts are those within the period; `added` and `removed` are what publications changed.
    """

    list_id: str
    body: str
    title: str
    nature: str
    jurisdiction: str
    hashes: dict[str, int] | None
    as_of: str | None
    technologies: tuple[Technology, ...]
    publications: int
    added: int
    removed: int
    withdrawals: int
    entries_withdrawn: int
    list_withdrawals: int
    roll_backs: int


class Retention(msgspec.Struct, frozen=True, kw_only=True):
    """Something that is kept, or not, and for how long."""

    what: str
    how_long: str


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """The whole."""

    made_at: str
    hashmatch: str
    period: Period
    limits: tuple[str, ...]
    volumes: tuple[Volume, ...]
    technologies: tuple[Technology, ...]
    lists: tuple[ListFigures, ...]
    suppressions: int
    suppressed_now: int
    approvals_required: int
    retention: tuple[Retention, ...]


def figures(config: Config, first: str, last: str, clock: Clock) -> Figures:
    """The figures of the days from `first` to `last`, written as 2026-01-31.

    Raises what is in UNREADABLE.
    """
    if not config.server.admin_listen:
        raise FiguresError(
            "this server has no administration: ask on the machine of one that has, where counts are kept"
        )
    files = CountFiles(data_directory(config) / "counts")
    known = set(files.days())
    days = list(days_between(first, last))
    counted = [day for day in days if day in known]
    sums: Counter[tuple[str, str, str]] = Counter()
    for day in counted:
        for each in _counts(files, day):
            sums[each.list_id, each.algorithm, each.what] += each.count
    manifest = _manifest(config)
    acts = [record for record in manifest.history if first <= _day(record.at) <= last] if manifest else []
    return Figures(
        made_at=_instant(clock.now()),
        hashmatch=VERSION,
        period=Period(first=first, last=last, days=len(days), counted=len(counted)),
        limits=tuple(_limits(manifest, first, len(days) - len(counted))),
        volumes=_volumes(sums),
        technologies=_technologies(sums, _findings(manifest, sums)),
        lists=tuple(_lists(manifest, sums, acts)),
        suppressions=sum(record.act == "suppress" for record in acts),
        suppressed_now=manifest.suppressions.count if manifest and manifest.suppressions else 0,
        approvals_required=manifest.approvals_required if manifest else config.vetting.approvals_required,
        retention=tuple(_retention(config)),
    )


def document(figures: object) -> Any:
    """Figures, or fields, as values for JSON."""
    return msgspec.to_builtins(figures)


def _counts(files: CountFiles, day: str) -> Iterable[Count]:
    for counts in files.runs(day).values():
        yield from counts


def _manifest(config: Config) -> Manifest | None:
    raw = read_floor(data_directory(config)).sealed_manifest()
    store = open_store(config) if raw is not None else None
    if raw is None or store is None:
        return None
    try:
        return store.manifests.open(raw)
    finally:
        store.close()


def _limits(manifest: Manifest | None, first: str, uncounted: int) -> Iterable[str]:
    yield "Numbers are of hashes, not of files, users or cases: a file that comes with two hashes counts twice."
    yield "Volumes include what was asked of test lists; matches in all do not."
    yield "A match says that a hash is on a list, not that a person looked at the file."
    if uncounted:
        yield f"On {uncounted} days of the period nothing was counted, or the counts are no longer kept."
    yield "Precision and error ratios rest on what callers reported: of most matches nobody says anything."
    if manifest is None:
        yield "Nothing was ever published through this server: the owners of lists are not known here."
    elif len(manifest.history) == MAXIMUM_HISTORY and _day(manifest.history[0].at) >= first:
        yield f"Acts before {_instant(manifest.history[0].at)} are in the audit log alone and not counted here."


def _volumes(sums: Mapping[tuple[str, str, str], int]) -> tuple[Volume, ...]:
    found = []
    for algorithm in sorted({algorithm for list_id, algorithm, _ in sums if not list_id}):
        by_verdict = {verdict: sums.get(("", algorithm, verdict), 0) for verdict in _VERDICTS}
        found.append(Volume(algorithm=algorithm, asked=sum(by_verdict.values()), **by_verdict))
    return tuple(found)


def _findings(manifest: Manifest | None, sums: Iterable[tuple[str, str, str]]) -> Iterable[str]:
    """The lists whose matches are findings: all but test lists."""
    tests = {
        list_id
        for list_id, state in (manifest.lists if manifest else {}).items()
        if state.definition.nature is ListNature.TEST
    }
    return {list_id for list_id, _, _ in sums if list_id} - tests


def _technologies(sums: Mapping[tuple[str, str, str], int], list_ids: Iterable[str]) -> tuple[Technology, ...]:
    wanted = set(list_ids)
    totals: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for (list_id, algorithm, what), count in sums.items():
        if list_id in wanted:
            totals[algorithm][what] += count
    return tuple(_technology(algorithm, told) for algorithm, told in sorted(totals.items()))


def _technology(algorithm: str, told: Counter[str]) -> Technology:
    matches, confirmed, disputed = told[MATCHED], told[CONFIRMED], told[DISPUTED]
    said = confirmed + disputed
    return Technology(
        algorithm=algorithm,
        matches=matches,
        confirmed=confirmed,
        disputed=disputed,
        precision=confirmed / said if said else None,
        error_ratio=disputed / matches if matches else None,
    )


def _lists(
    manifest: Manifest | None, sums: Mapping[tuple[str, str, str], int], acts: Iterable[HistoryRecord]
) -> Iterable[ListFigures]:
    states = manifest.lists if manifest is not None else {}
    by_list: defaultdict[str, list[HistoryRecord]] = defaultdict(list)
    for record in acts:
        by_list[record.list_id].append(record)
    for list_id in sorted({*states, *(list_id for list_id, _, _ in sums if list_id)}):
        yield _list(list_id, states.get(list_id), _technologies(sums, [list_id]), by_list[list_id])


def _list(
    list_id: str, state: ListState | None, technologies: tuple[Technology, ...], acts: list[HistoryRecord]
) -> ListFigures:
    definition = None if state is None else state.definition
    generation = None if state is None else state.generation
    told = Counter(record.act for record in acts)
    published = [record for record in acts if record.act == "publish"]
    return ListFigures(
        list_id=list_id,
        body=definition.body if definition else "",
        title=definition.title if definition else "",
        nature=definition.nature.title if definition else "",
        jurisdiction=definition.jurisdiction if definition else "",
        hashes=None
        if generation is None
        else {Algorithm(number).name.lower(): count for number, count in generation.counts.items()},
        as_of=_instant(generation.as_of) if generation else None,
        technologies=technologies,
        publications=len(published),
        added=sum(record.added for record in published),
        removed=sum(record.removed for record in published),
        withdrawals=told["withdraw-entries"],
        entries_withdrawn=sum(record.removed for record in acts if record.act == "withdraw-entries"),
        list_withdrawals=told["withdraw-list"],
        roll_backs=told["roll-back"],
    )


def _retention(config: Config) -> Iterable[Retention]:
    for what, how_long in (
        ("Hashes that were asked about, and who asked about which", "not kept; in memory while a call lasts"),
        ("Files", "never received"),
        (
            "Answers",
            "not kept; the log has a line for each call, with the caller and numbers, for as long as you keep it",
        ),
        ("Daily counts", f"{config.counts.retention_days} days"),
        (
            "Lists",
            f"the published generation and {config.vetting.retained_generations} before it, sealed, until replaced; "
            "an hour longer until they are deleted",
        ),
        ("Deliveries", "not kept; read in memory alone"),
        ("What callers said of matches", "sealed, with the caller, until it is taken back or settled"),
        ("Audit log of administration", "without end, and chained so that a change shows"),
    ):
        yield Retention(what=what, how_long=how_long)


def _day(seconds: float) -> str:
    return _instant(seconds)[:10]


def _instant(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"
