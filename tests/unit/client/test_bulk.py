"""No flaw in a sparse answer can turn into a negative."""

import pytest
from hashmatch_client import Algorithm, InvalidHashError, ProtocolViolationError, Verdict
from hashmatch_client._answers import received_column
from hashmatch_client._bulk import BulkRun, async_columns, columns
from hashmatch_client._hashes import Scope
from hypothesis import given
from hypothesis import strategies as st

from hashmatch.v1 import match_service_pb2

COUNT = 10


def a_run(in_flight=4, clock=lambda: 0.0):
    run = BulkRun(Algorithm.MD5, Scope(), in_flight, 60.0, clock)
    run.stream_opened("id")
    return run


def good():
    response = match_service_pb2.BulkMatchResponse(
        sequence=0, count=COUNT, match_indexes=[1, 7], finding_indexes=[0, 0], findings=[{}]
    )
    response.undetermined.add(first=2, count=3)
    response.undetermined.add(first=8, count=2)
    response.snapshot.epoch = 5
    return response


def received(response):
    return received_column(response.SerializeToString())


def answer(response):
    run = a_run()
    run.request(bytes(16 * COUNT))
    return run.answer(received(response))


def has_scope(request):
    return match_service_pb2.BulkMatchRequest.FromString(request).HasField("scope")


def test_a_sound_answer_is_taken():
    taken = answer(good())
    assert (taken.matches, taken.not_determined, taken.no_known_match) == (2, 5, 3)


FLAWS = {
    "another sequence": lambda r: setattr(r, "sequence", 1),
    "fewer digests": lambda r: setattr(r, "count", COUNT - 1),
    "no digests": lambda r: setattr(r, "count", 0),
    "index out of range": lambda r: r.match_indexes.__setitem__(1, COUNT),
    "indexes descend": lambda r: r.match_indexes.__setitem__(slice(None), [7, 1]),
    "index twice": lambda r: r.match_indexes.__setitem__(slice(None), [7, 7]),
    "a match without finding": lambda r: r.finding_indexes.pop(),
    "a finding without match": lambda r: r.finding_indexes.append(0),
    "finding out of range": lambda r: r.finding_indexes.__setitem__(0, 1),
    "no findings": lambda r: r.ClearField("findings"),
    "empty range": lambda r: setattr(r.undetermined[0], "count", 0),
    "range out of range": lambda r: setattr(r.undetermined[1], "count", 3),
    "range wraps": lambda r: setattr(r.undetermined[1], "count", 2**32 - 1),
    "ranges overlap": lambda r: setattr(r.undetermined[0], "count", 7),
    "ranges descend": lambda r: setattr(r.undetermined[0], "first", 9),
    "a match in a range": lambda r: setattr(r.undetermined[0], "first", 1),
    "no epoch": lambda r: r.ClearField("snapshot"),
}


@pytest.mark.parametrize("flaw", FLAWS.values(), ids=FLAWS)
def test_a_flawed_answer_raises(flaw):
    response = good()
    flaw(response)
    with pytest.raises(ProtocolViolationError) as caught:
        answer(response)
    assert caught.value.bulk_progress.batches == 0


@given(
    st.lists(st.integers(0, 12), max_size=6),
    st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), max_size=4),
)
def test_whatever_is_taken_gives_each_digest_exactly_one_verdict(matches, ranges):
    response = match_service_pb2.BulkMatchResponse(
        count=COUNT, match_indexes=matches, finding_indexes=[0] * len(matches), findings=[{}]
    )
    for first, count in ranges:
        response.undetermined.add(first=first, count=count)
    response.snapshot.epoch = 1
    try:
        taken = answer(response)
    except ProtocolViolationError:
        return
    verdicts = [taken.verdict_of(index) for index in range(COUNT)]
    assert verdicts.count(Verdict.MATCH) == len(matches) == taken.matches
    assert verdicts.count(Verdict.NOT_DETERMINED) == sum(count for _, count in ranges) == taken.not_determined
    assert verdicts.count(Verdict.NO_KNOWN_MATCH) == taken.no_known_match


def test_an_answer_to_nothing_and_a_silent_end_raise():
    run = a_run()
    with pytest.raises(ProtocolViolationError):
        run.answer(received(good()))
    run.stream_ended()
    run.request(bytes(16))
    with pytest.raises(ProtocolViolationError, match="1 batches unanswered"):
        run.stream_ended()


def test_the_scope_goes_with_the_first_message_of_each_stream():
    run = a_run()
    with_scope = [has_scope(run.request(bytes(16))) for _ in range(2)]
    run.stream_opened("next")
    with_scope += [has_scope(run.request(bytes(16))) for _ in range(2)]
    assert with_scope == [True, False, True, False]


def test_a_stream_gets_ahead_only_once_it_has_answered():
    run = a_run(in_flight=3)
    run.request(bytes(16 * COUNT))
    assert run.is_full
    run.answer(received(good()))
    run.request(bytes(16))
    run.request(bytes(16))
    assert not run.is_full
    run.request(bytes(16))
    assert run.is_full


def test_what_is_saved_is_what_was_sent_and_what_came():
    saved = []
    run = BulkRun(Algorithm.MD5, Scope(), 4, 60.0, lambda: 0.0, saving=saved.append)
    run.stream_opened("id")
    requests = [run.request(bytes(16 * COUNT)), run.request(bytes(16 * COUNT))]
    for sequence in range(2):
        response = good()
        response.sequence = sequence
        response.receipt.nonce = b"n"
        run.answer(received(response))
    assert [each.request for each in saved] == requests
    assert {each.scope_request for each in saved} == {requests[0]}
    run.request(bytes(16 * COUNT))
    response = good()
    response.sequence = 2
    with pytest.raises(ProtocolViolationError, match="no receipt"):
        run.answer(received(response))


def test_a_stream_gets_old():
    now = 0.0
    run = a_run(clock=lambda: now)
    now = 59.0
    assert not run.stream_is_old
    now = 60.0
    assert run.stream_is_old


@given(st.integers(0, 30), st.integers(1, 9))
def test_columns_hold_every_digest_once_and_in_order(count, per_column):
    digests = [bytes([n]) * 16 for n in range(count)]
    packed = list(columns(Algorithm.MD5, b"".join(digests), per_column))
    single = list(columns(Algorithm.MD5, iter(digests), per_column))
    assert packed == single
    assert b"".join(packed) == b"".join(digests)
    assert all(0 < len(column) <= 16 * per_column for column in packed)


async def test_columns_come_from_an_asynchronous_source_alike():
    async def source():
        for n in range(7):
            yield bytes([n]) * 16

    gathered = [column async for column in async_columns(Algorithm.MD5, source(), 3)]
    assert [len(column) // 16 for column in gathered] == [3, 3, 1]


def test_ragged_bytes_are_refused_at_once_and_a_wrong_digest_when_it_comes():
    with pytest.raises(InvalidHashError):
        columns(Algorithm.SHA1, bytes(41), 10)
    with pytest.raises(InvalidHashError):
        columns(Algorithm.VPDQ, b"", 10)
    # A SHA-256 is as long as two MD5s: one by one they are told apart.
    with pytest.raises(InvalidHashError):
        list(columns(Algorithm.MD5, [bytes(16), bytes(32)], 10))
