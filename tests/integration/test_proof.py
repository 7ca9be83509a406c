"""What a server can be held to: a record of every answer, checkpoints of its logs, and receipts that verify offline."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from pathlib import Path

import grpc
import msgspec
import pytest
from hashmatch_client import (
    Algorithm,
    AsyncHashmatchClient,
    ConfigurationError,
    HashmatchClient,
    Item,
    ReceiptError,
    SavedAnswer,
    ServerKey,
    verify_receipt,
)
from hashmatch_client.cli.main import main

from hashmatch.admin.main import main as admin
from hashmatch.model.errors import ErrorReason
from hashmatch.operations.audit import make_key
from hashmatch.service.config_duties import AuditSection, ProofSection
from hashmatch.trust.answer_log import AnswerLog, LogReading
from hashmatch.trust.audit import AuditError, AuditRecord
from hashmatch.v1 import common_pb2, match_service_pb2, receipt_pb2
from tests.integration.conftest import MakeServer
from tests.integration.errors import refused
from tests.integration.serving import TIMEOUT, Client, RunningServer, hash_of, hash_text
from tests.integration.waiting import eventually

LISTED = [os.urandom(32) for _ in range(5)]
NAME = "hashmatch.example/server-1"
SHA256 = common_pb2.ALGORITHM_SHA256

Start = Callable[..., RunningServer]


@pytest.fixture
def key(scratch: Path) -> str:
    """The public key of a server whose private one lies in `scratch`."""
    return make_key(scratch / "proof.key", NAME)


@pytest.fixture
def start(make_server: MakeServer, scratch: Path, key: str) -> Start:
    """Starts a server with a list, which signs."""

    def begin(*, signs: bool = True, receipts: str = "asked", **audit: object) -> RunningServer:
        server = make_server(archive=False)
        proof = ProofSection(name=NAME, key_file=str(scratch / "proof.key"), receipts=receipts)  # type: ignore[arg-type]
        settings = AuditSection(**{"flush_seconds": 0.01, **audit})  # type: ignore[arg-type]
        server.config = msgspec.structs.replace(server.config, proof=proof if signs else ProofSection(), audit=settings)
        client = server.start()
        client.define()
        epoch = client.deliver(hash_text(LISTED))
        eventually(lambda: client.epoch() >= epoch, "the list is served")
        return server

    return begin


def answers_of(scratch: Path) -> list[AuditRecord]:
    """What the log of answers has, verified."""
    return [record for record in LogReading.of(scratch / "data" / "answers" / "server") if record.act == "answer"]


def metric(client: Client, outcome: str) -> float:
    (line,) = [
        line
        for line in client.page("/metrics").text.splitlines()
        if line.startswith(f'hashmatch_audit_answers_total{{outcome="{outcome}"}}')
    ]
    return float(line.split()[-1])


# ---- the log of answers


def test_every_answered_batch_is_recorded_with_numbers_and_without_hashes(start: Start, scratch: Path) -> None:
    server = start()
    client = server.client
    client.batch([hash_of(LISTED[0]), hash_of(os.urandom(32))], [hash_of(os.urandom(16))], purpose="upload")
    client.bulk(SHA256, b"".join([*LISTED, os.urandom(64)]))
    refused(lambda: client.batch())
    epoch = client.epoch()
    server.stop()
    batch, bulk = answers_of(scratch)
    assert batch.actor == bulk.actor == "loopback:anonymous"
    wanted = {"epoch": epoch, "hashes": 3, "matches": 1, "undetermined": 1, "method": "BatchMatch", "purpose": "upload"}
    assert {name: batch.details[name] for name in wanted} == wanted
    wanted = {"epoch": epoch, "hashes": 7, "matches": 5, "undetermined": 0, "method": "BulkMatch", "purpose": ""}
    assert {name: bulk.details[name] for name in wanted} == wanted
    assert batch.details["request_id"] != bulk.details["request_id"]


def test_what_is_said_of_matches_is_recorded_too(start: Start, scratch: Path) -> None:
    """Whoever reports on a hash learns whether it is listed."""
    server = start()
    stated = [
        match_service_pb2.HitFeedback(
            hash=hash_of(digest), list_id="list", judgement=match_service_pb2.FEEDBACK_JUDGEMENT_CONFIRMED
        )
        for digest in (LISTED[0], os.urandom(32))
    ]
    server.client.matching.ReportFeedback(
        match_service_pb2.ReportFeedbackRequest(feedback=stated, purpose="review"), timeout=TIMEOUT
    )
    server.stop()
    (record,) = answers_of(scratch)
    wanted = {"hashes": 2, "matches": 1, "undetermined": 0, "method": "ReportFeedback", "purpose": "review"}
    assert {name: record.details[name] for name in wanted} == wanted


def test_the_log_goes_on_after_a_restart(start: Start, scratch: Path) -> None:
    server = start()
    server.client.ask(LISTED[0])
    server.restart()
    eventually(lambda: server.client.ask(LISTED[0]).verdict == common_pb2.VERDICT_MATCH, "it answers again")
    server.stop()
    found = answers_of(scratch)
    assert len(found) >= 2
    assert [record.sequence for record in found] == list(range(found[0].sequence, found[-1].sequence + 1))


class Broken:
    """A disk that fails when told to."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.fails = False
        proper = AnswerLog.append

        def append(log: AnswerLog, entries: list[object]) -> None:
            if self.fails:
                raise AuditError("the log of answers cannot be written: No space left on device")
            proper(log, entries)  # type: ignore[arg-type]

        patch.setattr(AnswerLog, "append", append)


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Broken:
    return Broken(monkeypatch)


