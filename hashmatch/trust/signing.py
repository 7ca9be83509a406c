"""What approvers sign: DSSE envelopes, each with one Ed25519 signature over a JSON statement.

Bytes in, a verified statement out. Two kinds of statement, told apart by the envelope's payload type, so that neither
can pass for the other: an approval names everything that `ApprovalTerms` has, and an enrolment says who a key belongs
to and is signed by that key itself, so that nobody enrols a key that they do not hold.

https://github.com/secure-systems-lab/dsse describes the envelope.
"""

from __future__ import annotations

import json
import re

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import Error as SigningLibraryError
from securesystemslib.signer import CryptoSigner, SSlibKey

from hashmatch.model.approvals import ApprovalTerms, ApproverKey
from hashmatch.model.decoding import UNREADABLE

APPROVAL_TYPE = "application/vnd.hashmatch.approval.v1+json"
ENROLMENT_TYPE = "application/vnd.hashmatch.approver.v1+json"
MAXIMUM_ENVELOPE = 16 * 1024
PUBLIC_KEY_SIZE = 32

# Names stand in logs and in the history: bounded, and without room for a digest.
_NAME = re.compile(r"(?![a-z0-9._-]*[0-9a-f]{32})[a-z0-9][a-z0-9._-]{0,62}")
_IDENTITY = re.compile(r"[!-~]{1,256}")


class EnvelopeError(Exception):
    """Bytes that are no envelope of the expected kind."""


class SignatureError(Exception):
    """A signature that does not verify under the key that it is said to be of."""


