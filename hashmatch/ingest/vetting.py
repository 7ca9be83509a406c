"""The gates: what a generation must satisfy before it may be published."""

from __future__ import annotations

from collections import Counter

import numpy as np

from hashmatch.formats.delivery import Tally
from hashmatch.ingest.changes import Changes
from hashmatch.model.vetting import Gate, LabelCount, QuarantineCount, VettingPolicy, VettingReport

MAXIMUM_LABELS = 100


def report_on(
    tally: Tally, changes: Changes, before: int, policy: VettingPolicy, *, declared_records: int | None
) -> VettingReport:
    """The vetting report of a delivery to a list that had `before` hashes."""
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
        _share(
            "quarantine", quarantined, tally.read, policy.maximum_quarantined_fraction, "of what was read is unsound"
        ),
        _share(
            "removals", changes.removed, before, policy.maximum_removed_fraction, "of the list's hashes are removed"
        ),
    ]
    if before:
        gates.append(
            _share("additions", changes.added, before, policy.maximum_added_fraction, "is added to the list's hashes")
        )
    if declared_records is not None:
        gates.append(
            Gate(
                "declared-count",
                tally.records == declared_records,
                f"the body declares {declared_records} records, the delivery has {tally.records}",
            )
        )
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
    )


def _share(name: str, part: int, whole: int, limit: float, what: str) -> Gate:
    share = part / whole if whole else 0.0
    return Gate(name, share <= limit, f"{share:.2%} {what} ({part} of {whole}); the policy allows {limit:.2%}")


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