def test_synced_no_answer_is_given_that_is_not_recorded(start: Start, scratch: Path, broken: Broken) -> None:
    server = start(answers="synced")
    assert server.client.ask(LISTED[0]).verdict == common_pb2.VERDICT_MATCH
    broken.fails = True
    for _ in range(3):
        refusal = refused(lambda: server.client.ask(LISTED[0]))
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, ErrorReason.AUDIT_UNAVAILABLE)
        assert refusal.retry_delay
    broken.fails = False
    assert server.client.ask(LISTED[0]).verdict == common_pb2.VERDICT_MATCH
    server.stop()
    assert len(answers_of(scratch)) == 2


def test_buffered_answers_go_on_and_are_recorded_when_they_can_be(
    start: Start, scratch: Path, broken: Broken, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hashmatch.service.answer_audit.CAPACITY", 5)
    server = start()
    broken.fails = True
    for _ in range(9):
        assert server.client.ask(LISTED[0]).verdict == common_pb2.VERDICT_MATCH
    assert metric(server.client, "lost") == 4
    broken.fails = False
    eventually(lambda: metric(server.client, "recorded") == 5, "what waited is recorded")
    server.stop()
    assert len(answers_of(scratch)) == 5
    lost = [record for record in LogReading.of(scratch / "data" / "answers" / "server") if record.act == "answers-lost"]
    assert sum(int(record.details["answers"]) for record in lost) == 4


def test_answers_need_not_be_recorded(start: Start, scratch: Path) -> None:
    server = start(answers="off")
    server.client.ask(LISTED[0])
    server.stop()
    assert not (scratch / "data" / "answers").exists()


# ---- checkpoints


def test_a_log_that_was_cut_is_not_gone_on_with(start: Start, scratch: Path, key: str) -> None:
    server = start()
    for _ in range(3):
        server.client.ask(LISTED[0])
    server.stop()
    directory = scratch / "data" / "answers" / "server"
    checkpoint = scratch / "data" / "checkpoints" / "answers-server"
    stated = ["--checkpoint", str(checkpoint), "--key-of-server", key]
    assert admin(["audit", "verify", str(directory), *stated]) == 0
    acts = ["--checkpoint", str(scratch / "data" / "checkpoints" / "acts"), "--key-of-server", key]
    assert admin(["audit", "verify", str(scratch / "data" / "audit.jsonl"), *acts]) == 0
    assert admin(["audit", "verify", str(directory), *acts]) == 1
    (segment,) = sorted(directory.glob("*.jsonl"))
    lines = segment.read_bytes().splitlines(keepends=True)
    segment.write_bytes(b"".join(lines[:-1]))
    assert admin(["audit", "verify", str(directory)]) == 0
    assert admin(["audit", "verify", str(directory), *stated]) == 1
    with pytest.raises(AuditError, match="were signed for"):
        server.start()


def test_a_changed_record_is_found(start: Start, scratch: Path, capsys: pytest.CaptureFixture[str]) -> None:
    server = start()
    for _ in range(3):
        server.client.ask(LISTED[0])
    server.stop()
    directory = scratch / "data" / "answers" / "server"
    (segment,) = sorted(directory.glob("*.jsonl"))
    content = segment.read_bytes()
    segment.write_bytes(content.replace(b'"matches":1', b'"matches":0', 1))
    assert admin(["audit", "verify", str(directory)]) == 1
    assert "does not follow" in capsys.readouterr().err
    segment.write_bytes(content)
    assert admin(["audit", "show", str(directory), "--act", "answer", "--output", "jsonl"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["details"]["matches"] for row in rows] == [1, 1, 1]


# ---- receipts


@pytest.fixture
def saved(start: Start) -> list[SavedAnswer]:
    """Answers of each kind, from both clients: items, three columns on a stream, items."""
    server = start()
    target, found = server.runner.addresses.matching, []
    with HashmatchClient(target, save_answers=found.append) as client:
        client.match_items([Item.of(sha256=LISTED[0]), Item.of(sha256=os.urandom(32), md5=os.urandom(16))])
        list(client.bulk_match(Algorithm.SHA256, b"".join(LISTED), lists=["list"]))

    async def twin() -> None:
        async with AsyncHashmatchClient(target, save_answers=found.append) as client:
            await client.match(sha256=LISTED[1])
            async for _ in client.bulk_match(Algorithm.SHA256, LISTED[2] + os.urandom(32)):
                pass

    asyncio.run(twin())
    return found


def test_receipts_of_every_kind_verify(saved: list[SavedAnswer], key: str) -> None:
    verified = [verify_receipt(each, [ServerKey.parse(key)]) for each in saved]
    assert [(each.method, each.asked, each.matches, each.not_determined) for each in verified] == [
        ("BatchMatch", 3, 1, 1),
        ("BulkMatch", 5, 5, 0),
        ("BatchMatch", 1, 1, 0),
        ("BulkMatch", 2, 1, 0),
    ]
    assert {(each.server, each.caller, each.epoch > 0) for each in verified} == {(NAME, "loopback:anonymous", True)}
    assert len({each.request_id for each in verified}) == 4
    assert [SavedAnswer.from_bytes(each.to_bytes()) for each in saved] == saved


def test_no_byte_of_what_is_saved_can_be_changed(saved: list[SavedAnswer], key: str) -> None:
    keys = [ServerKey.parse(key)]
    for answer in saved:
        for name in ("request", "response"):
            content = getattr(answer, name)
            changes = [content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :] for at in range(len(content))]
            for changed in (*changes, content[:-1], content + b"\0", b""):
                with pytest.raises(ReceiptError):
                    verify_receipt(answer._replace(**{name: changed}), keys)


def test_a_receipt_is_of_one_question_and_one_answer(saved: list[SavedAnswer], key: str) -> None:
    keys = [ServerKey.parse(key)]
    first, second = saved[0], saved[2]
    for mixed in (
        first._replace(request=second.request),
        first._replace(response=second.response),
        first._replace(method="BulkMatch"),
        first._replace(response=first.response + _receipt_of(second)),
        first._replace(response=first.response.replace(_receipt_of(first), b"")),
        first._replace(response=first.response.replace(_receipt_of(first), _receipt_of(second))),
    ):
        with pytest.raises(ReceiptError):
            verify_receipt(mixed, keys)


def _receipt_of(answer: SavedAnswer) -> bytes:
    """The receipt of an answer for items, as the field that it is."""
    receipt = match_service_pb2.BatchMatchResponse.FromString(answer.response).receipt
    return match_service_pb2.BatchMatchResponse(receipt=receipt).SerializeToString()


def test_a_later_column_is_bound_to_the_scope_that_was_stated_before(start: Start, key: str) -> None:
    """Otherwise an answer for one list could be shown as one for all."""
    client = start().client
    stated = match_service_pb2.BulkMatchRequest(
        column=match_service_pb2.HashColumn(algorithm=SHA256, digests=LISTED[0]),
        scope=match_service_pb2.MatchScope(list_ids=["list"]),
        want_receipt=True,
    )
    later = match_service_pb2.BulkMatchRequest(
        sequence=1, column=match_service_pb2.HashColumn(algorithm=SHA256, digests=LISTED[1]), want_receipt=True
    )
    call = client.matching_channel.stream_stream("/hashmatch.v1.MatchService/BulkMatch")
    sent = [each.SerializeToString() for each in (stated, later)]
    _, response = call(iter(sent), timeout=TIMEOUT)
    keys = [ServerKey.parse(key)]
    answer = SavedAnswer("BulkMatch", sent[1], response, sent[0])
    assert verify_receipt(answer, keys).matches == 1
    for other in (b"", sent[1], match_service_pb2.BulkMatchRequest().SerializeToString() + b"\x08\x01"):
        with pytest.raises(ReceiptError):
            verify_receipt(answer._replace(scope_request=other), keys)


def test_another_key_proves_nothing(saved: list[SavedAnswer], scratch: Path, key: str) -> None:
    other = ServerKey.parse(make_key(scratch / "other.key", NAME))
    with pytest.raises(ReceiptError, match="none of the keys"):
        verify_receipt(saved[0], [other])
    forged = other.__class__(NAME, ServerKey.parse(key).key_id, other.public_key)
    with pytest.raises(ReceiptError, match="does not verify"):
        verify_receipt(saved[0], [forged])
    for line in ("", NAME, key[:-2], key.replace("server-1", "server-2")):
        with pytest.raises(ConfigurationError):
            ServerKey.parse(line)


def test_a_receipt_without_its_nonce_tells_nothing_of_what_was_asked(saved: list[SavedAnswer]) -> None:
    """The same question twice has two commitments, so that nobody can try questions against one."""
    response = match_service_pb2.BatchMatchResponse.FromString(saved[0].response)
    shown = response.receipt.statement + response.receipt.signature
    assert len(response.receipt.nonce) == 32
    assert response.receipt.nonce not in shown
    assert LISTED[0] not in shown
    statements = [
        receipt_pb2.ReceiptStatement.FromString(match_service_pb2.BatchMatchResponse.FromString(each).receipt.statement)
        for each in (saved[0].response, saved[2].response)
    ]
    assert len({each.commitment for each in statements}) == 2


def test_who_asks_for_a_receipt_where_there_are_none_is_told(start: Start) -> None:
    server = start(signs=False)
    request = match_service_pb2.BatchMatchRequest(
        items=[match_service_pb2.MatchItem(hashes=[hash_of(LISTED[0])])], want_receipt=True
    )
    assert (
        refused(lambda: server.client.matching.BatchMatch(request, timeout=TIMEOUT)).reason == ErrorReason.NO_RECEIPTS
    )
    assert not server.client.batch([hash_of(LISTED[0])]).HasField("receipt")


def test_receipts_can_be_given_to_all(start: Start, key: str) -> None:
    client = start(receipts="always").client
    assert client.batch([hash_of(LISTED[0])]).HasField("receipt")
    assert client.bulk(SHA256, LISTED[0]).HasField("receipt")


def test_the_command_saves_and_verifies(
    start: Start, scratch: Path, key: str, capsys: pytest.CaptureFixture[str]
) -> None:
    target = start().runner.addresses.matching
    (scratch / "hashes.txt").write_text(f"{LISTED[0].hex()}\n{os.urandom(32).hex()}\n")
    place = scratch / "answers of today"
    asked = ["check", "--hashes", str(scratch / "hashes.txt"), "--target", target, "--save-answers", str(place)]
    assert main(asked) == 10
    (file,) = place.iterdir()
    assert file.stat().st_mode & 0o077 == 0
    (scratch / "keys").write_text(f"{key}\n")
    capsys.readouterr()
    for stated in (key, str(scratch / "keys")):
        assert main(["verify-receipt", str(file), "--key-of-server", stated, "--output", "json"]) == 0
        (row,) = json.loads(capsys.readouterr().out)["answers"]
        assert (row["valid"], row["asked"], row["matches"], row["server"]) == (True, 2, 1, NAME)
    spoilt = scratch / "spoilt"
    spoilt.write_bytes(file.read_bytes()[:-1])
    assert main(["verify-receipt", str(file), str(spoilt), "--key-of-server", key]) == 1
    told = capsys.readouterr()
    assert "NOT VALID" in told.out
    assert "Traceback" not in told.err
