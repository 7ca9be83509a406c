"""`scale`: two workers beside one, a cluster beside a single server, and that workers hold the tables once."""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from itertools import cycle
from typing import NamedTuple

import grpc.aio

from bench import echo
from bench.cluster import Node, running_servers, url_of
from bench.data import BATCH, Digests, Question, item, questions, random_digests, write
from bench.exact import check
from bench.harness import BenchmarkError, Rig, Server, connect, processor_seconds, rig
from bench.lists import LABELLED_PROFILE
from bench.load import MATCH_SERVICE, BatchMatch, Streamed, in_turns, one_after_another, stream_batches
from bench.memory import memory_of, tables_of, total
from bench.report import Effort, Reporter
from hashmatch.v1 import common_pb2, match_service_pb2

# The kernel spreads connections over workers by chance: of so many neither of two gets few.
_CONNECTIONS = 16
_QUESTIONS = 96
_FEW_HITS, _MANY_HITS = BATCH // 1_000, BATCH * 3 // 10
_PRIMARIES = 3
_WORKERS = (1, 2)
# What workers do right after they have started.
_SETTLING_SECONDS = 2.0


class _Rate(NamedTuple):
    """Digests or calls a second, and what a million of them took of a processor on the server, in seconds."""

    per_second: float
    processor: float


async def run(reporter: Reporter, effort: Effort) -> None:
    """Measure. Raises `BenchmarkError` for a wrong answer."""
    for size in effort.sizes:
        listed = random_digests(size, seed=1)
        async with rig() as made:
            reporter.progress(f"{size:,} entries: loading the list, for workers")
            under = reporter.under(entries=size, connections=_CONNECTIONS, **made.conditions)
            await _workers(made, under.under(blocks="resident"), effort, listed)
            reporter.progress(f"{size:,} entries: loading the list into a single server and into a cluster")
            await _stores(made, under.under(blocks="store, no cache"), effort, listed)


async def _workers(made: Rig, reporter: Reporter, effort: Effort, listed: Digests) -> None:
    async with made.server() as server:
        await _deliver(made, server, listed)
    await made.settle()
    few = questions(listed, _QUESTIONS, hits=_FEW_HITS, seed=2)
    async with contextlib.AsyncExitStack() as running:
        sides: dict[str, Callable[[], Awaitable[_Rate]]] = {}
        servers = {}
        for workers in _WORKERS:
            server = await running.enter_async_context(
                made.server(blocks="resident", admin=False, settings={"server.workers": workers})
            )
            channels = await running.enter_async_context(_connections(server))
            servers[workers] = server
            sides[f"bulk {workers}"] = partial(_stream, server, channels, few, seconds=effort.seconds)
            sides[f"single {workers}"] = partial(_call, server, channels, listed, calls=effort.calls)
        echoes = [await running.enter_async_context(made.echo_address()) for _ in range(_WORKERS[-1])]
        to_echoes = [
            await running.enter_async_context(connect(echoes[number % len(echoes)])) for number in range(_CONNECTIONS)
        ]
        sides["echo"] = partial(_stream_echo, to_echoes, few, seconds=effort.seconds)
        await asyncio.sleep(_SETTLING_SECONDS)
        found = _medians(await in_turns(effort.rounds, sides, warm_up=True))
        for case, side, unit in (
            ("BulkMatch, 0.1 % hits", "bulk", "digests"),
            ("BatchMatch, one item", "single", "calls"),
        ):
            one, two = found[f"{side} 1"], found[f"{side} 2"]
            reporter.line(f"{case}, 2 workers", two.per_second, f"{unit}/s", "higher", "1 worker", one.per_second)
            what = f"{case}, 2 workers, the server's processor"
            reporter.line(what, two.processor, f"s/M {unit}", "lower", "1 worker", one.processor)
        two, echoed = found["bulk 2"].per_second, found["echo"].per_second
        what = "streaming echo of the same requests, 2 processes"
        reporter.line("BulkMatch, 0.1 % hits, 2 workers", two, "digests/s", "higher", what, echoed)
        _report_memory(reporter, servers[1], servers[2])


def _report_memory(reporter: Reporter, one: Server, two: Server) -> None:
    processes = two.child.processes()
    workers = [pid for role, pid in processes.items() if role.startswith("worker-")]
    memories = {role: memory_of(pid) for role, pid in processes.items()}
    tables = [tables_of(pid) for pid in processes.values()]
    once = max(each.resident for each in tables)
    held = sum(each.proportional for each in tables)
    reporter.line("tables, all processes of 2 workers together", held, "B", "lower", "the tables once", once)
    each = statistics.mean(memory_of(pid).own for pid in workers)
    counted = statistics.mean(memory_of(pid).resident for pid in workers)
    reporter.line("a worker, its own (USS)", each, "B", "lower", "all that it has mapped (RSS)", counted)
    whole = total(memories.values()).proportional
    (alone,) = one.child.processes().values()
    single = memory_of(alone).proportional
    reporter.line("a server with 2 workers, all of it (PSS)", whole, "B", "lower", "with 1 worker", single)


