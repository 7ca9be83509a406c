"""`latency`: how long a caller waits for the answer about one item with three hashes, beside a unary echo."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping
from functools import partial
from itertools import cycle, product

import numpy as np

from bench import echo
from bench.data import Digests, hash_text, item, random_digests, write
from bench.harness import BenchmarkError, Rig, Server, rig
from bench.load import BatchMatch, Check, at_steady_rate, in_turns, one_after_another, until_answered
from bench.report import Effort, Reporter
from hashmatch.v1 import common_pb2, match_service_pb2

_SIZES = {"md5": 16, "sha1": 20, "sha256": 32}
# Entries of each other algorithm, where all three are carried.
_OTHERS = 100_000
_PER_SECOND = 200.0
# Different items, so that hits seldom fall into blocks that were just read.
_ITEMS = 5_000


async def run(reporter: Reporter, effort: Effort) -> None:
    """Measure."""
    for size, blocks in product(effort.sizes, ("store", "resident")):
        async with rig() as made, made.server(blocks=blocks) as server, made.echo() as to_echo:
            under = reporter.under(entries=size, blocks=blocks, batch=1, **made.conditions)
            await _run(made, server, BatchMatch(to_echo, echo.SERVICE), under, effort, size)


async def _run(made: Rig, server: Server, to_echo: BatchMatch, reporter: Reporter, effort: Effort, size: int) -> None:
    ours = BatchMatch(server.channel)

    async def compare(case: str, requests: list[bytes], check: Check) -> None:
        reporter.progress(f"{size:,} entries, {case}")
        await _compare(case, ours, to_echo, cycle(requests), check, reporter, effort)

    reporter.progress(f"{size:,} entries: loading the list")
    unlisted = _items({name: random_digests(_ITEMS, seed=2, size=width) for name, width in _SIZES.items()})
    listed = random_digests(size, seed=1)
    epoch = await server.lists.deliver("bench", write(made.directory / "delivery", listed))
    await until_answered(ours, epoch, sha256=listed[0].tobytes())
    known = {name: random_digests(_ITEMS, seed=3, size=width) for name, width in _SIZES.items()}
    known["sha256"] = listed[np.random.default_rng(4).integers(0, size, _ITEMS)]
    await compare("miss, SHA-256 carried", unlisted, _is(common_pb2.VERDICT_NO_KNOWN_MATCH))
    await compare("hit, SHA-256 carried", _items(known), _is(common_pb2.VERDICT_MATCH))

    others = {name: random_digests(_OTHERS, seed=5, size=_SIZES[name]) for name in ("md5", "sha1")}
    epoch = await server.lists.deliver("others", b"".join(map(hash_text, others.values())))
    await until_answered(ours, epoch, md5=others["md5"][0].tobytes())
    known |= {name: digests[:_ITEMS] for name, digests in others.items()}
    await compare("miss, all three carried", unlisted, _is(common_pb2.VERDICT_NO_KNOWN_MATCH))
    await compare("hit, all three carried", _items(known), _is(common_pb2.VERDICT_MATCH, hits=3))


async def _compare(
    case: str,
    ours: BatchMatch,
    to_echo: BatchMatch,
    requests: Iterator[bytes],
    check: Check,
    reporter: Reporter,
    effort: Effort,
) -> None:
    loads = {
        f"{_PER_SECOND:.0f} requests/s": partial(at_steady_rate, per_second=_PER_SECOND),
        "one caller": one_after_another,
    }
    for load, measure in loads.items():
        found = await in_turns(
            effort.rounds,
            {
                "ours": partial(measure, ours, requests, check, calls=effort.calls),
                "echo": partial(measure, to_echo, requests, _unchecked, calls=effort.calls),
            },
            warm_up=True,
        )
        under = reporter.under(load=load, calls=effort.calls * effort.rounds)
        for share in (50, 99):
            value, comparator = (
                statistics.median(float(np.percentile(taken, share)) * 1_000 for taken in found[side])
                for side in ("ours", "echo")
            )
            under.line(f"{case}, {load}, p{share}", value, "ms", "lower", "unary echo of the same request", comparator)


def _items(columns: Mapping[str, Digests]) -> list[bytes]:
    """The requests about items, each with one row of the columns."""
    return [
        item(**{name: digests[row].tobytes() for name, digests in columns.items()})
        for row in range(min(map(len, columns.values())))
    ]


def _is(verdict: common_pb2.Verdict.ValueType, *, hits: int | None = None) -> Check:
    def check(response: match_service_pb2.BatchMatchResponse) -> None:
        (result,) = response.results
        matches = sum(each.verdict == common_pb2.VERDICT_MATCH for each in result.hashes)
        if result.verdict != verdict or (hits is not None and matches != hits):
            raise BenchmarkError(f"a wrong answer: {common_pb2.Verdict.Name(result.verdict)} with {matches} matches")

    return check


def _unchecked(response: match_service_pb2.BatchMatchResponse) -> None:
    """The echo has no verdict."""
