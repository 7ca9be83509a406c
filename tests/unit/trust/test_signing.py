"""An envelope says what was signed and by whom, or it is refused; nothing else comes out of it."""

from __future__ import annotations

import base64
import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashmatch.model.approvals import ApprovalTerms, ApproverKey
from hashmatch.trust.signing import (
    APPROVAL_TYPE,
    ENROLMENT_TYPE,
    MAXIMUM_ENVELOPE,
    EnvelopeError,
    SignatureError,
    SignedApproval,
    read_enrolment,
    sign_enrolment,
)
from tests.support.signatories import Signatory

TERMS = ApprovalTerms(
    act="publish",
    subject="0123456789abcdef",
    store="store",
    list_id="list",
    generation=4,
    base_sha256=b"b" * 32,
    content_sha256=b"c" * 32,
    report_sha256=b"r" * 32,
    expires_at=1_000,
)
BOB = Signatory("bob")


def edited(envelope: bytes, **changed: object) -> bytes:
    """The envelope with other fields in its payload, and the signature as it was."""
    document = json.loads(envelope)
    payload = json.loads(base64.b64decode(document["payload"])) | changed
    document["payload"] = base64.b64encode(json.dumps(payload).encode()).decode()
    return json.dumps(document).encode()


def test_what_was_signed_comes_out_again():
    signed = SignedApproval(BOB.sign(TERMS, now=77.9))
    signed.verify(BOB.key)
    assert (signed.terms, signed.approver, signed.approved_at) == (TERMS, "bob", 77.0)


@pytest.mark.parametrize("field", ["act", "subject", "store", "list", "generation", "expires_at", "approver"])
def test_a_changed_field_does_not_verify(field: str):
    envelope = BOB.sign(TERMS)
    value = 5 if field in ("generation", "expires_at") else "bob" if field == "list" else "other"
    with pytest.raises(SignatureError):
        SignedApproval(edited(envelope, **{field: value})).verify(BOB.key)


def test_a_signature_of_another_key_does_not_verify():
    with pytest.raises(SignatureError):
        SignedApproval(Signatory("bob").sign(TERMS)).verify(BOB.key)


def test_one_cannot_sign_in_the_name_of_another():
    with pytest.raises(SignatureError):
        SignedApproval(Signatory("mallory").sign(TERMS)).verify(BOB.key)


def test_an_enrolment_cannot_pass_for_an_approval_nor_the_other_way():
    with pytest.raises(EnvelopeError):
        SignedApproval(BOB.enrolment)
    with pytest.raises(EnvelopeError):
        read_enrolment(BOB.sign(TERMS))
    for envelope, kind in ((BOB.enrolment, APPROVAL_TYPE), (BOB.sign(TERMS), ENROLMENT_TYPE)):
        retyped = json.dumps(json.loads(envelope) | {"payloadType": kind}).encode()
        with pytest.raises(EnvelopeError):
            SignedApproval(retyped)
        with pytest.raises(EnvelopeError):
            read_enrolment(retyped)


def test_nobody_enrols_a_key_that_they_do_not_hold():
    stolen = msgspec.structs.replace(BOB.key, name="mallory", identity="spiffe://test/mallory")
    with pytest.raises(SignatureError):
        read_enrolment(sign_enrolment(stolen, Signatory("mallory").signer))
    with pytest.raises(SignatureError):
        read_enrolment(edited(BOB.enrolment, identity="spiffe://test/mallory"))
    assert read_enrolment(BOB.enrolment) == BOB.key


@pytest.mark.parametrize(
    "changed",
    [
        {"name": ""},
        {"name": "Bob"},
        {"name": "a" * 64},
        {"name": "0123456789abcdef0123456789abcdef"},
        {"identity": ""},
        {"identity": "two words"},
        {"public_key": b"short"},
        {"not_before": 2.0, "not_after": 1.0},
    ],
)
def test_what_could_not_be_told_apart_is_not_enrolled(changed: dict[str, object]):
    key: ApproverKey = msgspec.structs.replace(BOB.key, **changed)
    with pytest.raises(EnvelopeError):
        sign_enrolment(key, BOB.signer)


def test_a_term_comes_out_as_a_manifest_holds_it():
    key = read_enrolment(Signatory("ann", not_before=1.0, not_after=2.0).enrolment)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(key), type=ApproverKey) == key
    assert msgspec.msgpack.encode(msgspec.msgpack.decode(msgspec.msgpack.encode(key), type=ApproverKey)) == (
        msgspec.msgpack.encode(key)
    )


def test_an_envelope_has_one_signature():
    document = json.loads(BOB.sign(TERMS))
    other = json.loads(Signatory("carol").sign(TERMS))
    for signatures in ([], [*document["signatures"], *other["signatures"]], document["signatures"] * 2):
        with pytest.raises(EnvelopeError):
            SignedApproval(json.dumps(document | {"signatures": signatures}).encode())


def test_an_envelope_has_a_size():
    padded = BOB.sign(TERMS) + b" " * MAXIMUM_ENVELOPE
    with pytest.raises(EnvelopeError):
        SignedApproval(padded)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
_PARTS = st.fixed_dictionaries(
    {},
    optional={"payload": _JSON | st.just("e30="), "payloadType": _JSON | st.just(APPROVAL_TYPE), "signatures": _JSON},
)


@given(st.binary(max_size=200) | st.builds(lambda parts: json.dumps(parts).encode(), _PARTS | _JSON))
def test_nothing_but_its_own_errors_comes_out(encoded: bytes):
    for read in (SignedApproval, read_enrolment):
        with pytest.raises((EnvelopeError, SignatureError)):
            read(encoded)


def test_no_key_is_shown():
    assert repr(BOB.signer) == "ApproverSigner(bob)"
