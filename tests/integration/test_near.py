"""Perceptual values over the wire: near and exact, told and untold, current within a second."""

from __future__ import annotations

import os
from typing import Any

import grpc
import pytest

from hashmatch.model.errors import ErrorReason
from hashmatch.v1 import common_pb2, list_admin_service_pb2, match_service_pb2
from tests.integration.conftest import MakeServer
from tests.integration.errors import refused
from tests.integration.perceptual import PROFILE, apart, row
from tests.integration.serving import TIMEOUT, Client
from tests.integration.waiting import eventually

UNTOLD = """
version = 1
[clients.anybody]
identities = ["loopback:anonymous"]
lists = ["*"]
natures = ["*"]
algorithms = ["*"]
jurisdictions = ["*"]
"""

PDQ, PHOTODNA = common_pb2.ALGORITHM_PDQ, common_pb2.ALGORITHM_PHOTODNA
HIT, MISS, UNKNOWN = common_pb2.VERDICT_MATCH, common_pb2.VERDICT_NO_KNOWN_MATCH, common_pb2.VERDICT_NOT_DETERMINED
NEAR, EXACT = common_pb2.MATCH_KIND_NEAR, common_pb2.MATCH_KIND_EXACT
LOW_QUALITY = common_pb2.UNDETERMINED_REASON_LOW_QUALITY
DEGENERATE = common_pb2.UNDETERMINED_REASON_DEGENERATE_HASH
INCREMENTAL = list_admin_service_pb2.DELIVERY_MODE_INCREMENTAL


def deliver(client: Client, *rows: str, list_id: str = "list", **rest: Any) -> None:
    epoch = client.deliver("".join(rows).encode(), list_id, format="columns", profile=PROFILE, **rest)
    eventually(lambda: client.epoch() >= epoch, "the delivery is served")


def pdq(value: bytes, quality: int | None = None, alternates: tuple[bytes, ...] = ()) -> common_pb2.Hash:
    return common_pb2.Hash(algorithm=PDQ, value=value, quality=quality, alternates=alternates)


def ask(client: Client, asked: common_pb2.Hash, **scope: Any) -> match_service_pb2.HashResult:
    return client.batch([asked], **scope).results[0].hashes[0]


@pytest.fixture
def told(make_server: MakeServer) -> Client:
    """A client to a server that tells everybody distances."""
    return make_server().start()


def test_near_values_are_found_at_once_after_deltas_and_withdrawals(told: Client):
    one, other = os.urandom(32), os.urandom(32)
    told.define()
    deliver(told, row("1", one))
    for bits, verdict in ((0, HIT), (1, HIT), (31, HIT), (32, MISS)):
        result = ask(told, pdq(apart(one, bits)))
        assert result.verdict == verdict
        if verdict == HIT:
            (opinion,) = result.opinions
            assert (opinion.kind, opinion.distance) == (NEAR if bits else EXACT, bits)
            assert opinion.source_key == "1"
    assert ask(told, pdq(apart(other, 3))).verdict == MISS
    deliver(told, row("2", other), mode=INCREMENTAL)
    assert ask(told, pdq(apart(other, 3))).verdict == HIT
    assert ask(told, pdq(apart(one, 3))).verdict == HIT
    deliver(told, row("1", removed=True), mode=INCREMENTAL)
    assert ask(told, pdq(apart(one, 3))).verdict == MISS
    assert ask(told, pdq(apart(other, 3))).verdict == HIT


def test_a_column_is_answered_with_kinds_and_distances(told: Client):
    listed = [os.urandom(32) for _ in range(3)]
    told.define()
    deliver(told, *(row(str(number), each) for number, each in enumerate(listed)))
    asked = [listed[0], os.urandom(32), apart(listed[1], 7), apart(listed[2], 8), bytes(32), listed[2]]
    request = match_service_pb2.BulkMatchRequest(
        column=match_service_pb2.HashColumn(
            algorithm=PDQ, digests=b"".join(asked), qualities=bytes([100, 100, 50, 49, 100, 80])
        )
    )
    (response,) = told.matching.BulkMatch(iter([request]), timeout=TIMEOUT)
    assert list(response.match_indexes) == [0, 2, 5]
    assert list(response.distances) == [0, 7, 0]
    kinds = [response.findings[number].opinions[0].kind for number in response.finding_indexes]
    assert kinds == [EXACT, NEAR, EXACT]
    assert len(response.findings) == 2
    undetermined = {each.first: [cause.reason for cause in each.causes] for each in response.undetermined}
    assert undetermined == {3: [LOW_QUALITY], 4: [DEGENERATE]}


