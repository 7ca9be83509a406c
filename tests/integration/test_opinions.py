"""An analyst's opinion becomes part of their list once somebody else agreed; so does a dispute, or its end."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from hashmatch.admin.exits import Exit
from hashmatch.admin.main import main
from hashmatch.v1 import common_pb2, list_admin_service_pb2
from tests.integration.conftest import MakeServer
from tests.integration.errors import refused
from tests.integration.serving import Client, hash_text
from tests.integration.waiting import eventually

DIGEST = os.urandom(32)
NATURE = common_pb2.LIST_NATURE_ILLEGAL


@pytest.fixture
def client(make_server: MakeServer) -> Client:
    """A client of an instance with a list of its own and one of another body, which has the hash as baseline."""
    client = make_server(approvals_required=1, maximum_removed_fraction=1.0).start()
    client.define("ours", nature=NATURE)
    client.define("theirs", nature=NATURE)
    client.deliver(hash_text([DIGEST]), "theirs", label="baseline", scheme="iccam")
    return client


Say = Callable[..., list_admin_service_pb2.Staging]


@pytest.fixture
def say(client: Client, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Say:
    """Runs `hashmatch-admin opinion` as ann; returns what it staged."""
    monkeypatch.setenv("HASHMATCH_ADMIN_TARGET", client.addresses.administration)
    file = tmp_path / "hashes.txt"
    file.write_bytes(hash_text([DIGEST]))

    def say(command: str, *words: str) -> list_admin_service_pb2.Staging:
        words = ("opinion", command, "ours", "--hashes", str(file), *words)
        code = main([*words, "--reason", "a test", "--operator", "ann", "--output", "json"])
        printed = capsys.readouterr()
        assert code == Exit.DONE, printed.err
        assert DIGEST.hex() not in printed.out + printed.err
        request = list_admin_service_pb2.GetStagingRequest(staging_id=json.loads(printed.out)["staging_id"])
        return client.act("GetStaging", request).staging

    return say


def agree(client: Client, staging: list_admin_service_pb2.Staging) -> None:
    client.approve(staging, by=["bob"])
    unmet = [gate.name for gate in staging.report.gates if not gate.passed]
    epoch = client.publish(staging, accept=unmet).epoch
    eventually(lambda: client.epoch() >= epoch, "the opinion is served")


def ours(client: Client) -> list[tuple[str, str, str, list[str]]]:
    opinions = client.ask(DIGEST).opinions
    return sorted(
        (each.scheme, each.label, each.jurisdiction, list(each.flags)) for each in opinions if each.list_id == "ours"
    )


def test_an_opinion_counts_when_a_second_person_agreed(client: Client, say: Say) -> None:
    staging = say("contribute", "--opinion", "national:NL", "--label", "C", "--scheme", "own")
    assert staging.file_name == "opinion: a test"
    assert ours(client) == []
    denied = refused(lambda: client.approve(staging, by=["ann"]))
    assert denied.reason == "APPROVER_IS_IMPORTER"
    agree(client, staging)
    assert ours(client) == [("iccam", "national", "NL", []), ("own", "C", "NL", [])]


def test_a_later_opinion_takes_the_place_of_the_earlier(client: Client, say: Say) -> None:
    agree(client, say("contribute", "--opinion", "national:NL", "--label", "C", "--scheme", "own"))
    agree(client, say("contribute", "--opinion", "baseline"))
    assert ours(client) == [("iccam", "baseline", "", [])]


def test_a_dispute_shows_beside_what_others_say(client: Client, say: Say) -> None:
    agree(client, say("dispute"))
    assert ours(client) == [("iccam", "not illegal", "", ["disputed"])]
    item = client.batch([common_pb2.Hash(algorithm=common_pb2.ALGORITHM_SHA256, value=DIGEST)]).results[0]
    assert item.agreement == common_pb2.AGREEMENT_DISPUTED


def test_an_opinion_is_withdrawn_in_the_same_way(client: Client, say: Say) -> None:
    agree(client, say("contribute", "--opinion", "not-illegal", "--label", "X", "--scheme", "own"))
    staging = say("withdraw")
    assert len(ours(client)) == 2
    client.approve(staging, by=["bob"])
    unmet = [gate.name for gate in staging.report.gates if not gate.passed]
    client.publish(staging, accept=unmet)
    eventually(lambda: ours(client) == [], "the opinion is gone")


@pytest.mark.parametrize("opinion", ["national", "national:", "illegal", "baseline:NL", ""])
def test_what_is_no_opinion_is_refused(opinion: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["opinion", "contribute", "ours", "--hashes", "-", "--reason", "x", "--opinion", opinion]
    assert main(words) == Exit.USAGE
    assert "must be baseline" in capsys.readouterr().err


def test_a_label_has_a_scheme(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["opinion", "dispute", "ours", "--hashes", str(tmp_path / "none"), "--reason", "x", "--label", "A"]
    assert main(words) == Exit.USAGE
    assert "--scheme" in capsys.readouterr().err
