"""A newer server is never misread, and an answer that contradicts itself is never used."""

import pytest
from hashmatch_client import (
    Agreement,
    Algorithm,
    Hash,
    Item,
    ListNature,
    MatchKind,
    ProtocolViolationError,
    UndeterminedReason,
    Verdict,
    _batch,
    _wire,
)
from hypothesis import given
from hypothesis import strategies as st

from hashmatch.v1 import common_pb2, match_service_pb2

ITEM = Item((Hash(Algorithm.MD5, bytes(16)), Hash(Algorithm.SHA1, bytes(20))), "ref")
MATCH, NEGATIVE, UNDETERMINED = 1, 2, 3


def response(item_verdict, *hash_verdicts, epoch=7, reference="ref", algorithms=(1, 2)):
    hashes = [
        match_service_pb2.HashResult(algorithm=algorithm, verdict=verdict)
        for algorithm, verdict in zip(algorithms, hash_verdicts, strict=True)
    ]
    result = match_service_pb2.ItemResult(reference=reference, verdict=item_verdict, hashes=hashes)
    return match_service_pb2.BatchMatchResponse(results=[result], snapshot=common_pb2.SnapshotInfo(epoch=epoch))


def read(message):
    return _batch.answers([ITEM], message, "id")[0]


@pytest.mark.parametrize("unknown", [0, 4, 99])
def test_an_unknown_verdict_is_not_determined_and_says_so(unknown):
    answer = read(response(unknown, unknown, unknown))
    assert answer.verdict is Verdict.NOT_DETERMINED
    assert [each.verdict for each in answer.hashes] == [Verdict.NOT_DETERMINED] * 2
    assert [cause.reason for cause in answer.causes] == [UndeterminedReason.UNRECOGNISED]
    assert not answer.is_determined


@given(st.integers(0, 9), st.integers(0, 9), st.integers(0, 9), st.integers(0, 1))
def test_a_negative_is_only_ever_what_the_server_said_twice(item, first, second, epoch):
    try:
        answer = read(response(item, first, second, epoch=epoch))
    except ProtocolViolationError:
        return
    assert answer.is_match == (item == MATCH)
    if answer.is_no_known_match:
        assert item == NEGATIVE
        assert NEGATIVE in (first, second)
        assert MATCH not in (first, second)
        assert epoch > 0


@pytest.mark.parametrize(
    "message",
    [
        match_service_pb2.BatchMatchResponse(),
        response(NEGATIVE, NEGATIVE, NEGATIVE, reference="other"),
        response(NEGATIVE, NEGATIVE, algorithms=(1,)),
        response(NEGATIVE, NEGATIVE, NEGATIVE, algorithms=(2, 1)),
        response(NEGATIVE, UNDETERMINED, UNDETERMINED),
        response(NEGATIVE, MATCH, NEGATIVE),
        response(NEGATIVE, NEGATIVE, NEGATIVE, epoch=0),
        response(MATCH, MATCH, NEGATIVE, epoch=0),
    ],
    ids=["missing", "reference", "too few", "order", "unearned", "hidden match", "no epoch", "no epoch beside a match"],
)
def test_an_answer_that_does_not_fit_raises(message):
    with pytest.raises(ProtocolViolationError) as caught:
        read(message)
    assert caught.value.request_id == "id"


def test_unknown_numbers_elsewhere_are_unrecognised():
    opinion = _wire.opinion(common_pb2.Opinion(nature=77, kind=77))
    assert opinion.nature is ListNature.UNRECOGNISED
    assert opinion.kind is MatchKind.UNRECOGNISED
    assert not opinion.is_test
    assert _wire.agreement(77) is Agreement.UNRECOGNISED
    assert _wire.agreement(0) is Agreement.NONE
    cause = _wire.causes([common_pb2.UndeterminedCause(reason=77, list_id="demo")])[0]
    assert (cause.reason, cause.list_id) == (UndeterminedReason.UNRECOGNISED, "demo")


@pytest.mark.parametrize(
    ("ours", "theirs", "prefix", "extra"),
    [
        (Algorithm, common_pb2.Algorithm, "ALGORITHM_", {"UNRECOGNISED"}),
        (Verdict, common_pb2.Verdict, "VERDICT_", set()),
        (UndeterminedReason, common_pb2.UndeterminedReason, "UNDETERMINED_REASON_", {"UNRECOGNISED"}),
        (Agreement, common_pb2.Agreement, "AGREEMENT_", {"UNRECOGNISED", "NONE"}),
        (ListNature, common_pb2.ListNature, "LIST_NATURE_", {"UNRECOGNISED"}),
        (MatchKind, common_pb2.MatchKind, "MATCH_KIND_", {"UNRECOGNISED"}),
    ],
)
def test_the_client_knows_every_value_of_the_contract(ours, theirs, prefix, extra):
    stated = {name.removeprefix(prefix) for name in theirs.keys()}  # noqa: SIM118 - a wrapper, not a dict
    assert {member.name for member in ours} - extra == stated - ({"UNSPECIFIED"} - {member.name for member in ours})


def test_a_test_match_is_one_on_test_lists_alone():
    test = common_pb2.Opinion(body="a", nature=common_pb2.LIST_NATURE_TEST)
    real = common_pb2.Opinion(body="b", nature=common_pb2.LIST_NATURE_ILLEGAL)
    both, only = response(MATCH, MATCH, NEGATIVE), response(MATCH, MATCH, NEGATIVE)
    both.results[0].hashes[0].opinions.extend([test, real])
    only.results[0].hashes[0].opinions.append(test)
    assert not read(both).is_test_match
    assert read(only).is_test_match
    assert not read(response(MATCH, MATCH, NEGATIVE)).is_test_match