def test_many_columns_of_many_values_are_answered_on_several_threads(told: Client):
    listed = [os.urandom(32) for _ in range(200)]
    told.define()
    deliver(told, *(row(str(number), each) for number, each in enumerate(listed)))
    asked = b"".join(apart(each, number % 40) for number, each in enumerate(listed))
    column = match_service_pb2.HashColumn(algorithm=PDQ, digests=asked)
    requests = [match_service_pb2.BulkMatchRequest(sequence=number, column=column) for number in range(5)]
    for response in told.matching.BulkMatch(iter(requests), timeout=TIMEOUT):
        near = [number for number in range(200) if number % 40 <= 31]
        assert list(response.match_indexes) == near
        assert list(response.distances) == [number % 40 for number in near]


def test_who_is_not_told_distances_cannot_choose_them_either(client: Client):
    listed = os.urandom(32)
    client.define()
    deliver(client, row("1", listed))
    epoch = client.activate(UNTOLD)
    eventually(lambda: client.epoch() == epoch, "the policy is in force")
    (opinion,) = ask(client, pdq(apart(listed, 5))).opinions
    assert opinion.kind == NEAR
    assert not opinion.HasField("distance")
    response = client.bulk(PDQ, apart(listed, 5))
    assert list(response.match_indexes) == [0]
    assert not response.distances
    for call in (
        lambda: ask(client, pdq(apart(listed, 5)), max_distance=4),
        lambda: client.bulk(PDQ, apart(listed, 5), max_distance=4),
    ):
        assert refused(call).reason == ErrorReason.NOT_PERMITTED


def test_the_caller_and_the_list_may_ask_for_less(told: Client):
    listed = os.urandom(32)
    told.define(maximum_distance=10)
    deliver(told, row("1", listed))
    assert ask(told, pdq(apart(listed, 10))).verdict == HIT
    assert ask(told, pdq(apart(listed, 11))).verdict == MISS
    assert ask(told, pdq(apart(listed, 6)), max_distance=5).verdict == MISS
    assert ask(told, pdq(apart(listed, 5)), max_distance=5).verdict == HIT
    assert refused(lambda: ask(told, pdq(listed), max_distance=32)).reason == ErrorReason.INVALID_FIELD


def test_an_item_matches_by_an_alternate_and_is_doubted_for_its_quality(told: Client):
    listed = os.urandom(32)
    told.define()
    deliver(told, row("1", listed))
    turned = tuple(os.urandom(32) for _ in range(6))
    result = ask(told, pdq(os.urandom(32), 90, (*turned, apart(listed, 9))))
    assert result.verdict == HIT
    assert result.opinions[0].distance == 9
    low = ask(told, pdq(listed, 49))
    assert low.verdict == UNKNOWN
    assert [cause.reason for cause in low.causes] == [LOW_QUALITY]


def test_a_suppressed_value_is_left_out_and_comes_back(told: Client):
    listed = os.urandom(32)
    told.define()
    deliver(told, row("1", listed))
    hashes = [common_pb2.Hash(algorithm=PDQ, value=listed)]
    epoch = told.act("Suppress", list_admin_service_pb2.SuppressRequest(hashes=hashes, reason="a test")).epoch
    eventually(lambda: told.epoch() >= epoch, "the suppression is served")
    result = ask(told, pdq(apart(listed, 5)))
    assert result.verdict == MISS
    assert result.suppressed


def test_photodna_values_are_equal_or_within_the_threshold(make_server: MakeServer):
    value = bytes(range(100, 244))
    for threshold, moved in ((0, MISS), (100, HIT)):
        client = make_server(f"threshold-{threshold}", photodna_maximum_distance=threshold).start()
        client.define()
        deliver(client, row("1", photodna=value))
        near = bytes([each + 1 for each in value[:100]]) + value[100:]
        far = bytes([each + 1 for each in value[:101]]) + value[101:]
        verdicts = [ask(client, common_pb2.Hash(algorithm=PHOTODNA, value=each)).verdict for each in (value, near, far)]
        assert verdicts == [HIT, moved, MISS]


@pytest.mark.parametrize("qualities", [bytes([50]), bytes([50, 101])])
def test_qualities_that_do_not_fit_their_column_are_refused(told: Client, qualities: bytes):
    column = match_service_pb2.HashColumn(algorithm=PDQ, digests=os.urandom(64), qualities=qualities)
    request = match_service_pb2.BulkMatchRequest(column=column)
    with pytest.raises(grpc.RpcError) as raised:
        list(told.matching.BulkMatch(iter([request]), timeout=TIMEOUT))
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
