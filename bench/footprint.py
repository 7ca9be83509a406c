"""`footprint`: what an entry costs in Redis, and what it costs in a server."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from bench.data import random_digests, write
from bench.harness import Rig, rig
from bench.redis_sets import load_set
from bench.report import Effort, Reporter

_STORE_LIMIT, _SERVER_LIMIT = 44.0, 6.0
# What a server does right after it has started, and Redis after connections were closed.
_SETTLING_SECONDS = 1.0
# What an entry costs a server is told from two lists, of which one has this many times the entries of the other.
_SHARE = 10


class _Footprint(NamedTuple):
    store: int
    server: int


async def run(reporter: Reporter, effort: Effort) -> None:
    """Measure."""
    for size in effort.sizes:
        await _run(reporter, size)


async def _run(reporter: Reporter, size: int) -> None:
    few = size // _SHARE
    async with rig() as made:
        small = await _footprint(made, reporter, few)
    async with rig() as made:
        under = reporter.under(entries=size, blocks="store, no cache", opinions_per_entry=1, **made.conditions)
        large = await _footprint(made, reporter, size)
    async with rig() as made:
        before = await _used_memory(made)
        load_set(made.redis, random_digests(size, seed=1))
        of_set = await _used_memory(made) - before
    case = "Redis, an entry with one opinion"
    under.line(case, large.store / size, "B", "lower", "limit", _STORE_LIMIT)
    comparator = "one Redis set of the digests, without opinions"
    under.line(case, large.store / size, "B", "lower", comparator, of_set / size)
    each = (large.server - small.server) / (size - few)
    under.line(f"server, each entry beyond the first {few:,}", each, "B", "lower", "limit", _SERVER_LIMIT)
    under.line("server, all of it", large.server, "B", "lower", "none", None)


async def _footprint(made: Rig, reporter: Reporter, size: int) -> _Footprint:
    reporter.progress(f"{size:,} entries")
    before = await _used_memory(made)
    async with made.server() as server:
        await server.lists.deliver("bench", write(made.directory / "delivery", random_digests(size, seed=1)))
    store = await _used_memory(made) - before
    # Another one, because the first still has what taking in a delivery left behind.
    async with made.server(cache_bytes=0, admin=False) as server:
        await asyncio.sleep(_SETTLING_SECONDS)
        return _Footprint(store, server.child.memory("VmRSS"))


async def _used_memory(made: Rig) -> int:
    """The memory that Redis uses when nobody is connected but us."""
    await asyncio.sleep(_SETTLING_SECONDS)
    await made.settle()
    return int(made.redis.info("memory")["used_memory"])
