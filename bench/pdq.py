"""`pdq`: finding every listed PDQ code within 31 bits, on one core, beside faiss and the peer's index."""

from __future__ import annotations

import asyncio
import importlib.util
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from bench import pdq_codes
from bench.data import Digests
from bench.harness import BenchmarkError
from bench.report import Effort, Reporter
from hashmatch.index.hamming import MAXIMUM_DISTANCE, HammingIndex

_FAISS = "faiss IndexBinaryFlat, one thread"
_PEER = "PDQIndex of threatexchange, one thread"
_NEEDED = ("faiss", "threatexchange")
# Ours is asked more questions than the others, which take longer over each.
_OURS, _THEIRS, _ALONE = 2_000, 60, 300
# The peer's index takes half a minute to build from a million codes.
_LARGEST_OF_PEER = 1_000_000
_LARGEST_OF_FIRST_LIMIT, _BYTES_A_CODE = 1_000_000, (300, 160)
_SIZES, _QUICK_SIZES = (100_000, 1_000_000, 10_000_000), (100_000, 300_000)
_CLUSTERED, _PICTURES = 1_000_000, 300


async def run(reporter: Reporter, effort: Effort) -> None:
    """Measure."""
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise BenchmarkError(
            f"{', '.join(missing)}: not installed; pip install -e '.[bench]' (it needs a C++ compiler)"
        )
    await asyncio.to_thread(_run, reporter, effort)


def _run(reporter: Reporter, effort: Effort) -> None:
    full = max(effort.sizes) >= max(_SIZES)
    sizes = _SIZES if full else _QUICK_SIZES
    peer_build = 0.0
    for size in sizes:
        codes = pdq_codes.uniform(size, seed=size)
        built, peer_built = _compare(reporter.under(entries=size, codes="uniform"), effort, codes, longest=False)
        peer_build = peer_built or peer_build
        reporter.under(entries=size, codes="uniform").line(
            "build", built, "s", "lower", f"{_PEER}, of {min(size, _LARGEST_OF_PEER):,}", peer_build
        )
    size = _CLUSTERED if full else _QUICK_SIZES[0]
    reporter.progress("draws pictures")
    codes = pdq_codes.clustered(size, _PICTURES if full else _PICTURES // 10, seed=3)
    _compare(reporter.under(entries=len(codes), codes="clustered"), effort, codes, longest=True)


def _compare(reporter: Reporter, effort: Effort, codes: Digests, *, longest: bool) -> tuple[float, float]:
    """Compare searches in one list. Returns the seconds that our index and the peer's took to build."""
    reporter.progress(f"{len(codes):,} codes: builds the indexes")
    HammingIndex(codes[:5_000])  # compiles the kernels
    index, built = _timed(lambda: HammingIndex(codes))
    flat = _flat_index(codes)
    peer, peer_built = _timed(lambda: _peer_index(codes)) if len(codes) <= _LARGEST_OF_PEER else (None, 0.0)
    for case, queries in (
        ("misses", pdq_codes.uniform(_OURS, seed=1)),
        ("hits", pdq_codes.hits(codes, _OURS, seed=2)),
    ):
        reporter.progress(f"{len(codes):,} codes: {case}")
        _check(index, flat, queries[:_THEIRS])
        sides: dict[str, Callable[[], int]] = {
            "ours": lambda queries=queries: _ask_ours(index, queries),
            _FAISS: lambda queries=queries: _ask_flat(flat, queries[:_THEIRS]),
        }
        if peer is not None:
            sides[_PEER] = lambda queries=queries: _ask_peer(peer, queries[:_THEIRS])
        taken: dict[str, list[float]] = {side: [] for side in sides}
        for _ in range(effort.rounds):
            for side, ask in sides.items():
                asked, seconds = _timed(ask)
                taken[side].append(seconds / asked * 1e6)
        medians = {side: statistics.median(each) for side, each in taken.items()}
        for side in sides:
            if side != "ours":
                reporter.line(f"{case}, a query", medians["ours"], "us", "lower", side, medians[side])
        if longest:
            slowest = max(
                _timed(lambda each=each: index.search(each[None], MAXIMUM_DISTANCE))[1] for each in queries[:_ALONE]
            )
            reporter.line(f"{case}, the longest of {_ALONE} queries", slowest * 1e6, "us", "lower", "none", None)
    limit = _BYTES_A_CODE[len(codes) > _LARGEST_OF_FIRST_LIMIT]
    reporter.line("memory, a code", index.nbytes / len(codes), "B", "lower", "limit", limit)
    return built, peer_built


def _timed(work: Callable[[], Any]) -> tuple[Any, float]:
    began = time.perf_counter()
    result = work()
    return result, time.perf_counter() - began


def _ask_ours(index: HammingIndex, queries: Digests) -> int:
    index.search(queries, MAXIMUM_DISTANCE)
    return len(queries)


def _flat_index(codes: Digests) -> Any:
    import faiss

    faiss.omp_set_num_threads(1)
    index = faiss.IndexBinaryFlat(8 * codes.shape[1])
    index.add(codes)
    return index


def _ask_flat(index: Any, queries: Digests) -> int:
    # Its radius is the first distance that does not count.
    index.range_search(queries, MAXIMUM_DISTANCE + 1)
    return len(queries)


def _peer_index(codes: Digests) -> Any:
    from threatexchange.signal_type.pdq.pdq_index import PDQIndex

    return PDQIndex.build([(code.tobytes().hex(), number) for number, code in enumerate(codes)])


def _ask_peer(index: Any, queries: Digests) -> int:
    for query in queries:
        index.query(query.tobytes().hex())
    return len(queries)


def _check(index: HammingIndex, flat: Any, queries: Digests) -> None:
    """Raise `BenchmarkError` unless both find the same."""
    found = index.search(queries, MAXIMUM_DISTANCE)
    limits, distances, entries = flat.range_search(queries, MAXIMUM_DISTANCE + 1)
    asked = np.repeat(np.arange(len(queries)), np.diff(limits.astype(np.int64)))
    ours = set(zip(found.queries.tolist(), found.entries.tolist(), found.distances.tolist(), strict=True))
    theirs = set(zip(asked.tolist(), entries.tolist(), distances.astype(np.int64).tolist(), strict=True))
    if ours != theirs:
        raise BenchmarkError(f"a wrong answer: {len(ours - theirs)} too many, {len(theirs - ours)} missing")
