"""Answers as JSON-ready values: the names here are what scripts rely on. They are those of the client's documents."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from google.protobuf.message import Message
from hashmatch_client import Algorithm
from hashmatch_client.cli.text import moment

from hashmatch.v1 import common_pb2, list_service_pb2
from hashmatch.v1 import list_admin_service_pb2 as pb

Document = dict[str, Any]

_UNRECOGNISED = "UNRECOGNISED"


def definition_document(definition: list_service_pb2.ListDefinition) -> Document:
    """What is stated about a list."""
    return {
        "list": definition.list_id,
        "body": definition.body,
        "title": definition.title,
        "nature": nature(definition.nature),
        "scheme": definition.scheme,
        "jurisdiction": definition.jurisdiction,
        "max_age_seconds": definition.max_age.seconds,
        "maximum_distance": definition.maximum_distance if definition.HasField("maximum_distance") else None,
        "minimum_asked_share": definition.minimum_asked_share,
        "minimum_listed_share": definition.minimum_listed_share,
    }


def generation_document(generation: list_service_pb2.Generation) -> Document:
    """A published state of a list."""
    return {
        "generation": generation.number,
        "epoch": generation.epoch,
        "published_at": instant(generation, "published_at") or None,
        "as_of": instant(generation, "as_of") or None,
        "hashes": counts(generation.counts),
        "approvals": generation.vetting.approvals,
        "approvals_required": generation.vetting.approvals_required,
        "delivery_sha256": generation.delivery_sha256.hex(),
    }


def staging_document(staging: pb.Staging) -> Document:
    """A staged generation with its report."""
    return {
        "staging_id": staging.staging_id,
        "list": staging.list_id,
        "state": state(staging.state),
        "mode": mode(staging.mode),
        "base_generation": staging.base_generation,
        "staged_by": staging.staged_by,
        "staged_at": instant(staging, "staged_at") or None,
        "as_of": instant(staging, "as_of") or None,
        "file_name": staging.file_name,
        "delivery_sha256": staging.delivery_sha256.hex(),
        "delivery_bytes": staging.delivery_bytes,
        "report": _report(staging.report),
        "approvals": [
            {"approver": each.approver, "approved_at": instant(each, "approved_at") or None, "note": each.note}
            for each in staging.approvals
        ],
        "approvals_required": staging.approvals_required,
        "approval_digest": staging.approval_digest.hex(),
        "published_epoch": staging.published_epoch or None,
    }


def feed_document(feed: pb.Feed) -> Document:
    """A feed and its last round."""
    return {
        "feed": feed.name,
        "kind": feed.kind,
        "list": feed.list_id,
        "interval_seconds": feed.interval.seconds,
        "running": feed.running,
        "outcome": feed_outcome(feed) or None,
        "failure": feed.failure or None,
        "detail": feed.detail,
        "started_at": instant(feed, "started_at") or None,
        "ended_at": instant(feed, "ended_at") or None,
        "succeeded_at": instant(feed, "succeeded_at") or None,
        "failed_rounds": feed.failed_rounds,
        "full": feed.full,
        "pages": feed.pages,
        "records": feed.records,
        "staging_id": feed.staging_id or None,
        "waiting_staging_id": feed.waiting_staging_id or None,
        "published_read_at": instant(feed, "published_read_at") or None,
        "due_at": instant(feed, "due_at") or None,
    }


def event_document(event: pb.HistoryEvent) -> Document:
    """Something that was done."""
    return {
        "epoch": event.epoch,
        "at": instant(event, "at") or None,
        "act": event.act,
        "list": event.list_id,
        "generation": event.generation or None,
        "actor": event.actor,
        "approvers": list(event.approvers),
        "reason": event.reason,
        "added": event.added,
        "removed": event.removed,
    }


def _report(report: pb.VettingReport) -> Document:
    return {
        "records": report.records,
        "read": report.read,
        "stored": report.stored,
        "duplicates": report.duplicates,
        "quarantined": report.quarantined,
        "removals": report.removals,
        "hashes": counts(report.counts),
        "added": report.added,
        "removed": report.removed,
        "changed": report.changed,
        "unchanged": report.unchanged,
        "quarantine": [
            {"reason": each.reason, "count": each.count, "example_records": list(each.example_records)}
            for each in report.quarantine
        ],
        "labels": [{"label": each.label, "scheme": each.scheme, "count": each.count} for each in report.labels],
        "gates": [
            {"name": gate.name, "passed": gate.passed, "acceptable": gate.acceptable, "detail": gate.detail}
            for gate in report.gates
        ],
        "declared_records": report.declared_records if report.HasField("declared_records") else None,
        "overlaps": [
            {
                "list": each.list_id,
                "nature": nature(each.nature),
                "looked_for": each.looked_for,
                "shared": each.shared,
                "agreed": each.agreed,
                "disputed": each.disputed,
            }
            for each in report.overlaps
        ],
    }


def counts(messages: Iterable[list_service_pb2.AlgorithmCount]) -> dict[str, int]:
    """The numbers of hashes by the names of their algorithms."""
    found: dict[str, int] = {}
    for each in messages:
        name = algorithm(each.algorithm).value
        found[name] = found.get(name, 0) + each.hashes
    return found


def algorithm(number: int) -> Algorithm:
    """The algorithm of that number."""
    return Algorithm.__members__.get(_name(common_pb2.Algorithm.items(), number, "ALGORITHM_"), Algorithm.UNRECOGNISED)


def nature(number: int) -> str:
    """The name of a list's nature."""
    return _name(common_pb2.ListNature.items(), number, "LIST_NATURE_")


def state(number: int) -> str:
    """The name of a staging's state."""
    return _name(pb.StagingState.items(), number, "STAGING_STATE_")


def mode(number: int) -> str:
    """The name of a delivery's mode."""
    return _name(pb.DeliveryMode.items(), number, "DELIVERY_MODE_")


def feed_outcome(feed: pb.Feed) -> str:
    """How a feed's last round went; empty if there was none."""
    return "" if not feed.outcome else _name(pb.FeedOutcome.items(), feed.outcome, "FEED_OUTCOME_")


def instant(message: Message, field: str) -> str:
    """The timestamp in a field, to the second; empty if it is absent."""
    return moment(datetime_of(message, field))


def datetime_of(message: Message, field: str) -> datetime | None:
    """The timestamp in a field, or None."""
    if not message.HasField(field):
        return None
    value: datetime = getattr(message, field).ToDatetime(tzinfo=UTC)
    return value


def _name(members: Iterable[tuple[str, int]], number: int, prefix: str) -> str:
    """The name that the contract gives to a number, or UNRECOGNISED where the server is newer."""
    return next((name.removeprefix(prefix) for name, member in members if member == number), _UNRECOGNISED)
