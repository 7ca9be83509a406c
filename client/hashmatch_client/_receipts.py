"""Verifying receipts offline: `receipt.proto` says how. Needs `pip install 'hashmatch[receipts]'`."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from google.protobuf.message import DecodeError

from hashmatch.v1 import common_pb2, match_service_pb2, receipt_pb2
from hashmatch_client._answers import SavedAnswer
from hashmatch_client._errors import ConfigurationError, ReceiptError

_SIGNED = b"\0hashmatch receipt v1\0"
_COMMITMENT = "hashmatch 2026-11-23 receipt commitment v1"
_NONCE_SIZE = 32
_ED25519 = b"\x01"
_KEY_SIZE = 32
_ID_SIZE = 4
_RECEIPTS = {
    "BatchMatch": match_service_pb2.BatchMatchResponse.RECEIPT_FIELD_NUMBER,
    "BulkMatch": match_service_pb2.BulkMatchResponse.RECEIPT_FIELD_NUMBER,
}
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


@dataclass(frozen=True, slots=True)
class VerifiedAnswer:
    """What a server is proven to have answered. The numbers are of hashes."""

    server: str
    key_id: str
    method: str
    caller: str
    request_id: str
    epoch: int
    answered_at: datetime
    asked: int
    matches: int
    not_determined: int


@dataclass(frozen=True, slots=True)
class ServerKey:
    """A server's public key, which its operator gave you."""

    name: str
    key_id: bytes
    public_key: bytes

    @classmethod
    def parse(cls, line: str) -> ServerKey:
        """The key in a line NAME+ID+KEY, as C2SP's signed notes have it. Raises `ConfigurationError`."""
        name, _, rest = line.strip().partition("+")
        key_id, _, encoded = rest.partition("+")
        try:
            key = base64.b64decode(encoded, validate=True)
        except (ValueError, binascii.Error):
            key = b""
        stated = hashlib.sha256(name.encode() + b"\n" + key).digest()[:_ID_SIZE]
        if not name or len(key) != _KEY_SIZE + 1 or key[:1] != _ED25519 or stated.hex() != key_id:
            raise ConfigurationError("a server's key is a line NAME+ID+KEY for Ed25519, and this is none")
        return cls(name, stated, key[1:])


def verify_receipt(saved: SavedAnswer, keys: Iterable[ServerKey]) -> VerifiedAnswer:
    """What a saved answer proves.

    Raises `ReceiptError` if it proves nothing, and `ConfigurationError` if what it takes is not installed.
    """
    try:
        import blake3
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    except ImportError as error:
        raise ConfigurationError("verifying receipts needs: pip install 'hashmatch[receipts]'") from error

    response, receipt = _without_receipt(saved)
    try:
        statement = receipt_pb2.ReceiptStatement.FromString(receipt.statement)
    except DecodeError as error:
        raise ReceiptError("the receipt cannot be read") from error
    for key in keys:
        if (key.name, key.key_id) == (statement.server, statement.key_id):
            break
    else:
        raise ReceiptError("the receipt is signed with none of the keys that were given")
    try:
        Ed25519PublicKey.from_public_bytes(key.public_key).verify(receipt.signature, _SIGNED + receipt.statement)
    except (InvalidSignature, ValueError) as error:
        raise ReceiptError(f"the signature of {key.name} does not verify") from error
    if statement.method != saved.method:
        raise ReceiptError("the receipt is of another call")
    asked = _digest(saved.request, blake3.blake3)
    # A request that states the scope itself, or of a call that has no other, is its own.
    scope = _digest(saved.scope_request, blake3.blake3) if _leans_on_another(saved) else asked
    answered = _digest(response, blake3.blake3)
    committed = blake3.blake3(receipt.nonce + asked + scope + answered, derive_key_context=_COMMITMENT).digest()
    if len(receipt.nonce) != _NONCE_SIZE or committed != statement.commitment:
        raise ReceiptError("the request or the response is not what was signed for")
    return _verified(saved, response, statement)


def _digest(data: bytes, of: object) -> bytes:
    digest: bytes = of(data).digest()  # type: ignore[operator]
    return digest


def _leans_on_another(saved: SavedAnswer) -> bool:
    if saved.method == "BatchMatch":
        return False
    try:
        return not match_service_pb2.BulkMatchRequest.FromString(saved.request).HasField("scope")
    except DecodeError as error:
        raise ReceiptError("the request cannot be read") from error


def _verified(saved: SavedAnswer, response: bytes, statement: receipt_pb2.ReceiptStatement) -> VerifiedAnswer:
    try:
        if saved.method == "BatchMatch":
            results = match_service_pb2.BatchMatchResponse.FromString(response).results
            verdicts = [each.verdict for result in results for each in result.hashes]
            asked, matches = len(verdicts), verdicts.count(common_pb2.VERDICT_MATCH)
            not_determined = verdicts.count(common_pb2.VERDICT_NOT_DETERMINED)
        else:
            column = match_service_pb2.BulkMatchResponse.FromString(response)
            asked, matches = column.count, len(column.match_indexes)
            not_determined = sum(run.count for run in column.undetermined)
    except DecodeError as error:
        raise ReceiptError("the response cannot be read") from error
    return VerifiedAnswer(
        server=statement.server,
        key_id=statement.key_id.hex(),
        method=statement.method,
        caller=statement.caller,
        request_id=statement.request_id,
        epoch=statement.epoch,
        answered_at=statement.answered_at.ToDatetime(tzinfo=UTC),
        asked=asked,
        matches=matches,
        not_determined=not_determined,
    )


def _without_receipt(saved: SavedAnswer) -> tuple[bytes, receipt_pb2.Receipt]:
    """The bytes of the response without the receipt, and the receipt."""
    number = _RECEIPTS[saved.method]
    spans = [span for field, *span in _fields(saved.response) if field == number]
    if len(spans) != 1:
        raise ReceiptError("the answer has no receipt" if not spans else "the answer has several receipts")
    ((start, content, end),) = spans
    try:
        receipt = receipt_pb2.Receipt.FromString(saved.response[content:end])
    except DecodeError as error:
        raise ReceiptError("the receipt cannot be read") from error
    return saved.response[:start] + saved.response[end:], receipt


def _fields(data: bytes) -> Iterator[tuple[int, int, int, int]]:
    """The fields of an encoded message: number, and where each starts, has its content and ends."""
    position = 0
    while position < len(data):
        start = position
        tag, position = _varint(data, position)
        size = 0
        match tag & 7:
            case 0:
                _, position = _varint(data, position)
            case 1:
                size = 8
            case 2:
                size, position = _varint(data, position)
            case 5:
                size = 4
            case _:
                raise ReceiptError("the response cannot be read")
        if position + size > len(data):
            raise ReceiptError("the response is cut off")
        yield tag >> 3, start, position, position + size
        position += size


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 64, 7):
        if position >= len(data):
            break
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise ReceiptError("the response is cut off")
