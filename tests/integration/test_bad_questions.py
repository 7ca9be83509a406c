"""Questions that cannot be answered: a clear error, or a verdict with its reason; never a crash, never a negative."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import grpc
import pytest

from hashmatch.model.errors import ErrorReason
from hashmatch.v1 import common_pb2, match_service_pb2
from tests.integration.conftest import MakeServer
from tests.integration.errors import refused
from tests.integration.serving import TIMEOUT, Background, Client, RunningServer, hash_of, hash_text, make_config
from tests.integration.waiting import eventually

LISTED = os.urandom(32)
NEVER_LISTED = os.urandom(32)
SHA256 = common_pb2.ALGORITHM_SHA256


@pytest.fixture(scope="module")
def asked(background: Background, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A server with one list, which nothing here changes."""
    with RunningServer(background, make_config(tmp_path_factory.mktemp("asked"))) as client:
        client.define()
        epoch = client.deliver(hash_text([LISTED]))
        eventually(lambda: client.epoch() >= epoch, "the list is served")
        yield client


def batch(*items: match_service_pb2.MatchItem, **scope: object) -> match_service_pb2.BatchMatchRequest:
    return match_service_pb2.BatchMatchRequest(items=items, scope=match_service_pb2.MatchScope(**scope))


def item(*hashes: common_pb2.Hash, reference: str = "") -> match_service_pb2.MatchItem:
    return match_service_pb2.MatchItem(reference=reference, hashes=hashes)


GOOD = item(hash_of(LISTED))


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        pytest.param((SHA256, os.urandom(31)), "INVALID_HASH", id="one byte short"),
        pytest.param((SHA256, os.urandom(33)), "INVALID_HASH", id="one byte long"),
        pytest.param((SHA256, b""), "INVALID_HASH", id="empty"),
        pytest.param((SHA256, LISTED.hex().encode()), "INVALID_HASH", id="text in place of bytes"),
        pytest.param((common_pb2.ALGORITHM_MD5, LISTED), "INVALID_HASH", id="of another algorithm"),
        pytest.param((common_pb2.ALGORITHM_UNSPECIFIED, LISTED), "UNKNOWN_ALGORITHM", id="unspecified"),
        pytest.param((4_711, LISTED), "UNKNOWN_ALGORITHM", id="unknown number"),
        pytest.param((-1, LISTED), "UNKNOWN_ALGORITHM", id="negative number"),
        pytest.param((common_pb2.ALGORITHM_PDQ, LISTED), "ALGORITHM_NOT_CARRIED", id="pdq that nobody lists"),
        pytest.param((common_pb2.ALGORITHM_VPDQ, b""), "INVALID_HASH", id="a video without frames"),
        pytest.param((common_pb2.ALGORITHM_PHOTODNA, os.urandom(143)), "INVALID_HASH", id="photodna cut short"),
        pytest.param((common_pb2.ALGORITHM_SHA512, os.urandom(64)), "ALGORITHM_NOT_CARRIED", id="nobody lists it"),
    ],
)
def test_a_bad_hash_makes_its_own_result_undetermined_and_no_other(
    asked: Client, bad: tuple[int, bytes], reason: str
) -> None:
    wrong = common_pb2.Hash(algorithm=bad[0], value=bad[1])
    request = batch(GOOD, item(wrong), item(hash_of(NEVER_LISTED)), item(wrong, hash_of(LISTED)))
    good, alone, unlisted, beside = asked.matching.BatchMatch(request, timeout=TIMEOUT).results
    assert good.verdict == common_pb2.VERDICT_MATCH
    assert alone.verdict == common_pb2.VERDICT_NOT_DETERMINED
    (result,) = alone.hashes
    assert result.verdict == common_pb2.VERDICT_NOT_DETERMINED
    expected = common_pb2.UndeterminedReason.Value(f"UNDETERMINED_REASON_{reason}")
    assert [cause.reason for cause in result.causes] == [expected]
    assert result.algorithm == bad[0]
    assert unlisted.verdict == common_pb2.VERDICT_NO_KNOWN_MATCH
    assert beside.verdict == common_pb2.VERDICT_MATCH


