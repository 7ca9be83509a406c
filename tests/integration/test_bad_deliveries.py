"""Deliveries that should not be served: refused with a reason or quarantined with one, and nothing becomes visible."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import grpc
import pytest
import redis

from hashmatch.model.errors import ErrorReason
from hashmatch.v1 import common_pb2, list_admin_service_pb2
from tests.integration.conftest import MakeServer
from tests.integration.errors import refused
from tests.integration.serving import (
    IMPORTER,
    TIMEOUT,
    Background,
    Client,
    RunningServer,
    hash_text,
    make_config,
    stage_requests,
    timestamp,
)
from tests.integration.waiting import eventually

DIGESTS = [hashlib.sha256(bytes([number])).digest() for number in range(200)]
GOOD = hash_text(DIGESTS)
FULL = list_admin_service_pb2.DELIVERY_MODE_FULL
PROFILE = 'layout = "csv"\nkey = ["id"]\n[[hash]]\ncolumn = "sha256"\nalgorithm = "sha256"\n'


@pytest.fixture(scope="module")
def server(background: Background, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server with one list that serves something, and that takes small deliveries only."""
    config = make_config(tmp_path_factory.mktemp("stage"), maximum_delivery_bytes=64 << 20)
    server = RunningServer(background, config)
    with server as client:
        client.define()
        epoch = client.deliver(GOOD)
        eventually(lambda: client.epoch() >= epoch, "the list is served")
        yield server


@pytest.fixture
def office(server: RunningServer) -> Iterator[Client]:
    """A client; whatever the test does, what is served is what was served, and no staging is left behind."""
    client = server.client
    before = client.epoch()
    yield client
    assert client.epoch() == before
    for staging in stagings(client):
        request = list_admin_service_pb2.DiscardStagingRequest(staging_id=staging.staging_id)
        client.act("DiscardStaging", request)


def stagings(client: Client) -> list[list_admin_service_pb2.Staging]:
    return list(client.act("ListStagings", list_admin_service_pb2.ListStagingsRequest()).stagings)


def header(**stated: Any) -> list_admin_service_pb2.StageHeader:
    return list_admin_service_pb2.StageHeader(**{"list_id": "list", "format": "hash-text", "mode": FULL, **stated})


def part(**content: Any) -> list_admin_service_pb2.StageRequest:
    return list_admin_service_pb2.StageRequest(**content)


def stage(client: Client, *requests: list_admin_service_pb2.StageRequest) -> list_admin_service_pb2.StageResponse:
    return client.act("Stage", iter(requests), IMPORTER)


END = part(end=list_admin_service_pb2.StageEnd())


