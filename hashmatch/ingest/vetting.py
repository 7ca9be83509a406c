"""The gates: what a generation must satisfy before it may be published."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec
import numpy as np

from hashmatch.formats.delivery import Tally
from hashmatch.ingest.changes import Changes
from hashmatch.ingest.evidence import Evidence
from hashmatch.ingest.near_duplicates import Density
from hashmatch.model.lists import ListNature
from hashmatch.model.vetting import Gate, LabelCount, QuarantineCount, VettingPolicy, VettingReport

MAXIMUM_LABELS = 100
# What parsers call the values that `is_degenerate` or the digests of nothing describe.
DEGENERATE_REASONS = ("degenerate", "empty-file-digest")
# What parsers call fingerprints of kinds that nothing is compared by here. Bodies deliver them as a matter of course.
NOT_SERVED_REASON = "algorithm-not-served"


# Below this many hashes a share says nothing of where they come from.
_TELLING = 1_000


class Dates(NamedTuple):
    """Of when a delivery is, and what the list serves now, None for nothing; in seconds since 1970.

    `by_clock` says that the delivery's is of the clock of the server that took it in, and stated by nobody.
    """

    delivery: float
    served: float | None
    by_clock: bool


def report_on(
    tally: Tally,
    changes: Changes,
    before: int,
    policy: VettingPolicy,
    evidence: Evidence,
    dates: Dates,
    *,
    declared_records: int | None,
    pulled: bool = False,
) -> VettingReport:
    """The vetting report of a delivery to a list that had `before` hashes; `declared_records` is what came with it.

    `pulled` says that a feed read it while the body went on publishing.
    """
    quarantined = sum(tally.quarantined.values())
    accounted = changes.stored + changes.duplicates + quarantined + tally.removals
    after = sum(changes.counts.values())
    gates = [
        Gate(
            "counts-reconcile",
            tally.read == accounted,
            f"read {tally.read}, stored {changes.stored}, duplicates {changes.duplicates}, quarantined {quarantined}, "
            f"removals {tally.removals}",
            acceptable=False,
        ),
        Gate("not-empty", after > 0, f"the list will have {after} hashes"),
        _quarantine(tally, policy),
        _superseded(tally, changes, policy),
        _share(
            "removals", changes.removed, before, policy.maximum_removed_fraction, "of the list's hashes are removed"
        ),
    ]
    if before:
        gates.append(
            _share("additions", changes.added, before, policy.maximum_added_fraction, "is added to the list's hashes")
        )
    if dates.served is not None:
        gates.append(_older(dates.delivery, dates.served, policy.clock_skew_seconds if dates.by_clock else 0.0))
    for name, who, declared in (
        ("declared-count", "the importer", declared_records),
        ("own-count", "the delivery", tally.declared_records),
    ):
        if declared is not None:
            detail = f"{who} declares {declared} records, {tally.records} were read"
            # What changes while a feed reads it comes twice: the body's number is of the moment of the first page.
            gates.append(Gate(name, tally.records == declared or (pulled and tally.records > declared), detail))
    gates.append(_degenerate(tally, evidence))
    gates += _unreadable(evidence)
    if evidence.nature.is_served:
        gates += _standing_against(evidence, policy)
    if evidence.density is not None:
        gates.append(_near_duplicates(evidence.density, policy))
    return VettingReport(
        records=tally.records,
        read=tally.read,
        stored=changes.stored,
        duplicates=changes.duplicates,
        quarantined=quarantined,
        removals=tally.removals,
        # In order, because approvals are for the report's exact bytes.
        counts=dict(sorted(changes.counts.items())),
        added=changes.added,
        removed=changes.removed,
        changed=changes.changed,
        unchanged=changes.unchanged,
        quarantine=tuple(
            QuarantineCount(reason, count, tuple(tally.examples.get(reason, ())))
            for reason, count in tally.quarantined.most_common()
        ),
        labels=_labels(changes),
        gates=tuple(gates),
        declared_records=tally.declared_records,
        overlaps=evidence.overlaps,
    )


def _share(name: str, part: int, whole: int, limit: float, what: str) -> Gate:
    share = part / whole if whole else 0.0
    return Gate(name, share <= limit, f"{share:.2%} {what} ({part} of {whole}); the policy allows {limit:.2%}")


def _older(delivery: float, served: float, skew: float) -> Gate:
    # Whatever the body has added since comes to be missing, and what it has taken back comes back, with few changes in
    # all. What the server dates itself is of now: only clocks differ, and the report has to be the same at any moment.
    if delivery >= served - skew:
        return Gate("older", passed=True, detail="the delivery is not of an earlier date than what is served")
    return Gate(
        "older", passed=False, detail=f"the delivery is as of {_date(delivery)}, what is served {_date(served)}"
    )


def _date(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _quarantine(tally: Tally, policy: VettingPolicy) -> Gate:
    # What is not served is sound: a body that always delivers it would otherwise never meet the gate.
    not_served = tally.quarantined[NOT_SERVED_REASON]
    besides = f"; {not_served} more are of kinds that are not served" if not_served else ""
    gate = _share(
        "quarantine",
        tally.quarantined.total() - not_served,
        tally.read,
        policy.maximum_quarantined_fraction,
        "of what was read is unsound",
    )
    return msgspec.structs.replace(gate, detail=gate.detail + besides)


def _superseded(tally: Tally, changes: Changes, policy: VettingPolicy) -> Gate:
    # A key that does not tell entries apart makes one of them all, of which the last is left: the counts reconcile.
    gate = _share(
        "superseded",
        changes.superseded,
        tally.read,
        policy.maximum_superseded_fraction,
        "of what was read is replaced by later entries with the same keys",
    )
    telling = tally.read >= _TELLING
    return msgspec.structs.replace(
        gate, passed=gate.passed or not telling, detail=f"{gate.detail} of {_TELLING} or more"
    )


def _degenerate(tally: Tally, evidence: Evidence) -> Gate:
    refused = sum(tally.quarantined[reason] for reason in DEGENERATE_REASONS)
    return Gate(
        "degenerate",
        not evidence.degenerate,
        f"{evidence.degenerate} values that match without meaning anything were taken in, {refused} were quarantined",
        acceptable=False,
    )


def _unreadable(evidence: Evidence) -> Iterator[Gate]:
    """The gates on what vetting had to do without, where there is such."""
    if evidence.base_unreadable:
        yield Gate(
            "base-readable",
            passed=False,
            detail="what the list has now cannot be read: the delivery takes the place of all of it, unseen",
        )
    if evidence.unreadable:
        yield Gate(
            "lists-readable",
            passed=False,
            detail=f"what these have cannot be read, and was not compared with: {', '.join(evidence.unreadable)}",
        )


def _standing_against(evidence: Evidence, policy: VettingPolicy) -> list[Gate]:
    """The gates on what stands against serving the delivery's hashes."""
    return [
        Gate(
            "known-good",
            # Nobody is accused by a test list, and its fixtures are harmless by intention.
            evidence.harmless_served <= policy.maximum_known_good_hashes or evidence.nature is ListNature.TEST,
            f"{evidence.harmless} hashes are in {evidence.corpora} known-good corpora"
            f"{_by_corpus(evidence)}, {evidence.harmless - evidence.harmless_served} of them suppressed; the policy "
            f"allows {policy.maximum_known_good_hashes}",
        ),
        Gate(
            "suppressed",
            evidence.suppressed_added <= policy.maximum_suppressed_hashes,
            f"{evidence.suppressed_added} hashes that the list does not have are suppressed and would be added, "
            f"{evidence.suppressed} suppressed ones are delivered in all; the policy allows "
            f"{policy.maximum_suppressed_hashes}",
        ),
        _withdrawn(evidence, policy),
        _agreement(evidence, policy),
    ]


