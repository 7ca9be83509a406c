"""The client's loops: streams of batches, one caller after its own answers, calls at a steady rate."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from itertools import cycle, islice
from typing import NamedTuple, TypeVar

import grpc.aio

from bench.data import item
from bench.harness import BenchmarkError
from hashmatch.v1 import common_pb2, match_service_pb2

MATCH_SERVICE = match_service_pb2.DESCRIPTOR.services_by_name["MatchService"].full_name
CALL_TIMEOUT = 10.0
_STREAM_TIMEOUT = 120.0
_ANSWER_PATIENCE = 120.0
_POLL = 0.002

T = TypeVar("T")


async def in_turns(
    rounds: int, sides: Mapping[str, Callable[[], Awaitable[T]]], *, warm_up: bool = False
) -> dict[str, list[T]]:
    """Measure every side once a round, each round in the other direction; returns what was measured of each.

    What slows the machine for a while then meets all sides alike. With `warm_up`, a first round does not count.
    """
    measured: dict[str, list[T]] = {name: [] for name in sides}
    order = list(sides)
    for number in range(-1 if warm_up else 0, rounds):
        for name in order:
            found = await sides[name]()
            if number >= 0:
                measured[name].append(found)
        order.reverse()
    return measured


class Streamed(NamedTuple):
    """What came of streaming batches."""

    seconds: float
    responses: list[match_service_pb2.BulkMatchResponse]


async def stream_batches(
    channel: grpc.aio.Channel,
    service: str,
    requests: Sequence[bytes],
    *,
    streams: int,
    in_flight: int,
    seconds: float,
    method: str = "BulkMatch",
    read: Callable[[bytes], match_service_pb2.BulkMatchResponse] = match_service_pb2.BulkMatchResponse.FromString,
) -> Streamed:
    """Send `requests` over and over for `seconds`, on several streams with several requests under way on each.

    The requests are bytes already. Answers are read into messages, as every client must, and kept for checking: that is
    done when the clock has stopped. It stops at the last answer to what was sent.
    """
    carrying = channel.stream_stream(f"/{service}/{method}", response_deserializer=read)
    responses: list[match_service_pb2.BulkMatchResponse] = []
    start = time.perf_counter()
    end = start + seconds

    async def stream(turn: Iterator[bytes]) -> None:
        call = carrying(timeout=seconds + _STREAM_TIMEOUT)
        for request in islice(turn, in_flight):
            await call.write(request)
        while time.perf_counter() < end:
            responses.append(await call.read())
            await call.write(next(turn))
        await call.done_writing()
        responses.extend([await call.read() for _ in range(in_flight)])

    await asyncio.gather(*(stream(cycle(requests[number::streams])) for number in range(streams)))
    return Streamed(time.perf_counter() - start, responses)


class BatchMatch:
    """BatchMatch, or what carries the same bytes elsewhere."""

    def __init__(self, channel: grpc.aio.Channel, service: str = MATCH_SERVICE) -> None:
        self._method = channel.unary_unary(
            f"/{service}/BatchMatch", response_deserializer=match_service_pb2.BatchMatchResponse.FromString
        )

    async def __call__(self, request: bytes) -> match_service_pb2.BatchMatchResponse:
        """Ask."""
        response: match_service_pb2.BatchMatchResponse = await self._method(request, timeout=CALL_TIMEOUT)
        return response


async def until_answered(ask: BatchMatch, epoch: int, **listed: bytes) -> float:
    """Ask about a digest that is listed from an epoch on until it is answered from there; returns when that was.

    The digest is given as algorithm=value.

    Raises `BenchmarkError` if the answer from there is no match, or one from before it is.
    """
    request = item(**listed)
    give_up = time.perf_counter() + _ANSWER_PATIENCE
    while time.perf_counter() < give_up:
        response = await ask(request)
        answered = response.snapshot.epoch >= epoch
        if answered != (response.results[0].verdict == common_pb2.VERDICT_MATCH):
            raise BenchmarkError(f"{said(response)} from epoch {response.snapshot.epoch}, and published was {epoch}")
        if answered:
            return time.perf_counter()
        await asyncio.sleep(_POLL)
    raise BenchmarkError(f"nothing is answered from epoch {epoch}")


def said(response: match_service_pb2.BatchMatchResponse) -> str:
    """The verdict on the first item and, where it is not determined, why."""
    result = response.results[0]
    reasons = {common_pb2.UndeterminedReason.Name(cause.reason) for each in result.hashes for cause in each.causes}
    return " ".join([common_pb2.Verdict.Name(result.verdict), *sorted(reasons)])


Check = Callable[[match_service_pb2.BatchMatchResponse], None]


async def one_after_another(ask: BatchMatch, requests: Iterator[bytes], check: Check, *, calls: int) -> list[float]:
    """Ask `calls` times, each when the one before is answered; returns the seconds that each took."""
    taken = []
    for request in islice(requests, calls):
        start = time.perf_counter()
        response = await ask(request)
        taken.append(time.perf_counter() - start)
        check(response)
    return taken


async def at_steady_rate(
    ask: BatchMatch, requests: Iterator[bytes], check: Check, *, per_second: float, calls: int
) -> list[float]:
    """Ask `calls` times, at moments that do not depend on the answers; returns the seconds that each took.

    The clock of a call starts when it is sent and not at its moment: the loop wakes up to a millisecond late, which
    is more than a call takes. No call waits for another before it is sent.
    """
    start = time.perf_counter()

    async def at(moment: float, request: bytes) -> float:
        await asyncio.sleep(moment - time.perf_counter())
        sent = time.perf_counter()
        response = await ask(request)
        taken = time.perf_counter() - sent
        check(response)
        return taken

    moments = (start + number / per_second for number in range(calls))
    return await asyncio.gather(*map(at, moments, islice(requests, calls)))
