"""Proposals: acts that wait until enough people agreed."""

from __future__ import annotations

from collections.abc import Callable, Collection

import msgspec

from hashmatch.model.approvals import ApprovalRecord, ApprovalTerms
from hashmatch.model.errors import ErrorReason
from hashmatch.store.connection import Connection
from hashmatch.store.keys import Keys
from hashmatch.store.sealed_records import Read, SealedRecords
from hashmatch.trust.sealing import SealingKey

OPEN = "open"
CARRIED_OUT = "carried-out"
DISCARDED = "discarded"


class Proposal(msgspec.Struct, frozen=True, kw_only=True):
    """An act that was proposed. `content` are its bytes as the caller stated it; `terms` is what is approved of it."""

    proposal_id: str
    state: str
    content: bytes
    proposed_by: str
    proposed_at: float
    terms: ApprovalTerms
    approvals: tuple[ApprovalRecord, ...] = ()
    approvals_required: int = 2
    epoch: int = 0


_PROPOSAL_READER = msgspec.msgpack.Decoder(Proposal)


class ProposalStore:
    """Keeps proposals, sealed. Methods raise `StoreUnavailableError`."""

    def __init__(self, connection: Connection, keys: Keys, sealing_key: SealingKey) -> None:
        self._records = SealedRecords(
            connection,
            keys.proposals,
            sealing_key,
            _PROPOSAL_READER,
            purpose=b"proposals",
            what="proposal",
            unknown=ErrorReason.PROPOSAL_NOT_FOUND,
        )

    def put(self, proposal: Proposal) -> None:
        """Write a new proposal; what is there is changed with `change`."""
        self._records.put(proposal.proposal_id, proposal)

    def get(self, proposal_id: str) -> Proposal:
        """A proposal. Raises `HashmatchError` PROPOSAL_NOT_FOUND and `StoreDamagedError`."""
        return self._records.get(proposal_id)

    def change(self, proposal_id: str, change: Callable[[Proposal], Proposal | None]) -> Proposal:
        """Put what `change` makes of a proposal in its place; see `SealedRecords.change`."""
        return self._records.change(proposal_id, change)

    def read(self) -> Read[Proposal]:
        """Every proposal that can be opened, oldest first, and the ids of the others."""
        found = self._records.read()
        found.records.sort(key=lambda proposal: (proposal.proposed_at, proposal.proposal_id))
        return found

    def all(self) -> list[Proposal]:
        """Every proposal that can be opened, oldest first."""
        return self.read().records

    def tell(self, unreadable: Collection[str]) -> None:
        """Raise `StoreDamagedError` that names proposals which cannot be opened, if there are any."""
        self._records.tell(unreadable)

    def under(self, key_ids: Collection[str]) -> list[Proposal]:
        """Those that are sealed under one of these keys, and can be opened."""
        return self._records.under(key_ids)

    def remove(self, proposal_id: str) -> None:
        """Forget a proposal."""
        self._records.remove(proposal_id)