@pytest.mark.parametrize("bad", [hash_of(NEVER_LISTED[:20]), common_pb2.Hash(algorithm=SHA256, value=b"short")])
def test_an_item_is_no_negative_when_one_of_its_hashes_is_in_doubt(asked: Client, bad: common_pb2.Hash) -> None:
    """But a hash of an algorithm that nobody lists leaves the word to the others."""
    (result,) = asked.matching.BatchMatch(batch(item(hash_of(NEVER_LISTED), bad)), timeout=TIMEOUT).results
    settled = bad.algorithm == common_pb2.ALGORITHM_SHA1
    expected = common_pb2.VERDICT_NO_KNOWN_MATCH if settled else common_pb2.VERDICT_NOT_DETERMINED
    assert result.verdict == expected


@pytest.mark.parametrize(
    ("request_", "code", "reason", "field"),
    [
        pytest.param(batch(), "INVALID_ARGUMENT", "EMPTY_BATCH", "items", id="no item"),
        pytest.param(batch(*[GOOD] * 1_001), "INVALID_ARGUMENT", "BATCH_TOO_LARGE", "items", id="1001 items"),
        pytest.param(batch(item()), "INVALID_ARGUMENT", "INVALID_FIELD", "items[0].hashes", id="no hash"),
        pytest.param(
            batch(GOOD, item(*[hash_of(LISTED)] * 17)),
            "INVALID_ARGUMENT",
            "INVALID_FIELD",
            "items[1].hashes",
            id="17 hashes",
        ),
        pytest.param(
            batch(item(hash_of(LISTED), reference="x" * 257)),
            "INVALID_ARGUMENT",
            "INVALID_FIELD",
            "items[0].reference",
            id="a long reference",
        ),
        pytest.param(batch(GOOD, list_ids=["nobody"]), "NOT_FOUND", "LIST_NOT_FOUND", None, id="no such list"),
        pytest.param(
            batch(GOOD, list_ids=["No Such/List"]), "INVALID_ARGUMENT", "INVALID_FIELD", "list_id", id="no list id"
        ),
        pytest.param(batch(GOOD, list_ids=[""]), "INVALID_ARGUMENT", "INVALID_FIELD", "list_id", id="blank list id"),
        pytest.param(
            batch(GOOD, list_ids=["list"] * 1_001),
            "INVALID_ARGUMENT",
            "INVALID_FIELD",
            "scope.list_ids",
            id="1001 list ids",
        ),
        pytest.param(
            batch(GOOD, min_sources=4_000_000_000),
            "INVALID_ARGUMENT",
            "INVALID_FIELD",
            "scope.min_sources",
            id="absurd min_sources",
        ),
    ],
)
def test_a_bad_batch_is_refused(
    asked: Client,
    request_: match_service_pb2.BatchMatchRequest,
    code: str,
    reason: str,
    field: str | None,
) -> None:
    refusal = refused(lambda: asked.matching.BatchMatch(request_, timeout=TIMEOUT))
    assert (refusal.code.name, refusal.reason) == (code, reason)
    assert list(refusal.fields) == ([] if field is None else [field])
    assert LISTED.hex() not in refusal.whole


def column(algorithm: int, digests: bytes) -> match_service_pb2.BulkMatchRequest:
    return match_service_pb2.BulkMatchRequest(column=match_service_pb2.HashColumn(algorithm=algorithm, digests=digests))


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        pytest.param(column(SHA256, LISTED + b"x"), "RAGGED_COLUMN", id="ragged"),
        pytest.param(column(SHA256, LISTED[:-1]), "RAGGED_COLUMN", id="less than one"),
        pytest.param(column(SHA256, b""), "EMPTY_BATCH", id="empty"),
        pytest.param(match_service_pb2.BulkMatchRequest(), "UNKNOWN_ALGORITHM", id="no column"),
        pytest.param(column(SHA256, bytes(32) * 100_001), "BATCH_TOO_LARGE", id="100001 digests"),
        pytest.param(column(0, LISTED), "UNKNOWN_ALGORITHM", id="unspecified"),
        pytest.param(column(4_711, LISTED), "UNKNOWN_ALGORITHM", id="unknown number"),
    ],
)
def test_a_bad_column_ends_the_stream_after_the_answers_before_it(
    asked: Client, request_: match_service_pb2.BulkMatchRequest, reason: str
) -> None:
    answers = asked.matching.BulkMatch(iter([column(SHA256, LISTED), request_]), timeout=TIMEOUT)
    assert list(next(answers).match_indexes) == [0]
    refusal = refused(lambda: next(answers))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, reason)


