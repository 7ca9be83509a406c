"""Between the messages of ListAdminService and the model: translation, and nothing else."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp

from hashmatch.model.vetting import VettingReport
from hashmatch.service import approval_messages, messages
from hashmatch.service.feeds import FeedReport
from hashmatch.store.manifest import HistoryRecord
from hashmatch.store.stagings import DISCARDED, PUBLISHED, STAGED, Staging
from hashmatch.v1 import common_pb2, list_admin_service_pb2

_STATES = {
    STAGED: list_admin_service_pb2.STAGING_STATE_STAGED,
    PUBLISHED: list_admin_service_pb2.STAGING_STATE_PUBLISHED,
    DISCARDED: list_admin_service_pb2.STAGING_STATE_DISCARDED,
}


def staging(found: Staging) -> list_admin_service_pb2.Staging:
    """A staged generation."""
    return list_admin_service_pb2.Staging(
        staging_id=found.staging_id,
        list_id=found.list_id,
        state=_STATES[found.state],
        base_generation=found.base_number,
        mode=list_admin_service_pb2.DeliveryMode.ValueType(found.mode),
        staged_by=found.staged_by,
        staged_at=messages.timestamp(found.staged_at),
        as_of=messages.timestamp(found.as_of),
        file_name=found.file_name,
        delivery_sha256=found.delivery_sha256,
        delivery_bytes=found.delivery_bytes,
        report=report(found.report),
        approvals=approval_messages.approvals(found.approvals),
        approvals_required=found.approvals_required,
        approval_digest=found.approval_digest,
        published_epoch=found.published_epoch,
        terms=approval_messages.terms(found.terms) if found.base_sha256 else None,
    )


def report(found: VettingReport) -> list_admin_service_pb2.VettingReport:
    """A vetting report."""
    return list_admin_service_pb2.VettingReport(
        records=found.records,
        read=found.read,
        stored=found.stored,
        duplicates=found.duplicates,
        quarantined=found.quarantined,
        removals=found.removals,
        counts=messages.algorithm_counts(found.counts),
        quarantine=[
            list_admin_service_pb2.QuarantineCount(
                reason=each.reason, count=each.count, example_records=each.example_records
            )
            for each in found.quarantine
        ],
        added=found.added,
        removed=found.removed,
        changed=found.changed,
        unchanged=found.unchanged,
        labels=[
            list_admin_service_pb2.LabelCount(label=each.label, scheme=each.scheme, count=each.count)
            for each in found.labels
        ],
        gates=[
            list_admin_service_pb2.VettingGate(
                name=each.name, passed=each.passed, detail=each.detail, acceptable=each.acceptable
            )
            for each in found.gates
        ],
        declared_records=found.declared_records,
        overlaps=[
            list_admin_service_pb2.ListOverlap(
                list_id=each.list_id,
                nature=common_pb2.ListNature.ValueType(each.nature),
                looked_for=each.looked_for,
                shared=each.shared,
                agreed=each.agreed,
                disputed=each.disputed,
            )
            for each in found.overlaps
        ],
    )


def feed(found: FeedReport) -> list_admin_service_pb2.Feed:
    """A feed and its last round."""
    status, checkpoint = found.status, found.checkpoint
    return list_admin_service_pb2.Feed(
        name=found.feed.name,
        kind=found.feed.kind,
        list_id=found.feed.list,
        interval=messages.duration(found.feed.interval),
        running=found.running,
        outcome=list_admin_service_pb2.FeedOutcome.ValueType(status.outcome or 0),
        failure=status.reason,
        detail=status.detail,
        started_at=_moment(status.started_at),
        ended_at=_moment(status.ended_at),
        succeeded_at=_moment(status.succeeded_at),
        failed_rounds=status.failures,
        full=status.full,
        pages=status.pages,
        records=status.records,
        staging_id=status.staging_id,
        waiting_staging_id=found.waiting,
        published_read_at=None if checkpoint is None else messages.timestamp(checkpoint.read_at),
        due_at=_moment(found.due_at if status.started_at else 0.0),
    )


def _moment(seconds: float) -> Timestamp | None:
    """A moment, None for never."""
    return messages.timestamp(seconds) if seconds else None


def history_event(record: HistoryRecord) -> list_admin_service_pb2.HistoryEvent:
    """Something that was done."""
    return list_admin_service_pb2.HistoryEvent(
        epoch=record.epoch,
        at=messages.timestamp(record.at),
        act=record.act,
        list_id=record.list_id,
        generation=record.generation,
        actor=record.actor,
        approvers=record.approvers,
        reason=record.reason,
        added=record.added,
        removed=record.removed,
    )
