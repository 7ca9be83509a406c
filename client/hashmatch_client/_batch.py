"""Cutting items into batches, and checking that a batch's answer is an answer to it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from hashmatch.v1 import match_service_pb2
from hashmatch_client import _wire
from hashmatch_client._errors import ProtocolViolationError
from hashmatch_client._hashes import Item
from hashmatch_client._results import ItemAnswer, Verdict

# More frames of videos are asked about in several calls: each of them is searched for.
MAX_BATCH_FRAMES = 10_000


def batches(items: Iterable[Item], size: int) -> Iterator[tuple[Item, ...]]:
    """The items in order, at most `size` at a time."""
    batch: list[Item] = []
    frames = 0
    for item in items:
        if batch and (len(batch) == size or frames + item.frames > MAX_BATCH_FRAMES):
            yield tuple(batch)
            batch, frames = [], 0
        batch.append(item)
        frames += item.frames
    if batch:
        yield tuple(batch)


def answers(asked: Sequence[Item], response: match_service_pb2.BatchMatchResponse, request_id: str) -> list[ItemAnswer]:
    """The answers in `response`, one an item and in order; raises `ProtocolViolationError` if they do not fit."""
    if len(response.results) != len(asked):
        raise ProtocolViolationError(
            f"{len(asked)} items were asked about and {len(response.results)} answered", request_id
        )
    snapshot = _wire.snapshot_info(response.snapshot)
    given = []
    for position, (item, result) in enumerate(zip(asked, response.results, strict=True)):
        _check_fits(position, item, result, request_id)
        answer = _wire.item_answer(item, result, snapshot, request_id)
        _check_consistent(position, answer)
        given.append(answer)
    return given


def _check_fits(position: int, item: Item, result: match_service_pb2.ItemResult, request_id: str) -> None:
    if result.reference != item.reference:
        raise ProtocolViolationError(f"the answer at {position} is for another item", request_id)
    asked = [_wire.algorithm_number(each.algorithm) for each in item.hashes]
    if [each.algorithm for each in result.hashes] != asked:
        raise ProtocolViolationError(f"the answer at {position} is for other hashes than were asked about", request_id)


def _check_consistent(position: int, answer: ItemAnswer) -> None:
    """A negative has to be earned: by a hash that is negative, beside none that matches, at an epoch."""
    verdicts = {each.verdict for each in answer.hashes}
    if answer.is_no_known_match and Verdict.MATCH in verdicts:
        problem = "it is negative though one of its hashes matches"
    elif answer.is_no_known_match and Verdict.NO_KNOWN_MATCH not in verdicts:
        problem = "it is negative though none of its hashes is"
    elif Verdict.NO_KNOWN_MATCH in verdicts and answer.snapshot.epoch == 0:
        problem = "it is negative and names no epoch"
    else:
        return
    raise ProtocolViolationError(f"the answer at {position} contradicts itself: {problem}", answer.request_id)
