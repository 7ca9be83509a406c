"""Approvals: who may give them, and what exactly one is for."""

from __future__ import annotations

import msgspec


class ApproverKey(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody whose approvals can count. Times are seconds since 1970, None for no bound.

    `identity` is who that is where calls are made: nobody approves what they staged or proposed themselves.
    """

    name: str
    identity: str
    public_key: bytes
    not_before: float | None = None
    not_after: float | None = None

    def is_valid(self, now: float) -> bool:
        """Whether an approval counts at this time, as far as the approver's own term goes."""
        return (self.not_before is None or self.not_before <= now) and (self.not_after is None or now < self.not_after)


class Approver(msgspec.Struct, frozen=True, kw_only=True):
    """An approver in the manifest, with the epochs that enrolled and, unless 0, revoked."""

    key: ApproverKey
    enrolled_epoch: int
    revoked_epoch: int = 0

    def counts(self, now: float) -> bool:
        """Whether an approval counts at this time."""
        return not self.revoked_epoch and self.key.is_valid(now)


class ApprovalTerms(msgspec.Struct, frozen=True, kw_only=True):
    """What exactly an approval is for. An approval for other terms counts for nothing.

    `subject` is the staged generation or the proposal; `store` the store's own id. `generation` is the number that the
    list will have, 0 where the act makes none. `base_sha256` is of the state that the act was worked out from,
    `content_sha256` of the delivery or of the act's bytes, `report_sha256` of the vetting report if there is one.
    `expires_at` is in seconds since 1970, 0 if the approval ends with the state that it is for.
    """

    act: str
    subject: str
    store: str
    list_id: str
    generation: int
    base_sha256: bytes
    content_sha256: bytes
    report_sha256: bytes = b""
    expires_at: int = 0


class ApprovalRecord(msgspec.Struct, frozen=True):
    """Somebody's approval. `envelope` is what an enrolled approver signed; empty where a caller was believed."""

    approver: str
    approved_at: float
    note: str = ""
    envelope: bytes = b""
