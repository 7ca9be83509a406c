"""`ingest`: from a delivery in a file to the first right answer, beside loading the same digests into a Redis set."""

from __future__ import annotations

import statistics
import time
from functools import partial
from itertools import islice
from pathlib import Path

from bench.data import Digests, hash_text, random_digests, write
from bench.harness import BenchmarkError, rig
from bench.load import BatchMatch, in_turns, until_answered
from bench.redis_sets import MANY, PIPELINE, SET
from bench.report import Effort, Reporter

_MEMORY_LIMIT = 1.5e9
# Large enough that a process of its own takes it in, and compiles whatever is not compiled yet.
_REHEARSAL = 50_000


async def run(reporter: Reporter, effort: Effort) -> None:
    """Measure."""
    for size in effort.sizes:
        await _run(reporter, effort, size)


async def _run(reporter: Reporter, effort: Effort, size: int) -> None:
    listed = random_digests(size, seed=1)
    memory: list[tuple[int, int]] = []
    async with rig() as made:
        under = reporter.under(entries=size, blocks="store", **made.conditions)
        delivery = write(made.directory / "delivery", listed)
        under = under.under(delivery_bytes=delivery.stat().st_size)
        found = await in_turns(
            effort.ingests,
            {
                "ours": partial(_ours, reporter, listed, delivery, memory),
                "one": partial(_sadd, reporter, delivery, 1),
                "many": partial(_sadd, reporter, delivery, MANY),
            },
        )
    seconds = {side: statistics.median(taken) for side, taken in found.items()}
    case = "hash text, from the first byte to the first right answer"
    under.line(case, seconds["ours"], "s", "lower", f"SADD of one digest, {PIPELINE:,} to a pipeline", seconds["one"])
    under.line(case, seconds["ours"], "s", "lower", f"SADD of {MANY:,} digests, pipelined", seconds["many"])
    importer, server = (max(peaks) for peaks in zip(*memory, strict=True))
    if importer:
        under.line("peak memory of the importer", importer, "B", "lower", "limit", _MEMORY_LIMIT)
    under.line("peak memory of the server", server, "B", "lower", "none", None)


async def _ours(reporter: Reporter, listed: Digests, delivery: Path, memory: list[tuple[int, int]]) -> float:
    reporter.progress(f"{len(listed):,} entries: taking in the delivery")
    async with rig() as made, made.server() as server:
        await server.lists.define("bench")
        rehearsal = hash_text(random_digests(_REHEARSAL, seed=2))
        await server.lists.stage("bench", rehearsal, validate_only=True)
        ask = BatchMatch(server.channel)
        start = time.perf_counter()
        staging_id = await server.lists.stage("bench", delivery)
        epoch = await server.lists.publish(staging_id)
        taken = await until_answered(ask, epoch, sha256=listed[-1].tobytes()) - start
        staged = await server.child.event("delivery-staged", staging_id=staging_id)
        memory.append((staged["importer_peak_bytes"], server.child.memory("VmHWM")))
    return taken


async def _sadd(reporter: Reporter, delivery: Path, members: int) -> float:
    """The seconds that it takes to put the digests of a delivery into a set, so many with each command."""
    reporter.progress(f"loading a set, {members:,} digests with each SADD")
    async with rig() as made:
        added = 0
        start = time.perf_counter()
        with delivery.open("rb") as file:
            while digests := [bytes.fromhex(line.decode()) for line in islice(file, PIPELINE)]:
                pipeline = made.redis.pipeline(transaction=False)
                for first in range(0, len(digests), members):
                    pipeline.sadd(SET, *digests[first : first + members])
                added += sum(pipeline.execute())
        taken = time.perf_counter() - start
        if added != made.redis.scard(SET):
            raise BenchmarkError("the set lacks what was loaded")
    return taken
