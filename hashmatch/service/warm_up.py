"""Compiles the kernels before anybody waits for them.

Kernels are compiled once on a machine, which takes about half a minute, and then read from a cache in well under a
second. Without this the first delivery, the first snapshot and the first question would each wait for theirs.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

from hashmatch.columns.placement import Digests, PlacementSecret, as_words, packed_digests, placements, placements_of
from hashmatch.columns.rows import Payloads, Rows, make_rows, overlay, positions_in
from hashmatch.formats.delivery import ParserOptions
from hashmatch.formats.registry import open_parser
from hashmatch.index.exact_filter import HOLDING_LOCK, ExactFilter
from hashmatch.index.perceptual import indexes
from hashmatch.model.algorithms import Algorithm
from hashmatch.model.clock import SystemClock
from hashmatch.model.opinions import Statement
from hashmatch.store.blocks import PlainBlocks, block_count, pack
from hashmatch.trust.counting import CountingKey, DistinctSketch, NearDuplicates
from hashmatch.trust.floods import FloodLimits, FloodSketch
from hashmatch.trust.sealing import KEY_SIZE, NONCE_SIZE, SealingKey

# Beyond what is handled in few steps, so that the kernels for many are reached too.
_MANY = HOLDING_LOCK + 4_096


@functools.cache
def warm_up() -> None:
    """Run every kernel once on digests made up for it, once in a process."""
    secret = PlacementSecret(1, 2)
    size = Algorithm.SHA256.digest_size
    numbers = np.arange(_MANY * size // 4, dtype=np.uint32)
    digests = numbers.view(np.uint8).reshape(_MANY, size)
    sets = ((), (Statement(),))
    many = make_rows(Algorithm.SHA256, digests, np.ones(_MANY, np.uint32), sets, secret)
    few = many.take(np.arange(64))
    keyed = Rows(few.kind, few.digests, few.placed, few.refs, few.sets, Payloads.of([b"key"] * len(few)))
    overlay([many, keyed], keep_removed=False)
    positions_in(few, many)
    for rows in (few, keyed, many):
        for _, parts in pack(rows, block_count(len(rows))):
            for blocks in (PlainBlocks.of(parts, size), _sealed_and_opened(parts, size)):
                blocks.columns()
                blocks.payloads()
                for asked in (few.digests, _as_arrived(few.digests)):
                    blocks.find(np.zeros(len(asked), np.int64), asked)
    table = ExactFilter(secret, [(0, many.placed)])
    for rows in (many, few):
        for asked in (rows.digests, _as_arrived(rows.digests)):
            table.candidates(asked)
        table.tags(placements(rows.digests, secret))
    for codes in (few.digests, _as_arrived(few.digests)):
        placements_of(Algorithm.PDQ, codes, secret)
    counting = CountingKey(SealingKey(bytes(KEY_SIZE)))
    for rows in (few, many):
        DistinctSketch(counting).add(as_words(rows.digests))
    NearDuplicates(counting).add(as_words(few.digests))
    FloodSketch(counting, FloodLimits(1.0, 1, 1.0), SystemClock()).add(few.digests, np.zeros(64, np.int64), [("list",)])
    for algorithm, make_index in indexes(photodna=True).items():
        # So few that all are compared, and enough for a directory.
        for count in (64, digests.size // algorithm.digest_size):
            values = digests.reshape(-1)[: count * algorithm.digest_size].reshape(count, -1)
            for listed in (values, _as_arrived(values)):
                for asked in (values[:64], _as_arrived(values[:64])):
                    make_index(listed).search(asked, 1, None)
    parser = open_parser("hash-text", ParserOptions())
    for chunk in (*parser.feed(b"00" * size + b"\n"), *parser.finish()):
        del chunk


def _as_arrived(digests: Digests) -> Digests:
    """The same as they come in messages, which cannot be written to: kernels are compiled for that apart."""
    return packed_digests(digests.tobytes(), digests.shape[1])


def _sealed_and_opened(parts: Sequence[bytes], size: int) -> PlainBlocks:
    sealer = SealingKey(bytes(KEY_SIZE)).sealer(b"", b"warm up")
    sealed = [sealer.seal(number.to_bytes(NONCE_SIZE, "big"), part, b"") for number, part in enumerate(parts)]
    opened = sealer.open_many(range(len(parts)), sealed, b"")
    return PlainBlocks(opened.data, opened.starts, size)
