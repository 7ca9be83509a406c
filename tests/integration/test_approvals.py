"""Two people by signature, with the real commands upon a real server over TLS."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from hashmatch.admin.main import main
from tests.integration.conftest import MakeServer
from tests.integration.serving import APPROVERS, RunningServer, hash_text
from tests.integration.waiting import eventually

DONE, USAGE, NOT_PERMITTED, REFUSED, PROPOSED = 0, 2, 4, 5, 7
OPERATOR = "spiffe://hashmatch.test/operators/{}"
LISTED = os.urandom(32)


@dataclass
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, object]:
        return json.loads(self.out)


Admin = Callable[..., Done]


@pytest.fixture
def admin(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, scratch: Path) -> Admin:
    """Runs `hashmatch-admin` as one operator of the trial's authority: the first argument says which."""
    monkeypatch.setenv("COLUMNS", "200")
    pki = scratch / "pki"

    def run(operator: str, *arguments: object) -> Done:
        if operator:
            monkeypatch.setenv("HASHMATCH_CA_FILE", str(pki / "servers-ca.pem"))
            monkeypatch.setenv("HASHMATCH_CERT_FILE", str(pki / "operators" / f"{operator}.pem"))
            monkeypatch.setenv("HASHMATCH_KEY_FILE", str(pki / "operators" / f"{operator}.key"))
        code = main([str(each) for each in arguments])
        written = capsys.readouterr()
        assert "Traceback" not in written.err
        return Done(code, written.out, written.err)

    return run


