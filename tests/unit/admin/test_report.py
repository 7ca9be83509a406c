"""What to do next follows from where a staged generation stands."""

import pytest

from hashmatch.admin.report import next_steps, print_report
from hashmatch.v1 import list_admin_service_pb2 as pb

DIGEST = b"\xab" * 32


def staging(*gates, approvals=0, state=pb.STAGING_STATE_STAGED, staging_id="abc", read=2):
    return pb.Staging(
        staging_id=staging_id,
        state=state,
        staged_by="importer",
        report=pb.VettingReport(gates=gates, read=read, stored=1, removals=1),
        approvals=[pb.Approval(approver=f"approver-{number}") for number in range(approvals)],
        approvals_required=2,
        approval_digest=DIGEST,
    )


def gate(name, *, passed=False, acceptable=True):
    return pb.VettingGate(name=name, passed=passed, acceptable=acceptable)


def test_approvals_come_first():
    assert next_steps(staging(gate("not-empty", passed=True))) == [
        "It needs 2 approvals, each from somebody who read this report and is not importer:",
        "  hashmatch-admin staging show abc",
        f"  hashmatch-admin staging approve abc --digest {DIGEST.hex()}",
        "Then it can be published:",
        "  hashmatch-admin staging publish abc",
    ]


def test_what_is_missing_is_counted():
    assert next_steps(staging(approvals=1))[0].startswith("It needs 1 more approval, ")


def test_with_all_approvals_it_can_be_published():
    assert next_steps(staging(approvals=2)) == ["It can be published:", "  hashmatch-admin staging publish abc"]


def test_gates_that_can_be_accepted_are_named_in_the_command():
    assert next_steps(staging(gate("removals"), gate("quarantine"), approvals=2)) == [
        "Gates are not met. To publish it all the same, accept them on the record:",
        "  hashmatch-admin staging publish abc --accept-gate removals --accept-gate quarantine --reason TEXT",
    ]


def test_a_gate_that_cannot_be_accepted_ends_it():
    steps = next_steps(staging(gate("counts-reconcile", acceptable=False), approvals=2))
    assert steps[-1] == "  hashmatch-admin staging discard abc --reason TEXT"
    assert not any("publish abc" in line for line in steps)


@pytest.mark.parametrize("state", [pb.STAGING_STATE_PUBLISHED, pb.STAGING_STATE_DISCARDED])
def test_what_is_closed_needs_nothing(state):
    assert len(next_steps(staging(state=state))) == 1


def test_a_dry_run_says_that_nothing_was_written():
    assert next_steps(staging(staging_id="")) == ["Nothing was written: this was a dry run."]


def test_counts_that_do_not_reconcile_stand_out(capsys):
    print_report(staging(read=3), no_color=True)
    assert "3 read BUT 1 stored" in capsys.readouterr().out
    print_report(staging(), no_color=True)
    assert "2 read = 1 stored + 0 duplicates + 0 quarantined + 1 removal\n" in capsys.readouterr().out