async def _stores(made: Rig, reporter: Reporter, effort: Effort, listed: Digests) -> None:
    many = questions(listed, _QUESTIONS, hits=_MANY_HITS, seed=3)
    few = questions(listed, _QUESTIONS, hits=_FEW_HITS, seed=2)
    async with contextlib.AsyncExitStack() as running:
        sides: dict[str, Callable[[], Awaitable[_Rate]]] = {}
        for name, count in (("single", 1), ("cluster", _PRIMARIES)):
            nodes = running.enter_context(running_servers(made.directory / name, count))
            async with made.server(store_url=url_of(nodes)) as server:
                await _deliver(made, server, listed)
            server = await running.enter_async_context(made.server(store_url=url_of(nodes), cache_bytes=0, admin=False))
            channels = await running.enter_async_context(_connections(server))
            for hits, asked in (("few", few), ("many", many)):
                sides[f"{hits} {name}"] = partial(_stream, server, channels, asked, nodes, seconds=effort.seconds)
        found = _medians(await in_turns(effort.rounds, sides, warm_up=True))
    under = reporter.under(primaries=_PRIMARIES)
    for hits, case in (("few", "BulkMatch, 0.1 % hits, a cluster"), ("many", "BulkMatch, 30 % hits, a cluster")):
        ours, single = found[f"{hits} cluster"], found[f"{hits} single"]
        under.line(case, ours.per_second, "digests/s", "higher", "a single server", single.per_second)
        what = f"{case}, processor of server and store"
        under.line(what, ours.processor, "s/M digests", "lower", "a single server", single.processor)


async def _deliver(made: Rig, server: Server, listed: Digests) -> None:
    delivery = write(made.directory / "delivery", listed, labelled=True)
    await server.lists.deliver("bench", delivery, profile=LABELLED_PROFILE)


@contextlib.asynccontextmanager
async def _connections(server: Server) -> AsyncIterator[list[grpc.aio.Channel]]:
    async with contextlib.AsyncExitStack() as stack:
        yield [await stack.enter_async_context(connect(server.address)) for _ in range(_CONNECTIONS)]


async def _stream(
    server: Server,
    channels: Sequence[grpc.aio.Channel],
    asked: Sequence[Question],
    nodes: Sequence[Node] = (),
    *,
    seconds: float,
) -> _Rate:
    """Ask for `seconds`, one batch after the other on each connection, and check every answer.

    The processor's time is that of the server, with that of the stores at `nodes`.
    """
    before = _processor(server, nodes)
    streams = await _streams(channels, MATCH_SERVICE, asked, seconds)
    spent = _processor(server, nodes) - before
    responses = [response for stream in streams for response in stream.responses]
    for response in responses:
        check(asked[response.sequence], response)
    answered = len(responses) * BATCH
    return _Rate(answered / max(stream.seconds for stream in streams), spent / answered * 1e6)


async def _stream_echo(channels: Sequence[grpc.aio.Channel], asked: Sequence[Question], *, seconds: float) -> _Rate:
    """The same to echoes, whose answers say nothing."""
    streams = await _streams(channels, echo.SERVICE, asked, seconds)
    answered = sum(len(stream.responses) for stream in streams) * BATCH
    return _Rate(answered / max(stream.seconds for stream in streams), 0.0)


async def _streams(
    channels: Sequence[grpc.aio.Channel], service: str, asked: Sequence[Question], seconds: float
) -> list[Streamed]:
    """On each connection one batch after the other, of its own."""
    return await asyncio.gather(
        *(
            stream_batches(
                channel,
                service,
                [question.request for question in asked[number :: len(channels)]],
                streams=1,
                in_flight=1,
                seconds=seconds,
            )
            for number, channel in enumerate(channels)
        )
    )


async def _call(server: Server, channels: Sequence[grpc.aio.Channel], listed: Digests, *, calls: int) -> _Rate:
    """Ask about one item a call, one call after the other on each connection; every second is listed."""
    unlisted = random_digests(len(channels), seed=9)
    pairs = [
        (item(sha256=listed[number].tobytes()), item(sha256=unlisted[number].tobytes()))
        for number in range(len(channels))
    ]
    before, began = _processor(server, ()), time.perf_counter()
    await asyncio.gather(
        *(
            one_after_another(BatchMatch(channel), cycle(pair), _Alternately(), calls=calls)
            for channel, pair in zip(channels, pairs, strict=True)
        )
    )
    seconds, total_calls = time.perf_counter() - began, calls * len(channels)
    return _Rate(total_calls / seconds, (_processor(server, ()) - before) / total_calls * 1e6)


class _Alternately:
    """Raises `BenchmarkError` unless answers are a match and none in turn."""

    def __init__(self) -> None:
        self._right = cycle((common_pb2.VERDICT_MATCH, common_pb2.VERDICT_NO_KNOWN_MATCH))

    def __call__(self, response: match_service_pb2.BatchMatchResponse) -> None:
        if response.results[0].verdict != next(self._right):
            raise BenchmarkError("a wrong answer to a call")


def _processor(server: Server, nodes: Sequence[Node]) -> float:
    return server.child.processor_seconds() + sum(processor_seconds(node.pid) for node in nodes)


def _medians(rounds: dict[str, list[_Rate]]) -> dict[str, _Rate]:
    return {side: _Rate(*map(statistics.median, zip(*rates, strict=True))) for side, rates in rounds.items()}