def _withdrawn(evidence: Evidence, policy: VettingPolicy) -> Gate:
    if evidence.withdrawn_unreadable:
        return Gate("withdrawn", passed=False, detail="the record of what was withdrawn cannot be read")
    return Gate(
        "withdrawn",
        evidence.returned_hashes + evidence.returned_entries <= policy.maximum_returned_entries,
        f"{evidence.returned_hashes} hashes and {evidence.returned_entries} entries that were withdrawn at the "
        f"body's word come back; the policy allows {policy.maximum_returned_entries}",
    )


def _by_corpus(evidence: Evidence) -> str:
    shares = [f"{each.shared} in {each.list_id}" for each in evidence.overlaps if not each.nature.is_served]
    return f" ({', '.join(shares)})" if shares else ""


def _agreement(evidence: Evidence, policy: VettingPolicy) -> Gate:
    # What a test list says of its fixtures is no opinion.
    lists = [each for each in evidence.overlaps if each.nature.is_served and each.nature is not ListNature.TEST]
    agreed, disputed = (sum(getattr(each, name) for each in lists) for name in ("agreed", "disputed"))
    share = disputed / (agreed + disputed) if agreed + disputed else 0.0
    telling = agreed + disputed >= _TELLING
    return Gate(
        "agreement",
        share <= policy.maximum_disputed_fraction or not telling,
        f"{disputed} of {agreed + disputed} comparable opinions of other lists dispute the delivery's ({share:.2%}); "
        f"the policy allows {policy.maximum_disputed_fraction:.2%} of {_TELLING} or more",
    )


def _near_duplicates(density: Density, policy: VettingPolicy) -> Gate:
    telling = density.probes >= _TELLING or density.references >= _TELLING
    return Gate(
        "near-duplicates",
        density.share <= policy.maximum_near_duplicate_fraction or not telling,
        f"{density.near} of {density.probes} PDQ codes have a near duplicate ({density.share:.2%}), the largest family "
        f"has about {density.largest_family}; the policy allows {policy.maximum_near_duplicate_fraction:.2%} of a list "
        f"of {_TELLING} or more",
    )


def _labels(changes: Changes) -> tuple[LabelCount, ...]:
    counts: Counter[tuple[str, str]] = Counter()
    for change in changes.rows:
        if change.rows is None or change.kind not in changes.counts:
            continue
        used = np.bincount(change.rows.refs, minlength=len(change.rows.sets)).tolist()
        for number, statements in enumerate(change.rows.sets):
            for label, scheme in {(each.label, each.scheme) for each in statements}:
                counts[label, scheme] += used[number]
    return tuple(LabelCount(*named, count) for named, count in counts.most_common(MAXIMUM_LABELS) if count)
