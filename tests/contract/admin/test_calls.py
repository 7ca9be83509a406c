"""Every call says who acts, has a deadline, and ends in an exit code and one line."""

import socket

import grpc
import pytest

from .conftest import Failure

CODE = grpc.StatusCode
PUBLISH = ("staging", "publish", "0123456789abcdef")
MAYBE_DONE = "it may have taken effect all the same"


def test_the_operator_is_named_in_the_metadata(admin, fake, monkeypatch):
    admin("history")
    admin("history", "--operator", "alice")
    monkeypatch.setenv("HASHMATCH_OPERATOR", "bob")
    admin("history")
    admin("history", "--operator", "alice")
    named = [metadata.get("hashmatch-operator") for metadata in fake.metadata]
    assert named == [None, "alice", "bob", "alice"]


def test_a_name_that_no_server_takes_is_refused_at_once(admin, fake, monkeypatch):
    assert admin("history", "--operator", "Älice").code == 2
    monkeypatch.setenv("HASHMATCH_OPERATOR", "two words")
    run = admin("history")
    assert run.code == 2
    assert "HASHMATCH_OPERATOR must have" in run.err
    assert fake.requests == []


def test_every_call_has_a_deadline_and_an_id_of_its_own(admin, fake):
    admin("history")
    admin("history", "--timeout", "5")
    assert 20 < fake.remaining[0] <= 30
    assert fake.remaining[1] <= 5
    first, second = (metadata["x-request-id"] for metadata in fake.metadata)
    assert first != second


@pytest.mark.parametrize(
    ("code", "reason", "exit_code"),
    [
        (CODE.UNAVAILABLE, "STORE_UNAVAILABLE", 3),
        (CODE.UNAVAILABLE, "NOT_SERVING", 3),
        (CODE.RESOURCE_EXHAUSTED, "OVERLOADED", 3),
        (CODE.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED", 3),
        (CODE.RESOURCE_EXHAUSTED, "DELIVERY_TOO_LARGE", 1),
        (CODE.PERMISSION_DENIED, "NOT_PERMITTED", 4),
        (CODE.PERMISSION_DENIED, "APPROVER_IS_IMPORTER", 4),
        (CODE.UNAUTHENTICATED, "IDENTITY_MISSING", 4),
        (CODE.FAILED_PRECONDITION, "GATE_NOT_MET", 5),
        (CODE.FAILED_PRECONDITION, "APPROVALS_MISSING", 5),
        (CODE.FAILED_PRECONDITION, "STAGING_OUTDATED", 5),
        (CODE.FAILED_PRECONDITION, "APPROVAL_DIGEST_MISMATCH", 5),
        (CODE.NOT_FOUND, "STAGING_NOT_FOUND", 1),
        (CODE.INVALID_ARGUMENT, "INVALID_FIELD", 1),
        (CODE.ABORTED, "CONFLICT", 1),
        (CODE.INTERNAL, "INTERNAL", 1),
        (CODE.DATA_LOSS, "STORE_DAMAGED", 1),
        (CODE.UNKNOWN, "", 1),
    ],
)
def test_the_exit_code_tells_failures_apart(admin, fake, code, reason, exit_code):
    fake.failures = [Failure(code, reason, "it did not work")]
    run = admin(*PUBLISH)
    assert run.code == exit_code
    assert run.out == ""
    assert run.err.count("\n") == 1
    assert "it did not work" in run.err
    assert reason in run.err
    assert f"request {fake.metadata[0]['x-request-id']}" in run.err


def test_an_error_gives_the_fields_and_when_to_try_again(admin, fake):
    fake.failures = [Failure(CODE.RESOURCE_EXHAUSTED, "OVERLOADED", "busy", field="reason", retry=3)]
    assert "RESOURCE_EXHAUSTED/OVERLOADED: busy; reason is not right; try again in 3 s; request " in admin(*PUBLISH).err


def test_a_field_that_the_message_speaks_of_is_not_named_twice(admin, fake):
    fake.failures = [Failure(CODE.INVALID_ARGUMENT, "INVALID_FIELD", "reason: is not right", field="reason")]
    assert admin(*PUBLISH).err.count("is not right") == 1


@pytest.mark.parametrize("code", [CODE.UNAVAILABLE, CODE.DEADLINE_EXCEEDED])
def test_an_act_of_unknown_outcome_is_said_to_be_one(admin, fake, code):
    fake.failures = [Failure(code), Failure(code), Failure(code)]
    assert MAYBE_DONE in admin(*PUBLISH).err
    assert MAYBE_DONE not in admin(*PUBLISH, "--dry-run").err
    assert MAYBE_DONE not in admin("history").err


def test_an_act_is_not_repeated_by_itself(admin, fake):
    fake.failures = [Failure(CODE.UNAVAILABLE)]
    admin(*PUBLISH)
    assert len(fake.requests) == 1


def test_no_server_is_exit_code_3(admin):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        run = admin("history", "--target", f"127.0.0.1:{free.getsockname()[1]}")
    assert run.code == 3
    assert run.err.count("\n") == 1


def test_certificate_and_key_come_together_and_must_be_readable(admin, fake, tmp_path):
    missing = tmp_path / "missing.pem"
    assert "come together" in admin("history", "--cert-file", missing).err
    run = admin("history", "--ca-file", missing)
    assert run.code == 2
    assert "cannot read" in run.err
    assert fake.requests == []


def test_an_argument_that_is_no_text_is_wrong_usage(admin, fake):
    run = admin("staging", "discard", "id", "--reason", "\udcff")
    assert (run.code, run.err) == (2, "hashmatch-admin: an argument is not valid text\n")
