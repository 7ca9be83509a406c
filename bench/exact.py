"""`exact`: what answering a batch costs beyond carrying it, and beside a Redis set."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from functools import partial

import grpc.aio

from bench import echo
from bench.data import BATCH, Question, label_of, questions, random_digests, write
from bench.harness import BenchmarkError, Rig, rig
from bench.lists import LABELLED_PROFILE
from bench.load import MATCH_SERVICE, in_turns, stream_batches
from bench.redis_sets import SetReader, load_records, load_set
from bench.report import Effort, Reporter
from hashmatch.v1 import match_service_pb2

_FEW_HITS, _MANY_HITS = BATCH // 1_000, BATCH * 3 // 10
_STREAMS, _IN_FLIGHT = 4, 2
# Enough that a run asks about many more blocks than one batch does.
_QUESTIONS = 96
# How the server has blocks: from Redis for every hit, from Redis through the cache that a server has by default, or all
# of them in memory.
_BLOCKS = {"store, no cache": ("store", 0), "store": ("store", None), "resident": ("resident", None)}


async def run(reporter: Reporter, effort: Effort) -> None:
    """Measure."""
    for size in effort.sizes:
        reporter.progress(f"{size:,} entries: loading the list, the set and the records")
        async with rig() as made:
            await _run(made, reporter.under(entries=size, batch=BATCH, **made.conditions), effort, size)


async def _run(made: Rig, reporter: Reporter, effort: Effort, size: int) -> None:
    listed = random_digests(size, seed=1)
    async with made.server() as server:
        delivery = write(made.directory / "delivery", listed, labelled=True)
        await server.lists.deliver("bench", delivery, profile=LABELLED_PROFILE)
    load_set(made.redis, listed)
    load_records(made.redis, listed)
    await made.settle()
    few = questions(listed, _QUESTIONS, hits=_FEW_HITS, seed=2)
    many = questions(listed, _QUESTIONS, hits=_MANY_HITS, seed=3)
    few_of_set, many_of_set = SetReader(made.redis, few), SetReader(made.redis, many)
    for blocks, (mode, cache_bytes) in _BLOCKS.items():
        reporter.progress(f"{size:,} entries, blocks: {blocks}")
        under = reporter.under(blocks=blocks, streams=_STREAMS, in_flight=_STREAMS * _IN_FLIGHT)
        async with (
            made.server(blocks=mode, cache_bytes=cache_bytes, admin=False) as server,
            made.echo() as to_echo,
        ):
            ours = partial(ask, server.channel, seconds=effort.seconds)
            sides = {
                "ours": partial(ours, few),
                "echo": partial(ask_echo, to_echo, few, seconds=effort.seconds),
                "returning": partial(ask_echo, to_echo, few, seconds=effort.seconds, sends_back=True),
                "set": partial(few_of_set.ask, effort.seconds),
                "packed": partial(few_of_set.ask_packed, effort.seconds),
                "ours, many": partial(ours, many),
                "records": partial(many_of_set.ask_records, effort.seconds),
            }
            rounds = await in_turns(effort.rounds, sides, warm_up=True)
        found = {side: statistics.median(rates) for side, rates in rounds.items()}
        for case, side, comparator, name in (
            ("0.1 % hits", "ours", "echo", "streaming echo of the same requests"),
            ("0.1 % hits", "ours", "returning", "streaming echo that sends the same requests back"),
            ("0.1 % hits", "ours", "set", "SMISMEMBER, pipelined"),
            ("0.1 % hits", "ours", "packed", "SMISMEMBER, pipelined, commands packed beforehand"),
            ("30 % hits with opinions", "ours, many", "records", "SMISMEMBER and HMGET of the hits, pipelined"),
        ):
            under.line(case, found[side], "digests/s", "higher", name, found[comparator])


async def ask(channel: grpc.aio.Channel, asked: Sequence[Question], *, seconds: float) -> float:
    """Ask for `seconds`, and check every answer; returns digests a second. Raises `BenchmarkError`."""
    streamed = await stream_batches(
        channel,
        MATCH_SERVICE,
        [question.request for question in asked],
        streams=_STREAMS,
        in_flight=_IN_FLIGHT,
        seconds=seconds,
    )
    for response in streamed.responses:
        check(asked[response.sequence], response)
    return len(streamed.responses) * BATCH / streamed.seconds


async def ask_echo(
    channel: grpc.aio.Channel, asked: Sequence[Question], *, seconds: float, sends_back: bool = False
) -> float:
    """The same to the echo, whose answers say nothing, or are what was asked."""
    returning = {"method": "BulkReturn", "read": _read_back} if sends_back else {}
    streamed = await stream_batches(
        channel,
        echo.SERVICE,
        [question.request for question in asked],
        streams=_STREAMS,
        in_flight=_IN_FLIGHT,
        seconds=seconds,
        **returning,
    )
    return len(streamed.responses) * BATCH / streamed.seconds


def _read_back(sent: bytes) -> match_service_pb2.BulkMatchResponse:
    """What came back, read as every client must; of it only the number is kept."""
    returned = match_service_pb2.BulkMatchRequest.FromString(sent)
    return match_service_pb2.BulkMatchResponse(sequence=returned.sequence, count=len(returned.column.digests))


def check(question: Question, response: match_service_pb2.BulkMatchResponse) -> None:
    """Raise `BenchmarkError` unless exactly the listed digests match, each under its own label."""
    labels = [[opinion.label for opinion in finding.opinions] for finding in response.findings]
    right = (
        response.count == BATCH
        and not response.undetermined
        and list(response.match_indexes) == question.positions
        and [labels[index] for index in response.finding_indexes] == [[label_of(each)] for each in question.entries]
    )
    if not right:
        raise BenchmarkError(
            f"batch {question.sequence}: {len(response.match_indexes)} of {len(question.positions)} hits, "
            f"{sum(each.count for each in response.undetermined)} not determined"
        )
