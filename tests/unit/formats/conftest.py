"""What the tests of the formats share: reading a delivery whole, in pieces, or with small blocks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import pytest

from hashmatch.formats import _text
from hashmatch.formats.columns_profile import ColumnsParser
from hashmatch.formats.delivery import Chunk, DeliveryError, DeliveryParser, KeyedRecord, ParserOptions, Tally
from hashmatch.model.opinions import Statement


@dataclass
class Reading:
    """All that a delivery came to. Fingerprints are (algorithm, hex, statement, record or None)."""

    added: list[tuple[str, str, Statement, int | None]] = field(default_factory=list)
    removed: list[tuple[str, str, Statement, int | None]] = field(default_factory=list)
    keyed: list[KeyedRecord] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)
    error: str = ""
    chunks: list[Chunk] = field(default_factory=list)

    def outcome(self):
        """What must not depend on how the bytes were cut."""
        if self.error:
            return self.error
        return sorted(self.added, key=str), sorted(self.removed, key=str), self.keyed, self.tally

    def check_sound(self) -> None:
        """Raise unless the columns keep their contract and the counts reconcile."""
        if self.error:
            return
        for chunk in self.chunks:
            for column in chunk.columns:
                assert column.digests.dtype == np.uint8
                assert column.digests.flags.c_contiguous
                assert column.digests.base is None or column.digests.base.flags.owndata
                assert column.digests.shape == (len(column.digests), column.algorithm.digest_size)
                if column.records is not None:
                    assert column.records.dtype == np.uint64
                    assert np.all(column.records[1:] >= column.records[:-1])
        tally = self.tally
        assert tally.read == len(self.added) + tally.quarantined.total() + tally.removals
        assert all(1 <= len(lines) <= 10 and lines == sorted(lines) for lines in tally.examples.values())
        assert tally.examples.keys() == tally.quarantined.keys()


def _read(parser: DeliveryParser, pieces: Iterable[bytes]) -> Reading:
    reading = Reading(tally=parser.tally)

    def take(chunk: Chunk) -> None:
        reading.chunks.append(chunk)
        reading.keyed += chunk.keyed
        for column in chunk.columns:
            numbers = column.statements
            for row, digest in enumerate(column.digests):
                statement = parser.statements[numbers if isinstance(numbers, int) else int(numbers[row])]
                record = None if column.records is None else int(column.records[row])
                fingerprint = (column.algorithm.name, digest.tobytes().hex(), statement, record)
                (reading.removed if column.removal else reading.added).append(fingerprint)

    try:
        for piece in pieces:
            for chunk in parser.feed(piece):
                take(chunk)
        for chunk in parser.finish():
            take(chunk)
    except DeliveryError as error:
        reading.error = str(error)
    reading.check_sound()
    return reading


@pytest.fixture(scope="session")
def read():
    """Read a delivery, given in pieces, with a parser."""
    return _read


@pytest.fixture(scope="session")
def read_cut():
    """Read `data` with a new parser, cut at `cuts` and without putting small pieces together first."""

    def read_cut(parser: DeliveryParser, data: bytes, cuts: Iterable[int]) -> Reading:
        edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_text, "BLOCK_SIZE", 1)
            return _read(parser, [data[start:end] for start, end in pairwise(edges)])

    return read_cut


@pytest.fixture(scope="session")
def read_table():
    """Read a table by a profile, which is stated without its layout."""

    def read_table(profile, *pieces, layout="csv", limits=None, options=None):
        options = options or {}
        parser = ColumnsParser(ParserOptions(profile=f'layout = "{layout}"\n{profile}', **options), limits)
        return _read(parser, [p.encode() if isinstance(p, str) else p for p in pieces])

    return read_table
