"""`pdq-service`: PDQ codes asked about through the service beside the search alone, and how soon a new one is found."""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import grpc.aio
import numpy as np

from bench import pdq_codes
from bench.data import Digests, Question, hash_text
from bench.harness import BenchmarkError, Rig, rig
from bench.lists import INCREMENTAL, PDQ_PROFILE, Administration
from bench.load import MATCH_SERVICE, BatchMatch, in_turns, stream_batches, until_answered
from bench.report import Effort, Reporter
from hashmatch.index.hamming import MAXIMUM_DISTANCE, HammingIndex
from hashmatch.v1 import common_pb2, match_service_pb2

_BATCH = 2_000
_HITS = _BATCH // 1_000
_QUESTIONS = 24
_STREAMS, _IN_FLIGHT = 2, 2
_DELTA = 1_000
_LIMIT_SECONDS = 1.0


async def run(reporter: Reporter, effort: Effort) -> None:
    """Measure, with as many codes listed as the smallest size has. Raises `BenchmarkError` for a wrong answer."""
    size = effort.sizes[0]
    reporter.progress(f"{size:,} codes: loading the list")
    async with rig() as made:
        await _run(made, reporter.under(entries=size, codes="uniform", **made.conditions), effort, size)


async def _run(made: Rig, reporter: Reporter, effort: Effort, size: int) -> None:
    codes = pdq_codes.uniform(size, seed=1)
    asked = _questions(codes)
    async with made.server() as server:
        epoch = await server.lists.deliver("bench", hash_text(codes), profile=PDQ_PROFILE)
        await until_answered(BatchMatch(server.channel), epoch, pdq=codes[0].tobytes())
        index = await asyncio.to_thread(HammingIndex, codes)
        cores = os.cpu_count() or 1
        with ThreadPoolExecutor(cores) as threads:
            rounds = await in_turns(
                effort.rounds,
                {
                    "ours": partial(_ask, server.channel, asked, seconds=effort.seconds),
                    "search": partial(_search, index, asked, threads, cores, seconds=effort.seconds),
                },
                warm_up=True,
            )
        taken = [await _update(server.lists, BatchMatch(server.channel), number) for number in range(effort.updates)]
    found = {side: statistics.median(rates) for side, rates in rounds.items()}
    under = reporter.under(batch=_BATCH, hits=_HITS, streams=_STREAMS, in_flight=_STREAMS * _IN_FLIGHT)
    under.line("BulkMatch", found["ours"], "codes/s", "higher", "the search alone on all cores", found["search"])
    under = reporter.under(delta=_DELTA, updates=len(taken))
    for name, share in (("p50", 50), ("slowest", 100)):
        seconds = float(np.percentile(taken, share))
        under.line(f"a delta is answered with, {name}", seconds, "s", "lower", "limit", _LIMIT_SECONDS)


def _questions(codes: Digests) -> list[Question]:
    """Batches of codes that are not near any, but for a few that are."""
    random = np.random.default_rng(2)
    made = []
    for sequence in range(_QUESTIONS):
        digests = pdq_codes.uniform(_BATCH, seed=1_000 + sequence).copy()
        positions = np.sort(random.choice(_BATCH, _HITS, replace=False))
        entries = random.integers(0, len(codes), _HITS)
        digests[positions] = pdq_codes.changed(codes[entries], MAXIMUM_DISTANCE, random)
        column = match_service_pb2.HashColumn(algorithm=common_pb2.ALGORITHM_PDQ, digests=digests.tobytes())
        request = match_service_pb2.BulkMatchRequest(sequence=sequence, column=column).SerializeToString()
        made.append(Question(sequence, request, digests, positions.tolist(), entries.tolist()))
    return made


async def _ask(channel: grpc.aio.Channel, asked: Sequence[Question], *, seconds: float) -> float:
    """Ask for `seconds`, and check every answer; returns codes a second. Raises `BenchmarkError`."""
    requests = [question.request for question in asked]
    streamed = await stream_batches(
        channel, MATCH_SERVICE, requests, streams=_STREAMS, in_flight=_IN_FLIGHT, seconds=seconds
    )
    for response in streamed.responses:
        wanted = asked[response.sequence].positions
        if response.undetermined or list(response.match_indexes) != wanted:
            raise BenchmarkError(f"{len(response.match_indexes)} of {len(wanted)} codes were found")
    return len(streamed.responses) * _BATCH / streamed.seconds


async def _search(
    index: HammingIndex, asked: Sequence[Question], threads: ThreadPoolExecutor, cores: int, *, seconds: float
) -> float:
    """Search the same codes for `seconds` on all cores, a part on each; returns codes a second."""
    return await asyncio.to_thread(_search_on, index, asked, threads, cores, seconds)


def _search_on(
    index: HammingIndex, asked: Sequence[Question], threads: ThreadPoolExecutor, cores: int, seconds: float
) -> float:
    began = time.perf_counter()
    batches = 0
    while time.perf_counter() - began < seconds:
        parts = np.array_split(asked[batches % len(asked)].digests, cores)
        list(threads.map(lambda part: index.search(part, MAXIMUM_DISTANCE), parts))
        batches += 1
    return batches * _BATCH / (time.perf_counter() - began)


async def _update(lists: Administration, ask: BatchMatch, number: int) -> float:
    """Publish a delta; returns how long after that the server answered with it."""
    delta = pdq_codes.uniform(_DELTA, seed=10_000 + number)
    staging = await lists.stage("bench", hash_text(delta), mode=INCREMENTAL, profile=PDQ_PROFILE)
    epoch = await lists.publish(staging)
    published = time.perf_counter()
    near = pdq_codes.changed(delta[-1:], MAXIMUM_DISTANCE, np.random.default_rng(number))
    return await until_answered(ask, epoch, pdq=near.tobytes()) - published
