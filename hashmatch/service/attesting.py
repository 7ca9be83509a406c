"""What is done with an answer before it is given: it is recorded in the audit log, and signed for."""

from __future__ import annotations

from typing import NamedTuple

from hashmatch.service.answer_audit import AnswerAudit
from hashmatch.service.calls import current_call
from hashmatch.service.receipts import NOTHING, Receipts, digest, no_receipts
from hashmatch.v1 import match_service_pb2

_BATCH_RECEIPT = match_service_pb2.BatchMatchResponse.RECEIPT_FIELD_NUMBER
_BULK_RECEIPT = match_service_pb2.BulkMatchResponse.RECEIPT_FIELD_NUMBER


class Answer(NamedTuple):
    """An encoded response, and what it comes to: numbers of hashes.

    `epoch` is the one that the response names, `store_epoch` that of the store; 0 for none.
    """

    data: bytes
    hashes: int
    matches: int
    undetermined: int
    epoch: int = 0
    store_epoch: int = 0


class Attesting:
    """Records and signs the answers of one process. Either may be missing."""

    def __init__(self, audit: AnswerAudit | None = None, receipts: Receipts | None = None) -> None:
        self._audit = audit
        self._receipts = receipts

    def check(self, *, wanted: bool) -> bool:
        """Whether an answer gets a receipt, which its caller wants or not. Raises `HashmatchError` NO_RECEIPTS."""
        if self._receipts is None:
            if wanted:
                raise no_receipts()
            return False
        return wanted or self._receipts.always

    def scope_digest(self, request: bytes) -> bytes:
        """What later receipts of a stream need of the request that stated the scope."""
        return NOTHING if self._receipts is None else digest(request)

    async def batch(self, request: bytes, answer: Answer, purpose: str, *, signed: bool) -> bytes:
        """The answer to a `BatchMatchRequest`, given as it was sent, as it is given. Raises `HashmatchError`."""
        asked = digest(request) if signed else b""
        return await self._attest(answer, purpose, _BATCH_RECEIPT, asked, asked)

    async def bulk(self, request: bytes, scope: bytes, answer: Answer, purpose: str, *, signed: bool) -> bytes:
        """The same for a `BulkMatchRequest`; `scope` is the `scope_digest` of the stream. Raises `HashmatchError`."""
        return await self._attest(answer, purpose, _BULK_RECEIPT, digest(request) if signed else b"", scope)

    async def record(self, answer: Answer, purpose: str) -> None:
        """Record an answer that has no receipt. Raises `HashmatchError`."""
        await self._attest(answer, purpose, 0, b"", b"")

    async def _attest(self, answer: Answer, purpose: str, field: int, asked: bytes, scope: bytes) -> bytes:
        if self._audit is not None:
            await self._audit.record(
                purpose=purpose,
                epoch=answer.store_epoch,
                hashes=answer.hashes,
                matches=answer.matches,
                undetermined=answer.undetermined,
            )
        if not asked or self._receipts is None:
            return answer.data
        return answer.data + self._receipts.field(field, current_call(), answer.epoch, asked, scope, answer.data)
