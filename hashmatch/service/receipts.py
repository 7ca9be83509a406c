"""Receipts: what a server signs of an answer, so that it can be held to it; `receipt.proto` says how to verify one.

Everything is over bytes as they were sent, because a message can be encoded in several ways. BLAKE3 and not SHA-256,
because a batch is a third of a megabyte, and without instructions of the processor's for it SHA-256 would take longer
than the answer.
"""

from __future__ import annotations

import secrets

import blake3

from hashmatch.model.clock import Clock
from hashmatch.model.errors import ErrorReason, HashmatchError
from hashmatch.service.calls import Call
from hashmatch.service.messages import timestamp
from hashmatch.service.wire import submessage
from hashmatch.trust.checkpoints import NoteSigner
from hashmatch.v1 import receipt_pb2

_SIGNED = b"\0hashmatch receipt v1\0"
_COMMITMENT = "hashmatch 2026-11-23 receipt commitment v1"
_NONCE_SIZE = 32


class Receipts:
    """Signs with one server's key, for callers who ask for it or for all."""

    def __init__(self, signer: NoteSigner, clock: Clock, *, always: bool) -> None:
        self._signer = signer
        self._clock = clock
        self.always = always

    def field(self, number: int, call: Call, epoch: int, asked: bytes, scope: bytes, response: bytes) -> bytes:
        """The receipt as field `number` of a response, which is given encoded and without it.

        `asked` and `scope` are digests: of the request, and of the one that stated the scope in force.
        """
        nonce = secrets.token_bytes(_NONCE_SIZE)
        committed = blake3.blake3(nonce + asked + scope + digest(response), derive_key_context=_COMMITMENT)
        key = self._signer.verifier
        statement = receipt_pb2.ReceiptStatement(
            server=key.name,
            key_id=key.key_id,
            method=call.method,
            caller=call.caller.name,
            request_id=call.request_id,
            epoch=epoch,
            answered_at=timestamp(self._clock.now()),
            commitment=committed.digest(),
        ).SerializeToString()
        signature = self._signer.sign_bytes(_SIGNED + statement)
        receipt = receipt_pb2.Receipt(statement=statement, signature=signature, nonce=nonce)
        return submessage(number, receipt.SerializeToString())


def digest(data: bytes) -> bytes:
    """What a commitment has of a message's bytes."""
    return blake3.blake3(data).digest()


NOTHING = digest(b"")
"""The digest of a request that was never sent."""


def no_receipts() -> HashmatchError:
    """What a caller is told that asks for a receipt where there are none."""
    return HashmatchError(ErrorReason.NO_RECEIPTS, "this server signs no receipts: ask without want_receipt")
