"""`size`: ten large lists, and that start-up, refresh and compaction of them do not stop answers."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bench import pdq_codes
from bench.data import BATCH, Digests, item, questions, random_digests, write
from bench.flow import PER_SECOND, Ask, Flow
from bench.harness import BenchmarkError, Rig, Server, rig
from bench.lists import INCREMENTAL, PDQ_PROFILE
from bench.load import MATCH_SERVICE, BatchMatch, stream_batches, until_answered
from bench.report import Effort, Reporter
from hashmatch.index.hamming import MAXIMUM_DISTANCE
from hashmatch.ingest.compaction import MAXIMUM_DELTAS
from hashmatch.store.segments import BLOCKS_PER_COMMAND

_LISTS = 10
# Exact entries for each PDQ code.
_EXACT_PER_CODE = 10
# The share of a list that a delta adds: so many of them make a whole chain worth folding.
_DELTA_SHARE = 50
_LISTED_QUESTIONS = 1_024
_QUESTIONS, _STREAMS, _IN_FLIGHT = 96, 4, 2
_HITS = {"0.1 % hits": BATCH // 1_000, "30 % hits": BATCH * 3 // 10}
_SAMPLES_PER_SECOND = 10.0
_POLL = 0.05
_PATIENCE = 600.0
# With nothing to do servers only look at the manifest: so many bytes in so many seconds.
_QUIET, _QUIET_SECONDS = 1 << 20, 3.0
# What a SHA-256 takes in a sealed block.
_ROW_BYTES = 37
# Above what a block of 32 SHA-256 with an opinion each takes.
_BLOCK_BYTES = 1_300


class _Spent(NamedTuple):
    """What a Redis has done since it was started: bytes sent, commands, processor seconds."""

    sent: int
    commands: int
    processor: float


class _Lists(NamedTuple):
    """What is listed: (lists, n, 32) SHA-256 and (lists, m, 32) codes, and where the deliveries are."""

    digests: Digests
    codes: Digests
    deliveries: list[tuple[Path, Path]]


async def run(reporter: Reporter, effort: Effort) -> None:
    """Measure with the largest size. Raises `BenchmarkError` for a wrong answer."""
    size = effort.sizes[-1]
    async with rig() as made:
        under = reporter.under(
            entries=size, codes=size // _EXACT_PER_CODE, lists=_LISTS, blocks="store", **made.conditions
        )
        await _run(made, under, effort, await asyncio.to_thread(_make, made.directory, size, under))


def _make(directory: Path, size: int, reporter: Reporter) -> _Lists:
    reporter.progress(f"{size:,} entries and {size // _EXACT_PER_CODE:,} codes: writing deliveries")
    digests = random_digests(size, seed=1).reshape(_LISTS, -1, 32)
    codes = pdq_codes.uniform(size // _EXACT_PER_CODE, seed=2).reshape(_LISTS, -1, 32)
    deliveries = [
        (write(directory / f"exact-{number}", digests[number]), write(directory / f"codes-{number}", codes[number]))
        for number in range(_LISTS)
    ]
    return _Lists(digests, codes, deliveries)


async def _run(made: Rig, reporter: Reporter, effort: Effort, lists: _Lists) -> None:
    # A whole list is replaced by another one.
    async with made.server(settings={"vetting.maximum_removed_fraction": 1}) as first:
        began, epoch = time.perf_counter(), await _publish(first, lists, 0)
        await until_answered(BatchMatch(first.channel), epoch, pdq=lists.codes[0, 0].tobytes())
        flow = Flow(BatchMatch(first.channel), _about(lists))
        async with flow.going_on():
            for number in range(1, _LISTS):
                reporter.progress(f"list {number + 1} of {_LISTS}")
                epoch = await _publish(first, lists, number)
            await until_answered(BatchMatch(first.channel), epoch, pdq=lists.codes[-1, 0].tobytes())
        seconds = time.perf_counter() - began
        reporter.line("taking in all lists", seconds, "s", "lower", "none", None)
        _gaps(reporter, "while lists are taken in and refreshed", [flow])
        _settle_up(reporter, [flow])
        await made.settle()
        stored = int(made.redis.info("memory")["used_memory"])
        reporter.line("Redis, all of it", stored, "B", "lower", "none", None)
        await _with_others(made, reporter, effort, lists, first)


async def _with_others(made: Rig, reporter: Reporter, effort: Effort, lists: _Lists, first: Server) -> None:
    flows = [Flow(BatchMatch(first.channel), _about(lists))]
    async with contextlib.AsyncExitStack() as running:
        async with contextlib.AsyncExitStack() as asking:
            await asking.enter_async_context(flows[0].going_on())
            second = await _start(made, reporter, lists, running)
            _gaps(reporter, "of another server while one starts", flows)
            third = await running.enter_async_context(made.server(admin=False))
            for server in (second, third):
                flows.append(Flow(BatchMatch(server.channel), _about(lists)))
                await asking.enter_async_context(flows[-1].going_on())
            servers = (first, second, third)
            await _refresh_together(made, reporter, lists, servers, flows)
            await _compact(reporter, lists, servers, flows)
        _settle_up(reporter, flows)
        # Servers read everything once more where so much has changed that their tables are made anew.
        await _until_quiet(made)
        await _ask_many(made, reporter, effort, lists, second)


async def _start(made: Rig, reporter: Reporter, lists: _Lists, running: contextlib.AsyncExitStack) -> Server:
    """Start a server that has everything to read, and report what it took."""
    reporter.progress("a second server starts")
    before, began = _spent(made), time.perf_counter()
    server = await running.enter_async_context(made.server(admin=False))
    await until_answered(BatchMatch(server.channel), 1, pdq=lists.codes[-1, 0].tobytes())
    took, loading = time.perf_counter() - began, _since(before, _spent(made))
    for case, value, unit in (
        ("a server's start, to its first answers", took, "s"),
        ("a server's start, its processor", server.child.processor_seconds(), "s"),
        ("a server's start, sent by Redis", loading.sent, "B"),
        ("a server's start, Redis's processor", loading.processor, "s"),
        ("a server, memory", server.child.memory("VmRSS"), "B"),
        ("a server, memory at its most", server.child.memory("VmHWM"), "B"),
    ):
        reporter.line(case, value, unit, "lower", "none", None)
    return server


def _settle_up(reporter: Reporter, flows: Sequence[Flow]) -> None:
    """Report how many questions failed. Raises `BenchmarkError` if one did."""
    failed = sum(flow.failed for flow in flows)
    under = reporter.under(questions=sum(flow.asked for flow in flows))
    under.line("questions failed or wrong", failed, "questions", "lower", "limit", 0)
    if failed:
        raise BenchmarkError("; ".join(sorted(problem for flow in flows for problem in flow.problems)))


async def _refresh_together(
    made: Rig, reporter: Reporter, lists: _Lists, servers: Sequence[Server], flows: Sequence[Flow]
) -> None:
    """Replace a whole list, which all servers read at once."""
    reporter.progress(f"{len(servers)} servers refresh together")
    fresh = random_digests(lists.digests.shape[1], seed=3)
    path = await asyncio.to_thread(write, made.directory / "fresh", fresh)
    staging = await servers[0].lists.stage("list-9", path)
    _forget(flows)
    before = _spent(made)
    async with _watching(made) as seen:
        began = time.perf_counter()
        epoch = await servers[0].lists.publish(staging)
        published = time.perf_counter()
        asks = [BatchMatch(server.channel) for server in servers]
        answered = await asyncio.gather(*(until_answered(ask, epoch, sha256=fresh[0].tobytes()) for ask in asks))
    sent = _since(before, _spent(made)).sent
    under = reporter.under(servers=len(servers), list_entries=len(fresh))
    under.line("a whole list replaced, published in", published - began, "s", "lower", "none", None)
    last = max(answered) - published
    under.line("a whole list replaced, the last server answers after", last, "s", "lower", "none", None)
    once = len(servers) * len(fresh) * _ROW_BYTES
    under.line(
        "servers that refresh together, sent by Redis", sent, "B", "lower", "the list once for each server", once
    )
    waiting = "servers that refresh together, replies waiting in Redis at most"
    bound = len(servers) * BLOCKS_PER_COMMAND * _BLOCK_BYTES
    under.line(waiting, seen["replies"], "B", "lower", "one command's blocks for each server", bound)
    under.line("servers that refresh together, a PING beside them, slowest", seen["ping"], "s", "lower", "none", None)
    _gaps(under, "while servers refresh together", flows)


async def _compact(reporter: Reporter, lists: _Lists, servers: Sequence[Server], flows: Sequence[Flow]) -> None:
    """Add deltas to a list until its chain is folded."""
    reporter.progress("compaction")
    _forget(flows)
    each = lists.digests.shape[1] // _DELTA_SHARE + 1
    began = time.perf_counter()
    for number in range(MAXIMUM_DELTAS):
        delta = random_digests(each, seed=100 + number)
        path = lists.deliveries[0][0].with_name("delta")
        await asyncio.to_thread(write, path, delta)
        epoch = await servers[0].lists.publish(await servers[0].lists.stage("list-0", path, mode=INCREMENTAL))
    await servers[0].child.event("maintenance-done", work="compact")
    for server in servers:
        await _until_epoch(server, epoch + 1, item(sha256=delta[0].tobytes()))
    seconds = time.perf_counter() - began
    under = reporter.under(servers=len(servers), deltas=MAXIMUM_DELTAS, delta=each)
    under.line("deltas published and folded in", seconds, "s", "lower", "none", None)
    _gaps(under, "while deltas come and are folded", flows)


async def _ask_many(made: Rig, reporter: Reporter, effort: Effort, lists: _Lists, server: Server) -> None:
    """What a million questions cost."""
    listed = lists.digests[: _LISTS - 1].reshape(-1, 32)
    for case, hits in _HITS.items():
        asked = questions(listed, _QUESTIONS, hits=hits, seed=5)
        stream = partial(
            stream_batches,
            server.channel,
            MATCH_SERVICE,
            [question.request for question in asked],
            streams=_STREAMS,
            in_flight=_IN_FLIGHT,
        )
        await stream(seconds=effort.seconds)
        before, processor = _spent(made), server.child.processor_seconds()
        streamed = await stream(seconds=effort.seconds)
        spent, processor = _since(before, _spent(made)), server.child.processor_seconds() - processor
        for response in streamed.responses:
            if response.undetermined or list(response.match_indexes) != asked[response.sequence].positions:
                raise BenchmarkError(f"a wrong answer to a batch with {hits} hits")
        count = len(streamed.responses) * BATCH
        million = count / 1e6
        under = reporter.under(batch=BATCH, streams=_STREAMS, in_flight=_STREAMS * _IN_FLIGHT)
        under.line(f"BulkMatch, {case}", count / streamed.seconds, "digests/s", "higher", "none", None)
        under.line(f"BulkMatch, {case}, the server's processor", processor / million, "s/M", "lower", "none", None)
        under.line(f"BulkMatch, {case}, sent by Redis", spent.sent / million, "B/M", "lower", "none", None)
        under.line(f"BulkMatch, {case}, Redis's processor", spent.processor / million, "s/M", "lower", "none", None)


async def _publish(server: Server, lists: _Lists, number: int) -> int:
    """Take in both deliveries of a list; returns the epoch of the second."""
    exact, codes = lists.deliveries[number]
    list_id = f"list-{number}"
    await server.lists.deliver(list_id, exact)
    return await server.lists.publish(await server.lists.stage(list_id, codes, mode=INCREMENTAL, profile=PDQ_PROFILE))


def _about(lists: _Lists) -> Ask:
    """Questions in turn about a listed digest, one that is not, and a code near a listed one: all of the first list."""
    random = np.random.default_rng(4)
    digests = lists.digests[0, random.integers(0, lists.digests.shape[1], _LISTED_QUESTIONS)]
    codes = lists.codes[0, random.integers(0, lists.codes.shape[1], _LISTED_QUESTIONS)]
    near = pdq_codes.changed(codes, MAXIMUM_DISTANCE, random)
    made = []
    for digest, code in zip(digests, near, strict=True):
        made.append((item(sha256=digest.tobytes()), True))
        made.append((item(sha256=random.bytes(32)), False))
        made.append((item(pdq=code.tobytes()), True))
    return lambda number: made[number % len(made)]


def _forget(flows: Sequence[Flow]) -> None:
    for flow in flows:
        flow.forget_times()


def _gaps(reporter: Reporter, when: str, flows: Sequence[Flow]) -> None:
    """Report the longest times of a phase, beside what the asking process was late by itself."""
    under = reporter.under(questions_per_second=PER_SECOND, servers_asked=len(flows))
    late = max(flow.late for flow in flows)
    for name, seconds in (
        ("slowest answer", max(flow.slowest for flow in flows)),
        ("longest time without an answer", max(flow.gap for flow in flows)),
    ):
        under.line(f"{name} {when}", seconds, "s", "lower", "the asking process, late at most", late)
    _forget(flows)


def _spent(made: Rig) -> _Spent:
    statistics, cpu = made.redis.info("stats"), made.redis.info("cpu")
    processor = cpu["used_cpu_user"] + cpu["used_cpu_sys"]
    return _Spent(statistics["total_net_output_bytes"], statistics["total_commands_processed"], processor)


async def _until_quiet(made: Rig) -> None:
    give_up = time.perf_counter() + _PATIENCE
    before, sent = _spent(made), float("inf")
    while sent > _QUIET:
        if time.perf_counter() > give_up:
            raise BenchmarkError("the servers do not stop reading")
        await asyncio.sleep(_QUIET_SECONDS)
        now = _spent(made)
        before, sent = now, _since(before, now).sent


def _since(before: _Spent, now: _Spent) -> _Spent:
    return _Spent(*(late - early for early, late in zip(before, now, strict=True)))


@contextlib.asynccontextmanager
async def _watching(made: Rig) -> AsyncIterator[Mapping[str, float]]:
    """The most that is seen of Redis meanwhile: `replies`, bytes that wait to be taken; `ping`, seconds to a reply."""
    seen = {"replies": 0.0, "ping": 0.0}

    def look() -> None:
        began = time.perf_counter()
        made.redis.ping()
        seen["ping"] = max(seen["ping"], time.perf_counter() - began)
        waiting = sum(int(client["obl"]) + int(client["omem"]) for client in made.redis.client_list())
        seen["replies"] = max(seen["replies"], float(waiting))

    async def go_on() -> None:
        while True:
            await asyncio.to_thread(look)
            await asyncio.sleep(1 / _SAMPLES_PER_SECOND)

    looking = asyncio.create_task(go_on())
    try:
        yield seen
    finally:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)


async def _until_epoch(server: Server, epoch: int, about: bytes) -> None:
    """Wait until a server answers from an epoch, or a later one."""
    ask = BatchMatch(server.channel)
    give_up = time.perf_counter() + _PATIENCE
    while (await ask(about)).snapshot.epoch < epoch:
        if time.perf_counter() > give_up:
            raise BenchmarkError(f"nothing is answered from epoch {epoch}")
        await asyncio.sleep(_POLL)
