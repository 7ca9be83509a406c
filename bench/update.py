"""`update`: from `Publish` returning to two servers answering with what was published, while questions keep coming."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence

import numpy as np

from bench.data import Digests, hash_text, item, random_digests, write
from bench.flow import Flow, listed_and_not
from bench.harness import BenchmarkError, Rig, rig
from bench.lists import INCREMENTAL, Administration
from bench.load import BatchMatch, until_answered
from bench.report import Effort, Reporter
from hashmatch.v1 import common_pb2

_DELTA = 1_000
_LIMIT_SECONDS = 1.0


async def run(reporter: Reporter, effort: Effort) -> None:
    """Measure. Raises `BenchmarkError` if a question failed."""
    for size in effort.sizes:
        async with rig() as made:
            await _run(made, reporter.under(entries=size, blocks="store", **made.conditions), effort, size)


async def _run(made: Rig, reporter: Reporter, effort: Effort, size: int) -> None:
    reporter.progress(f"{size:,} entries: loading the list")
    listed = random_digests(size, seed=1)
    rehearsal, *deltas = random_digests((effort.updates + 1) * _DELTA, seed=2).reshape(-1, _DELTA, 32)
    async with made.server() as first:
        epoch = await first.lists.deliver("bench", write(made.directory / "delivery", listed))
        async with made.server(admin=False) as second:
            asks = [BatchMatch(first.channel), BatchMatch(second.channel)]
            for ask in asks:
                await until_answered(ask, epoch, sha256=listed[0].tobytes())
            # The first delta ever on a machine compiles kernels, which are kept on disk.
            await _update(first.lists, asks, rehearsal)
            flows = [Flow(ask, listed_and_not(listed)) for ask in asks]
            taken = []
            async with contextlib.AsyncExitStack() as asking:
                for flow in flows:
                    await asking.enter_async_context(flow.going_on())
                for number, delta in enumerate(deltas, 1):
                    reporter.progress(f"{size:,} entries: delta {number} of {len(deltas)}")
                    taken.append(await _update(first.lists, asks, delta))
    asked, failed = sum(flow.asked for flow in flows), sum(flow.failed for flow in flows)
    under = reporter.under(delta=_DELTA, updates=len(taken), servers=len(flows), questions=asked)
    for name, share in (("p50", 50), ("p99", 99), ("slowest", 100)):
        seconds = float(np.percentile(taken, share))
        case = f"a delta on two servers, {name}"
        under.line(case, seconds, "s", "lower", "limit", _LIMIT_SECONDS)
    slowest = max(flow.slowest for flow in flows)
    under.line("questions meanwhile, slowest", slowest, "s", "lower", "none", None)
    under.line("questions meanwhile, failed or wrong", failed, "questions", "lower", "limit", 0)
    if failed:
        raise BenchmarkError("; ".join(sorted(problem for flow in flows for problem in flow.problems)))


async def _update(lists: Administration, asks: Sequence[BatchMatch], delta: Digests) -> float:
    """Publish a delta; returns how long after that the last server answered with it."""
    digest = delta[-1].tobytes()
    for ask in asks:
        if (await ask(item(sha256=digest))).results[0].verdict != common_pb2.VERDICT_NO_KNOWN_MATCH:
            raise BenchmarkError("a digest is answered before it is published")
    epoch = await lists.publish(await lists.stage("bench", hash_text(delta), mode=INCREMENTAL))
    published = time.perf_counter()
    return max(await asyncio.gather(*(until_answered(ask, epoch, sha256=digest) for ask in asks))) - published