@pytest.fixture
def server(admin: Admin, make_server: MakeServer, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> RunningServer:
    """A server as the guide sets it up: certificates, three approvers, signatures because there is TLS."""
    made = admin("", "pki", "init", scratch / "pki", "--output", "json")
    tls = made.json["tls"]
    admin("", "pki", "issue", scratch / "pki", "operator", "dave")
    for name in ("importer", "ann", "bob"):
        keygen = ("approver", "keygen", name, "--identity", OPERATOR.format(name), "--directory", scratch)
        assert admin("", *keygen).code == DONE
    first = tuple(str(scratch / f"{name}.approver.json") for name in ("importer", "ann", "bob"))
    server = make_server(signatures="auto", first_approvers=first, **tls)
    server.start()
    monkeypatch.setenv("HASHMATCH_ADMIN_TARGET", server.runner.addresses.administration)
    eventually(
        lambda: len(admin("importer", "approver", "list", "--output", "json").json["approvers"]) == 3,  # type: ignore[arg-type]
        "the first approvers are enrolled",
    )
    return server


def key(scratch: Path, name: str) -> tuple[object, ...]:
    return ("--approver-key", scratch / f"{name}.key", "--yes-i-read-it", "--output", "json")


def test_from_the_first_approvers_to_a_published_list_and_back(
    server: RunningServer, admin: Admin, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    delivery = scratch / "list.txt"
    delivery.write_bytes(hash_text([LISTED]))
    assert (
        admin("importer", "list", "define", "mine", "--body", "B", "--nature", "test", "--max-age", "30d").code == DONE
    )
    stage = ("stage", delivery, "--list", "mine", "--format", "hash-text", "--mode", "full", "--output", "json")
    staged = admin("importer", *stage).json["staging_id"]

    # Who staged it cannot approve it; nor can anybody without a key, or with one that nobody enrolled.
    assert admin("importer", "approve", staged, *key(scratch, "importer")).code == NOT_PERMITTED
    assert admin("ann", "approve", staged, "--yes-i-read-it").code == REFUSED
    admin("", "approver", "keygen", "mallory", "--identity", "spiffe://x/mallory", "--directory", scratch)
    assert "enrolled" in admin("ann", "approve", staged, *key(scratch, "mallory")).err
    assert admin("importer", "staging", "publish", staged).code == REFUSED

    assert admin("ann", "approve", staged, *key(scratch, "ann")).code == DONE
    # The signature counts, whoever hands it in.
    with monkeypatch.context() as environment:
        environment.setenv("HASHMATCH_APPROVER_KEY", str(scratch / "bob.key"))
        assert admin("importer", "approve", staged, "--yes-i-read-it").code == DONE
    published = admin("importer", "staging", "publish", staged, "--output", "json")
    assert published.code == DONE
    generation = published.json["generation"]
    assert isinstance(generation, dict)
    assert (generation["approvals"], generation["approvals_required"]) == (2, 2)

    # Taking it back takes two as well.
    withdrawn = admin("importer", "list", "withdraw", "mine", "--reason", "a test", "--output", "json")
    assert withdrawn.code == PROPOSED
    proposal = withdrawn.json["proposal_id"]
    shown = admin("ann", "proposal", "show", proposal)
    assert "withdraw-list" in shown.out
    assert "mine" in shown.out
    assert admin("importer", "proposal", "carry-out", proposal).code == REFUSED
    for name in ("ann", "bob"):
        assert admin(name, "approve", proposal, *key(scratch, name)).code == DONE
    assert proposal in admin("importer", "proposal", "list").out
    assert admin("importer", "proposal", "carry-out", proposal).code == DONE
    assert admin("importer", "proposal", "carry-out", proposal).code == REFUSED
    events = admin("importer", "history", "--limit", "1", "--output", "json").json["events"]
    assert isinstance(events, list)
    assert (events[0]["act"], events[0]["approvers"]) == ("withdraw-list", ["ann", "bob"])


def test_an_approver_who_is_revoked_stops_what_they_approved(
    server: RunningServer, admin: Admin, scratch: Path
) -> None:
    policy = scratch / "policy.toml"
    policy.write_text("version = 1\n[clients]\n")
    activated = admin("dave", "policy", "activate", policy, "--reason", "first", "--output", "json")
    assert activated.code == PROPOSED
    proposal = activated.json["proposal_id"]
    for name in ("importer", "ann"):
        assert admin(name, "approve", proposal, *key(scratch, name)).code == DONE
    revoked = admin("dave", "approver", "revoke", "ann", "--reason", "gone", "--output", "json").json["proposal_id"]
    for name in ("importer", "bob"):
        assert admin(name, "approve", revoked, *key(scratch, name)).code == DONE
    assert admin("dave", "proposal", "carry-out", revoked).code == DONE
    stopped = admin("dave", "proposal", "carry-out", proposal)
    assert stopped.code == REFUSED
    assert "revoked" in stopped.err
    assert admin("bob", "approve", proposal, *key(scratch, "bob")).code == DONE
    assert admin("dave", "proposal", "carry-out", proposal).code == DONE
    assert admin("dave", "policy", "show", "--output", "json").json["approvers"] == ["importer", "bob"]


def test_the_metrics_say_whether_approvals_are_signed(server: RunningServer, admin: Admin, scratch: Path) -> None:
    assert (
        admin("importer", "list", "define", "mine", "--body", "B", "--nature", "test", "--max-age", "30d").code == DONE
    )
    registry = server.runner.metrics.registry
    eventually(lambda: registry.get_sample_value("hashmatch_approvals_signed") == 1.0, "signed approvals are shown")


def test_without_tls_every_answer_says_that_approvals_are_not_signed(make_server: MakeServer) -> None:
    with make_server(signatures="auto") as client:
        client.define()
        epoch = client.deliver(hash_text([LISTED]))
        eventually(lambda: client.epoch() >= epoch, "the list is served")
        snapshot = client.snapshot().snapshot
        assert (snapshot.approvals_required, snapshot.approvals_signed) == (2, False)


def test_a_small_operator_is_asked_for_one_and_it_shows(make_server: MakeServer) -> None:
    with make_server(signatures="off", approvals_required=1) as client:
        client.define()
        staging = client.stage(hash_text([LISTED]))
        client.approve(staging, by=[APPROVERS[0]])
        epoch = client.publish(staging).epoch
        eventually(lambda: client.epoch() >= epoch, "the list is served")
        assert client.snapshot().snapshot.approvals_required == 1
        assert client.ask(LISTED).opinions[0].vetting.approvals == 1