def test_a_column_of_frames_that_may_be_of_any_video_is_undetermined_as_a_whole(asked: Client) -> None:
    response = asked.bulk(common_pb2.ALGORITHM_VPDQ, os.urandom(3 * 32))
    (run,) = response.undetermined
    assert (run.first, run.count) == (0, 3)
    reasons = [cause.reason for cause in run.causes]
    assert reasons == [common_pb2.UNDETERMINED_REASON_ALGORITHM_NOT_SERVED]


def test_more_sources_than_there_are_bodies_is_undetermined(asked: Client) -> None:
    result = asked.ask(NEVER_LISTED, min_sources=1_000)
    assert result.verdict == common_pb2.VERDICT_NOT_DETERMINED
    assert common_pb2.UNDETERMINED_REASON_TOO_FEW_SOURCES in [cause.reason for cause in result.causes]
    assert asked.ask(LISTED, min_sources=2).below_min_sources


def test_a_call_without_a_deadline_is_refused(asked: Client) -> None:
    refusal = refused(lambda: asked.matching.BatchMatch(batch(GOOD)))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, ErrorReason.DEADLINE_REQUIRED)


def test_an_oversize_message_is_refused_by_grpc_itself(asked: Client) -> None:
    """Before any code of ours sees it, so that there is no ErrorInfo; the connection lives on."""
    huge = batch(item(common_pb2.Hash(algorithm=SHA256, value=bytes(17 << 20))))
    with pytest.raises(grpc.RpcError) as caught:
        asked.matching.BatchMatch(huge, timeout=TIMEOUT)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert asked.ask(LISTED).verdict == common_pb2.VERDICT_MATCH


@pytest.mark.parametrize(
    "garbage",
    [b"\xff" * 100, b"\x0a\xff\xff\xff\xff\x0f", b"\x00", b"\xff" + LISTED],
    ids=["all ones", "longer than it is", "nought", "a digest"],
)
def test_bytes_that_are_no_message_are_refused(asked: Client, garbage: bytes) -> None:
    call = asked.matching_channel.unary_unary("/hashmatch.v1.MatchService/BatchMatch")
    refusal = refused(lambda: call(garbage, timeout=TIMEOUT))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, ErrorReason.INVALID_FIELD)


def test_a_method_that_does_not_exist_is_unimplemented(asked: Client) -> None:
    call = asked.matching_channel.unary_unary("/hashmatch.v1.MatchService/Enumerate")
    with pytest.raises(grpc.RpcError) as caught:
        call(b"", timeout=TIMEOUT)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_administration_does_not_listen_where_matching_does(asked: Client) -> None:
    for method in ("/hashmatch.v1.ListAdminService/Suppress", "/hashmatch.v1.ListAdminService/Stage"):
        with pytest.raises(grpc.RpcError) as caught:
            asked.matching_channel.unary_unary(method)(b"", timeout=TIMEOUT)
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_before_the_first_publication_nothing_is_determined(make_server: MakeServer) -> None:
    client = make_server().start()
    (result,) = client.matching.BatchMatch(batch(GOOD), timeout=TIMEOUT).results
    reasons = [cause.reason for cause in result.hashes[0].causes]
    assert reasons == [common_pb2.UNDETERMINED_REASON_NO_SNAPSHOT]
    assert client.bulk(SHA256, LISTED).undetermined[0].count == 1
    calls: tuple[Callable[[], object], ...] = (client.snapshot, lambda: client.ask(LISTED, list_ids=["x"]))
    assert refused(calls[0]).reason == ErrorReason.NOT_SERVING
