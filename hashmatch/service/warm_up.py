"""Compiles the kernels before anybody waits for them.

They are compiled once on a machine, which takes about half a minute, and then read from a cache in well under a second.
Without this the first delivery, the first snapshot and the first question would each wait for theirs.
"""

from __future__ import annotations

import numpy as np

from hashmatch.columns.placement import PlacementSecret, as_words, packed_digests, placements, placements_of
from hashmatch.columns.rows import Payloads, Rows, make_rows, overlay, positions_in
from hashmatch.formats.delivery import ParserOptions
from hashmatch.formats.registry import open_parser
from hashmatch.index.exact_filter import HOLDING_LOCK, ExactFilter
from hashmatch.index.perceptual import indexes
from hashmatch.model.algorithms import Algorithm
from hashmatch.model.opinions import Statement
from hashmatch.store.blocks import PlainBlocks, block_count, pack
from hashmatch.trust.counting import CountingKey, DistinctSketch, NearDuplicates
from hashmatch.trust.sealing import KEY_SIZE, SealingKey

# Beyond what is handled in few steps, so that the kernels for many are reached too.
_MANY = HOLDING_LOCK + 4_096


def warm_up() -> None:
    """Run every kernel once on digests made up for it."""
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
    for rows in (few, keyed):
        for _, parts in pack(rows, block_count(len(rows))):
            blocks = PlainBlocks.of(parts, size)
            blocks.columns()
            blocks.payloads()
            blocks.find(np.zeros(len(rows), np.int64), rows.digests)
    table = ExactFilter(secret, [(0, many.placed)])
    for rows in (many, few):
        # What is asked is read where a message has it, and a message cannot be written to.
        table.candidates(packed_digests(rows.digests.tobytes(), size))
        table.tags(placements(rows.digests, secret))
    placements_of(Algorithm.PDQ, few.digests, secret)
    counting = CountingKey(SealingKey(bytes(KEY_SIZE)))
    for rows in (few, many):
        DistinctSketch(counting).add(as_words(rows.digests))
    NearDuplicates(counting).add(as_words(few.digests))
    for algorithm, make_index in indexes(photodna=True).items():
        values = digests.reshape(-1)[: 64 * algorithm.digest_size].reshape(64, -1)
        make_index(values).search(values, 1, None)
    parser = open_parser("hash-text", ParserOptions())
    for chunk in (*parser.feed(b"00" * size + b"\n"), *parser.finish()):
        del chunk