class _Statement(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An approval as it is signed; digests are lower-case hexadecimal."""

    act: str
    subject: str
    store: str
    list: str
    generation: int
    base_sha256: str
    content_sha256: str
    report_sha256: str
    expires_at: int
    approver: str
    approved_at: int


_STATEMENT_READER = msgspec.json.Decoder(_Statement)


class _Enrolment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An approver as the new key signs it."""

    name: str
    identity: str
    public_key: str
    not_before: int | None
    not_after: int | None


_ENROLMENT_READER = msgspec.json.Decoder(_Enrolment)


class ApproverSigner:
    """Signs as one approver. Its `repr` shows no more than the name, under which the key is known in envelopes."""

    def __init__(self, name: str, private_key: Ed25519PrivateKey) -> None:
        public_key = private_key.public_key()
        self.name = name
        self.public_key = public_key.public_bytes_raw()
        self.signer = CryptoSigner(private_key, SSlibKey.from_crypto(public_key, keyid=name))

    def __repr__(self) -> str:
        return f"ApproverSigner({self.name})"


class SignedApproval:
    """An approval whose signature is still to be verified. `approver` is who it says that it is of."""

    def __init__(self, encoded: bytes) -> None:
        """Raises `EnvelopeError`."""
        self._envelope = _open(encoded, APPROVAL_TYPE)
        try:
            self._statement = _STATEMENT_READER.decode(self._envelope.payload)
            self.terms = ApprovalTerms(
                act=self._statement.act,
                subject=self._statement.subject,
                store=self._statement.store,
                list_id=self._statement.list,
                generation=self._statement.generation,
                base_sha256=bytes.fromhex(self._statement.base_sha256),
                content_sha256=bytes.fromhex(self._statement.content_sha256),
                report_sha256=bytes.fromhex(self._statement.report_sha256),
                expires_at=self._statement.expires_at,
            )
        except (*UNREADABLE, ValueError) as error:
            raise EnvelopeError("the envelope does not hold an approval") from error
        self.approver = self._statement.approver
        self.approved_at = float(self._statement.approved_at)

    def verify(self, key: ApproverKey) -> None:
        """Raise `SignatureError` unless the approver with `key` signed exactly this statement."""
        if self.approver != key.name:
            raise SignatureError("the approval names another approver")
        _verify(self._envelope, key.name, key.public_key)


def sign_approval(terms: ApprovalTerms, signer: ApproverSigner, now: float) -> bytes:
    """An approver's envelope for `terms`."""
    statement = _Statement(
        act=terms.act,
        subject=terms.subject,
        store=terms.store,
        list=terms.list_id,
        generation=terms.generation,
        base_sha256=terms.base_sha256.hex(),
        content_sha256=terms.content_sha256.hex(),
        report_sha256=terms.report_sha256.hex(),
        expires_at=terms.expires_at,
        approver=signer.name,
        approved_at=int(now),
    )
    return _seal(statement, APPROVAL_TYPE, signer.signer)


def sign_enrolment(key: ApproverKey, signer: ApproverSigner) -> bytes:
    """The envelope with which a new key says whose it is. Raises `EnvelopeError` for a name that cannot be enrolled."""
    _check(key)
    enrolment = _Enrolment(
        name=key.name,
        identity=key.identity,
        public_key=key.public_key.hex(),
        not_before=None if key.not_before is None else int(key.not_before),
        not_after=None if key.not_after is None else int(key.not_after),
    )
    return _seal(enrolment, ENROLMENT_TYPE, signer.signer)


def read_enrolment(encoded: bytes) -> ApproverKey:
    """Who an enrolment is of, verified under the key in it. Raises `EnvelopeError` and `SignatureError`."""
    envelope = _open(encoded, ENROLMENT_TYPE)
    try:
        stated = _ENROLMENT_READER.decode(envelope.payload)
        key = ApproverKey(
            name=stated.name,
            identity=stated.identity,
            public_key=bytes.fromhex(stated.public_key),
            # As a manifest holds them, whose digest would otherwise change when it is read again.
            not_before=None if stated.not_before is None else float(stated.not_before),
            not_after=None if stated.not_after is None else float(stated.not_after),
        )
    except (*UNREADABLE, ValueError) as error:
        raise EnvelopeError("the envelope does not hold an enrolment") from error
    _check(key)
    _verify(envelope, key.name, key.public_key)
    return key


def _check(key: ApproverKey) -> None:
    if not _NAME.fullmatch(key.name):
        raise EnvelopeError("an approver's name has 1 to 63 characters of a-z 0-9 . _ - and starts with a-z or 0-9")
    if not _IDENTITY.fullmatch(key.identity):
        raise EnvelopeError("an approver's identity has 1 to 256 printable characters without spaces")
    if len(key.public_key) != PUBLIC_KEY_SIZE:
        raise EnvelopeError(f"an Ed25519 public key has {PUBLIC_KEY_SIZE} bytes")
    if key.not_before is not None and key.not_after is not None and not key.not_before < key.not_after:
        raise EnvelopeError("an approver's term ends before it begins")


def _seal(statement: msgspec.Struct, payload_type: str, signer: CryptoSigner) -> bytes:
    envelope = Envelope(msgspec.json.encode(statement), payload_type, {})
    envelope.sign(signer)
    return json.dumps(envelope.to_dict()).encode()


def _open(encoded: bytes, payload_type: str) -> Envelope:
    if len(encoded) > MAXIMUM_ENVELOPE:
        raise EnvelopeError(f"an envelope has at most {MAXIMUM_ENVELOPE} bytes")
    try:
        envelope = Envelope.from_dict(json.loads(encoded))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, SigningLibraryError) as error:
        raise EnvelopeError("not a DSSE envelope") from error
    if envelope.payload_type != payload_type:
        raise EnvelopeError("the envelope is for something else")
    if len(envelope.signatures) != 1:
        raise EnvelopeError("the envelope must have exactly one signature")
    return envelope


def _verify(envelope: Envelope, name: str, public_key: bytes) -> None:
    try:
        key = SSlibKey.from_crypto(Ed25519PublicKey.from_public_bytes(public_key), keyid=name)
        envelope.verify([key], 1)
    except (SigningLibraryError, ValueError) as error:
        raise SignatureError("the signature does not verify") from error
