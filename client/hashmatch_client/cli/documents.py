"""Answers as JSON-ready values: the names here are what scripts rely on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hashmatch_client._hashes import Algorithm
from hashmatch_client._results import (
    Cause,
    Classification,
    FeedbackCounts,
    HashList,
    ListFreshness,
    Opinion,
    SnapshotInfo,
    SnapshotUpdate,
    VideoShares,
)
from hashmatch_client.cli.asking import Checked, Tally
from hashmatch_client.cli.text import moment

Document = dict[str, Any]


def checked_document(checked: Checked, *, with_hashes: bool) -> Document:
    """One item and what is said of it."""
    subject, answer = checked.subject, checked.answer
    document: Document = {
        "reference": subject.reference,
        "verdict": checked.verdict.value,
        "test": checked.is_test,
        "natures": [] if answer is None else [nature.value for nature in answer.natures],
        "agreement": "NONE" if answer is None else answer.agreement.value,
        "causes": [{"reason": subject.reason, "list": ""}] if subject.reason else [],
        "problem": subject.problem,
        "hashes": [],
        "opinions": [] if answer is None else [opinion_document(opinion) for opinion in answer.opinions],
        "epoch": None if answer is None else answer.snapshot.epoch,
    }
    if answer is not None and subject.item is not None:
        document["causes"] += _causes(answer.causes)
        for asked, said in zip(subject.item.hashes, answer.hashes, strict=True):
            entry: Document = {"algorithm": asked.algorithm.value}
            if with_hashes and asked.value:
                entry["value"] = asked.hex
            if asked.quality is not None:
                entry["quality"] = asked.quality
            entry |= {
                "verdict": said.verdict.value,
                "causes": _causes(said.causes),
                "suppressed": said.suppressed,
                "below_min_sources": said.below_min_sources,
            }
            document["hashes"].append(entry)
    return document


def opinion_document(opinion: Opinion) -> Document:
    """One opinion."""
    return {
        "body": opinion.body,
        "list": opinion.list_id,
        "nature": opinion.nature.value,
        "label": opinion.label,
        "scheme": opinion.scheme,
        "classification": _classification(opinion.classification),
        "jurisdiction": opinion.jurisdiction,
        "flags": list(opinion.flags),
        "updated_on": opinion.updated_on,
        "source_key": opinion.source_key,
        "generation": opinion.generation,
        "since_epoch": opinion.since_epoch,
        "kind": opinion.kind.value,
        "distance": opinion.distance,
        "video": None if opinion.video is None else _video(opinion.video),
        "feedback": None if opinion.feedback is None else _feedback(opinion.feedback),
        "stale": opinion.stale,
        "approvals": opinion.vetting.approvals,
        "approvals_required": opinion.vetting.approvals_required,
    }


def _video(shares: VideoShares) -> Document:
    return {
        "asked_frames": shares.asked_frames,
        "asked_frames_matched": shares.asked_frames_matched,
        "listed_frames": shares.listed_frames,
        "listed_frames_matched": shares.listed_frames_matched,
    }


def _feedback(counts: FeedbackCounts) -> Document:
    return {"confirmed": counts.confirmed, "disputed": counts.disputed}


def _classification(said: Classification) -> Document:
    return {
        "mapped": said.mapped,
        "mapping_version": said.mapping_version,
        "depicted": list(said.depicted),
        "age": said.age,
        "act": said.act,
        "portrayal": said.portrayal,
        "baseline": said.baseline,
    }


def tally_document(tally: Tally) -> Document:
    """The counts of a run."""
    oldest = tally.oldest_list
    return {
        "items": tally.items,
        "match": tally.match,
        "test_match": tally.test_match,
        "no_known_match": tally.no_known_match,
        "not_determined": tally.not_determined,
        "epochs": sorted(tally.epochs),
        "oldest_list": None if oldest is None else _freshness(oldest),
    }


def list_document(each: HashList) -> Document:
    """One list."""
    generation, freshness = each.generation, each.freshness
    return {
        "list": each.list_id,
        "body": each.body,
        "title": each.title,
        "nature": each.nature.value,
        "scheme": each.scheme,
        "jurisdiction": each.jurisdiction,
        "hashes": {} if generation is None else _counts(generation.counts.items()),
        "generation": None if generation is None else generation.number,
        "epoch": None if generation is None else generation.epoch,
        "published_at": None if generation is None else moment(generation.published_at) or None,
        "age_seconds": None if freshness is None else int(freshness.age.total_seconds()),
        "max_age_seconds": None if each.max_age is None else int(each.max_age.total_seconds()),
        "stale": None if freshness is None else freshness.stale,
    }


def update_document(update: SnapshotUpdate) -> Document:
    """A snapshot and its changes."""
    return {
        "snapshot": _snapshot(update.snapshot),
        "changes": [
            {
                "epoch": change.epoch,
                "published_at": moment(change.published_at) or None,
                "list": change.list_id,
                "act": change.act,
                "generation": change.generation,
                "added": change.added,
                "removed": change.removed,
            }
            for change in update.changes
        ],
        "changes_complete": update.changes_complete,
    }


def _snapshot(snapshot: SnapshotInfo) -> Document:
    return {
        "epoch": snapshot.epoch,
        "published_at": moment(snapshot.published_at) or None,
        "confirmed_at": moment(snapshot.confirmed_at) or None,
        "answered_at": moment(snapshot.answered_at) or None,
        "approvals_required": snapshot.approvals_required,
        "approvals_signed": snapshot.approvals_signed,
        "lists": [_freshness(each) for each in snapshot.lists],
    }


def _freshness(each: ListFreshness) -> Document:
    return {
        "list": each.list_id,
        "nature": each.nature.value,
        "generation": each.generation,
        "as_of": moment(each.as_of) or None,
        "age_seconds": int(each.age.total_seconds()),
        "stale": each.stale,
    }


def _causes(causes: Iterable[Cause]) -> list[Document]:
    return [{"reason": cause.reason.value, "list": cause.list_id} for cause in causes]


def _counts(counts: Iterable[tuple[Algorithm, int]]) -> Document:
    return {algorithm.value: number for algorithm, number in counts}