@pytest.mark.parametrize(
    ("requests", "reason"),
    [
        pytest.param([], "INVALID_FIELD", id="nothing"),
        pytest.param([part(chunk=GOOD)], "INVALID_FIELD", id="no header"),
        pytest.param([part(header=header()), part(header=header())], "INVALID_FIELD", id="two headers"),
        pytest.param([part(header=header()), part()], "INVALID_FIELD", id="an empty message"),
        pytest.param([part(header=header()), part(chunk=bytes((1 << 20) + 1))], "INVALID_FIELD", id="a large chunk"),
        pytest.param([part(header=header()), END, part(chunk=GOOD)], "INVALID_FIELD", id="more after the end"),
        pytest.param([part(header=header()), END, END], "INVALID_FIELD", id="two ends"),
        pytest.param([part(header=header()), part(chunk=GOOD)], "DELIVERY_INCOMPLETE", id="no end"),
        pytest.param([part(header=header())], "DELIVERY_INCOMPLETE", id="a header and no end"),
        pytest.param([part(header=header(format="xlsx")), part(chunk=GOOD)], "UNKNOWN_FORMAT", id="unknown format"),
        pytest.param([part(header=header(format="")), part(chunk=GOOD)], "UNKNOWN_FORMAT", id="no format"),
        pytest.param([part(header=header(list_id="nobody"))], "LIST_NOT_FOUND", id="unknown list"),
        pytest.param([part(header=header(list_id="../list"))], "INVALID_FIELD", id="no list id"),
        pytest.param([part(header=header(mode=0))], "INVALID_FIELD", id="no mode"),
        pytest.param([part(header=header(mode=17))], "INVALID_FIELD", id="unknown mode"),
        pytest.param(
            [part(header=header(as_of=timestamp(time.time() + 86_400)))], "INVALID_FIELD", id="as of tomorrow"
        ),
        pytest.param([part(header=header(delivery_sha256=b"short"))], "INVALID_FIELD", id="half a digest"),
        pytest.param([part(header=header(file_name="x" * 257))], "INVALID_FIELD", id="a long file name"),
        pytest.param([part(header=header(format="columns"))], "INVALID_PROFILE", id="no profile"),
        pytest.param(
            [part(header=header(format="columns", profile="layout = ["))], "INVALID_PROFILE", id="a profile cut short"
        ),
        pytest.param(
            [part(header=header(delivery_sha256=bytes(32))), part(chunk=GOOD)],
            "DELIVERY_DIGEST_MISMATCH",
            id="another digest",
        ),
        pytest.param(
            [part(header=header()), part(chunk=b"\x7fELF\x02\x01\x01\0\0"), END], "DELIVERY_MALFORMED", id="binary"
        ),
        pytest.param(
            [part(header=header()), part(chunk=os.urandom(4096) + b"\0"), END], "DELIVERY_MALFORMED", id="noise"
        ),
        pytest.param(
            [part(header=header()), part(chunk="\ufeff".encode("utf-16-le") + b"a"), END],
            "DELIVERY_MALFORMED",
            id="half a character",
        ),
        pytest.param(
            [part(header=header(format="columns", profile=PROFILE)), part(chunk=b'id,sha256\n1,"abc'), END],
            "DELIVERY_MALFORMED",
            id="truncated inside quotes",
        ),
        pytest.param(
            [part(header=header(format="columns", profile=PROFILE)), part(chunk=b""), END],
            "DELIVERY_MALFORMED",
            id="a table of nothing",
        ),
        pytest.param(
            [part(header=header()), *[part(chunk=b"0" * (1 << 20))] * 65], "DELIVERY_TOO_LARGE", id="too large"
        ),
    ],
)
def test_a_delivery_that_cannot_be_read_is_refused_and_leaves_nothing(
    office: Client, requests: list[list_admin_service_pb2.StageRequest], reason: str
) -> None:
    refusal = refused(lambda: stage(office, *requests))
    assert refusal.reason == reason
    assert not any(digest.hex() in refusal.whole for digest in DIGESTS)
    assert not stagings(office)


def gates(staging: list_admin_service_pb2.Staging) -> set[str]:
    """The gates that are not met."""
    return {gate.name for gate in staging.report.gates if not gate.passed}


def quarantine(staging: list_admin_service_pb2.Staging) -> dict[str, int]:
    report = staging.report
    assert report.read == report.stored + report.duplicates + report.quarantined + report.removals
    return {each.reason: each.count for each in report.quarantine}


def test_an_odd_number_of_digits_is_quarantined(office: Client) -> None:
    staging = office.stage(GOOD + DIGESTS[0].hex()[:-1].encode() + b"\n")
    assert quarantine(staging) == {"odd-length": 1}


def test_a_digest_that_no_algorithm_makes_is_quarantined(office: Client) -> None:
    assert quarantine(office.stage(GOOD + b"abcdef\n")) == {"wrong-length": 1}


def test_the_digest_of_the_empty_file_is_quarantined(office: Client) -> None:
    content = hash_text([hashlib.sha256().digest(), hashlib.md5().digest()])
    assert quarantine(office.stage(GOOD + content)) == {"empty-file-digest": 2}


def test_a_line_that_comes_twice_counts_once(office: Client) -> None:
    report = office.stage(GOOD + GOOD).report
    assert (report.read, report.stored, report.duplicates) == (400, 200, 200)
    assert [count.hashes for count in report.counts] == [200]


def test_a_last_line_without_its_end_is_read(office: Client) -> None:
    assert office.stage(GOOD.rstrip(b"\n")).report.stored == len(DIGESTS)


