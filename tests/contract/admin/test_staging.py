"""Approving is for the report that was seen, and publishing says what it accepts."""

import io

import pytest

from hashmatch.v1 import list_admin_service_pb2 as pb

from .conftest import APPROVAL_DIGEST, LONG_AGO, failing_gate, staging

ID = "0123456789abcdef"


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_an_approval_is_for_the_digest_that_was_given(admin, fake):
    run = admin("staging", "approve", ID, "--digest", "AB" * 32, "--note", "read it")
    assert run.code == 0
    assert fake.requests == [pb.ApproveRequest(staging_id=ID, approval_digest=b"\xab" * 32, note="read it")]


@pytest.mark.parametrize("answer", ["yes\n", " YES \n"])
def test_without_a_digest_the_report_is_shown_and_that_report_is_approved(admin, fake, monkeypatch, answer):
    monkeypatch.setattr("sys.stdin", Terminal(answer))
    run = admin("staging", "approve", ID)
    assert run.code == 0
    assert "wrong-length" in run.out
    assert "Approve this report? Type yes: " in run.err
    assert fake.requests[-1] == pb.ApproveRequest(staging_id=ID, approval_digest=APPROVAL_DIGEST)


@pytest.mark.parametrize("answer", ["", "\n", "y\n", "no\n"])
def test_nothing_but_yes_approves(admin, fake, monkeypatch, answer):
    monkeypatch.setattr("sys.stdin", Terminal(answer))
    run = admin("staging", "approve", ID)
    assert run.code == 1
    assert "not approved" in run.err
    assert [type(each) for each in fake.requests] == [pb.GetStagingRequest]


def test_gates_that_are_not_met_are_said_before_the_question(admin, fake, monkeypatch):
    fake.staging.report.gates.append(failing_gate())
    monkeypatch.setattr("sys.stdin", Terminal("no\n"))
    assert "1 gate is not met. Type yes: " in admin("staging", "approve", ID).err


def test_without_a_terminal_nothing_is_asked_and_nothing_approved(admin, fake, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("yes\n"))
    run = admin("staging", "approve", ID)
    assert run.code == 2
    assert "--digest" in run.err
    assert fake.requests == []


def test_who_says_to_have_read_the_report_is_not_asked(admin, fake, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO())
    run = admin("staging", "approve", ID, "--yes-i-read-the-report")
    assert run.code == 0
    assert "wrong-length" in run.out
    assert fake.requests[-1].approval_digest == APPROVAL_DIGEST


def test_publishing_accepts_gates_with_a_reason(admin, fake):
    run = admin("staging", "publish", ID, "--accept-gate", "removals", "--accept-gate", "quarantine", "--reason", "ok")
    assert run.code == 0
    assert run.out == "Published generation 4 with 1,000 SHA-256, in epoch 14.\n"
    expected = pb.PublishRequest(staging_id=ID, accept_gates=["removals", "quarantine"], reason="ok")
    assert fake.requests == [expected]


def test_gates_are_not_accepted_without_a_reason(admin, fake):
    assert admin("staging", "publish", ID, "--accept-gate", "removals").code == 2
    assert fake.requests == []


def test_a_dry_run_of_publishing_says_so(admin, fake):
    run = admin("staging", "publish", ID, "--dry-run")
    assert run.out == "Would publish generation 4 with 1,000 SHA-256.\n"
    assert fake.requests[0].validate_only


def test_discarding_says_why(admin, fake):
    run = admin("staging", "discard", ID, "--reason", "the wrong file")
    assert run.out == f"Discarded {ID} of alpha.\n"
    assert fake.requests == [pb.DiscardStagingRequest(staging_id=ID, reason="the wrong file")]


def test_stagings_are_listed_over_all_pages(admin, fake):
    pages = [
        pb.ListStagingsResponse(stagings=[staging(staging_id="one")], next_page_token="t"),
        pb.ListStagingsResponse(stagings=[staging(staging_id="two")]),
    ]
    fake.answers["ListStagings"] = pages
    run = admin("staging", "list", "--list", "alpha", "--output", "json")
    assert [each["staging_id"] for each in run.json["stagings"]] == ["one", "two"]
    assert [each.page_token for each in fake.requests] == ["", "t"]
    assert {each.list_id for each in fake.requests} == {"alpha"}


def test_a_table_of_stagings_shows_what_stands_in_the_way(admin, fake):
    blocked = staging(approvals=[pb.Approval(approver="bob", approved_at=LONG_AGO)])
    blocked.report.gates.append(failing_gate())
    fake.answers["ListStagings"] = pb.ListStagingsResponse(stagings=[blocked])
    words = " ".join(admin("staging", "list").out.split())
    assert "not met: removals 1 of 2" in words


def test_a_sheet_of_stagings_computes_nothing(admin, fake):
    fake.answers["ListStagings"] = pb.ListStagingsResponse(stagings=[staging(file_name="=1+1")])
    run = admin("staging", "list", "--output", "csv")
    heading, row = run.out.splitlines()
    assert heading.startswith("staging_id,list,mode")
    assert "'=1+1" in row


def test_text_from_the_server_cannot_speak_to_the_terminal(admin, fake):
    fake.staging.staged_by = "\x1b[31mmallory"
    fake.staging.report.labels[0].label = "\x1b]0;owned\x07"
    run = admin("staging", "show", ID)
    assert run.code == 0
    assert "\x1b" not in run.out
    assert "\x07" not in run.out


def test_a_state_of_a_newer_server_is_shown_as_not_recognised(admin, fake):
    fake.staging.state = 99
    assert admin("staging", "show", ID, "--output", "json").json["state"] == "UNRECOGNISED"