def test_a_delivery_that_is_cut_short_is_seen_by_its_declared_count(office: Client) -> None:
    staging = office.stage(GOOD[: len(GOOD) // 2], declared_records=len(DIGESTS))
    assert "declared-count" in gates(staging)
    assert "removals" in gates(staging)


def test_a_million_bad_lines_make_a_short_report(office: Client) -> None:
    staging = office.stage(b"this is no digest at all\n" * 1_000_000)
    assert quarantine(staging) == {"not-hex": 1_000_000}
    assert len(staging.report.quarantine[0].example_records) == 10
    assert {"quarantine", "not-empty"} <= gates(staging)
    assert staging.ByteSize() < 4_096


def test_a_delivery_of_one_entry_and_one_of_none_are_seen_by_the_gates(office: Client) -> None:
    assert gates(office.stage(hash_text(DIGESTS[:1]))) == {"removals"}
    assert gates(office.stage(b"")) == {"not-empty", "removals"}


def test_quarantine_tells_lines_and_never_what_stands_in_them(office: Client) -> None:
    damaged = DIGESTS[7].hex()[:-1] + "g"
    staging = office.stage(GOOD + damaged.encode() + b"\n")
    (each,) = staging.report.quarantine
    assert list(each.example_records) == [len(DIGESTS) + 1]
    assert damaged[:32] not in str(staging)


def test_staging_again_under_one_request_id_gives_the_first_outcome(office: Client) -> None:
    first = office.stage(GOOD, request_id="one")
    assert office.stage(b"something else", request_id="one") == first
    assert len(stagings(office)) == 1


def test_validate_only_reports_and_stages_nothing(office: Client) -> None:
    staging = office.stage(GOOD, validate_only=True)
    assert staging.report.stored == len(DIGESTS)
    assert not staging.staging_id
    assert not stagings(office)


def test_publishing_needs_two_people_who_are_not_the_importer(office: Client) -> None:
    staging = office.stage(GOOD)
    assert refused(lambda: office.publish(staging)).reason == ErrorReason.APPROVALS_MISSING
    by_importer = refused(lambda: office.approve(staging, [IMPORTER]))
    assert (by_importer.code, by_importer.reason) == (
        grpc.StatusCode.PERMISSION_DENIED,
        ErrorReason.APPROVER_IS_IMPORTER,
    )
    office.approve(staging, ["ann", "ann"])
    missing = refused(lambda: office.publish(staging))
    assert (missing.code, missing.reason) == (grpc.StatusCode.FAILED_PRECONDITION, ErrorReason.APPROVALS_MISSING)


def test_an_approval_of_another_report_does_not_count(office: Client) -> None:
    staging, other = office.stage(GOOD), office.stage(GOOD + b"bad\n")
    request = list_admin_service_pb2.ApproveRequest(
        staging_id=staging.staging_id, approval_digest=other.approval_digest
    )
    assert refused(lambda: office.act("Approve", request, "ann")).reason == ErrorReason.APPROVAL_DIGEST_MISMATCH


def test_an_unmet_gate_must_be_accepted_by_name_and_with_a_reason(office: Client) -> None:
    staging = office.stage(hash_text(DIGESTS[:1]))
    office.approve(staging)
    assert refused(lambda: office.publish(staging)).reason == ErrorReason.GATE_NOT_MET
    assert refused(lambda: office.publish(staging, accept=["additions"])).reason == ErrorReason.GATE_NOT_MET
    silent = list_admin_service_pb2.PublishRequest(staging_id=staging.staging_id, accept_gates=["removals"])
    assert refused(lambda: office.act("Publish", silent)).reason == ErrorReason.INVALID_FIELD


@pytest.mark.parametrize("act", ["GetStaging", "Approve", "Publish", "DiscardStaging"])
def test_a_staging_that_does_not_exist_is_not_found(office: Client, act: str) -> None:
    request = getattr(list_admin_service_pb2, f"{act}Request")(staging_id="0" * 16)
    refusal = refused(lambda: office.act(act, request))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, ErrorReason.STAGING_NOT_FOUND)


def test_a_discarded_staging_cannot_be_published(office: Client) -> None:
    staging = office.stage(GOOD)
    office.approve(staging)
    office.act("DiscardStaging", list_admin_service_pb2.DiscardStagingRequest(staging_id=staging.staging_id))
    assert refused(lambda: office.publish(staging)).reason == ErrorReason.STAGING_CLOSED


def test_a_staging_is_outdated_once_the_list_has_changed(client: Client) -> None:
    client.define()
    early, late = client.stage(GOOD), client.stage(GOOD + hash_text([os.urandom(32)]))
    for staging in (early, late):
        client.approve(staging)
    client.publish(late)
    refusal = refused(lambda: client.publish(early))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, ErrorReason.STAGING_OUTDATED)


@pytest.mark.parametrize(
    ("act", "request_"),
    [
        ("Suppress", list_admin_service_pb2.SuppressRequest(reason="a test")),
        ("Suppress", list_admin_service_pb2.SuppressRequest(hashes=[common_pb2.Hash(algorithm=3, value=bytes(31))])),
        ("Suppress", list_admin_service_pb2.SuppressRequest(hashes=[common_pb2.Hash(algorithm=3, value=DIGESTS[0])])),
        ("LiftSuppression", list_admin_service_pb2.LiftSuppressionRequest(reason="a test")),
        ("WithdrawEntries", list_admin_service_pb2.WithdrawEntriesRequest(list_id="list", reason="a test")),
        ("WithdrawList", list_admin_service_pb2.WithdrawListRequest(list_id="list")),
        ("DefineList", list_admin_service_pb2.DefineListRequest()),
    ],
)
def test_an_act_without_object_or_reason_is_refused(office: Client, act: str, request_: Any) -> None:
    assert refused(lambda: office.act(act, request_)).reason == ErrorReason.INVALID_FIELD


@pytest.mark.parametrize("act", ["RollBack", "WithdrawList", "WithdrawEntries"])
def test_an_act_on_a_list_that_does_not_exist_is_refused(office: Client, act: str) -> None:
    stated: dict[str, Any] = {"list_id": "nobody", "reason": "a test"}
    if act == "WithdrawEntries":
        stated["source_keys"] = ["k"]
    request = getattr(list_admin_service_pb2, f"{act}Request")(**stated)
    refusal = refused(lambda: office.act(act, request))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, ErrorReason.LIST_NOT_FOUND)


def importers(server_pid: int) -> set[int]:
    """The children of this process that are importers."""
    found = set()
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(status.read_text().rpartition(")")[2].split()[1])
            command = (status.parent / "cmdline").read_bytes()
        except OSError:
            continue
        if parent == server_pid and b"hashmatch.ingest.worker" in command:
            found.add(int(status.parent.name))
    return found


def test_a_caller_who_goes_away_leaves_no_staging_and_no_process(server: RunningServer, office: Client) -> None:
    running = threading.Event()

    def endless() -> Iterator[list_admin_service_pb2.StageRequest]:
        # Beyond what is staged without a process of its own; then nothing more comes.
        yield from stage_requests(header(), hash_text(os.urandom(32) for _ in range(50_000)))
        running.wait(TIMEOUT)

    call = office.administration.Stage.future(endless(), timeout=TIMEOUT, metadata=(("hashmatch-operator", IMPORTER),))
    eventually(lambda: importers(os.getpid()), "an importer runs")
    call.cancel()
    running.set()
    eventually(lambda: not importers(os.getpid()), "the importer ends")
    assert not stagings(office)
    # Its place is free again.
    office.stage(GOOD)


def test_an_importer_that_is_killed_leaves_nothing_visible_and_nothing_for_ever(make_server: MakeServer) -> None:
    server = make_server()
    client = server.start()
    client.define()
    sent = threading.Event()

    def until_told() -> Iterator[list_admin_service_pb2.StageRequest]:
        yield from stage_requests(header(), hash_text(os.urandom(32) for _ in range(50_000)))
        sent.wait(TIMEOUT)

    call = client.administration.Stage.future(
        until_told(), timeout=TIMEOUT, metadata=(("hashmatch-operator", IMPORTER),)
    )
    eventually(lambda: importers(os.getpid()), "an importer runs")
    for pid in importers(os.getpid()):
        os.kill(pid, 9)
    sent.set()
    refusal = refused(call.result)
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INTERNAL, ErrorReason.INTERNAL)
    assert not stagings(client)
    assert server.runner.valkey is not None
    with closing(redis.Redis.from_url(server.runner.valkey.url)) as store:
        # What it may have written is on the collector's list; here it had not begun to.
        written = {key.split(b":")[2] for key in store.keys("hashmatch:b:*")}
        assert written <= set(store.hgetall("hashmatch:pending"))
