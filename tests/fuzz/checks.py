"""What has to hold of every input, however damaged: what the parsers promise, and what a fuzzer asks of them."""

from __future__ import annotations

import re
import resource
import zlib
from collections.abc import Callable, Iterable

from hashmatch.formats.containers import ExpansionLimits, OpenedParser
from hashmatch.formats.delivery import DeliveryError, DeliveryParser, Tally
from hashmatch.formats.detection import detected_format
from hashmatch.formats.registry import FORMATS, open_parser
from tests.support.deliveries import contained, deliveries

CONTAINERS = "containers"
TARGETS = (*FORMATS, CONTAINERS)
# Beyond what the process took when it had read the first input.
MEMORY = 512 << 20
# So small that whoever expands without an end is caught within a second.
_EXPANSION = ExpansionLimits(size=8 << 20, floor=1 << 20)

_DIGEST = re.compile("[0-9a-fA-F]{32}")

# What came of a reading: fingerprints by algorithm, those that remove too, keyed records, and the counts; None if it
# was refused. Why it was is not compared: expat tells an encoding by as many bytes as it gets at first.
Outcome = tuple[dict[tuple[str, bool], bytes], list[object], Tally] | None


class Check:
    """Reads one input after the other as the format `target`, or as what is in containers."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._floor = 0
        self.seeds, options = deliveries("hash-text" if target == CONTAINERS else target)
        if target == CONTAINERS:
            self.seeds = [each for seed in self.seeds for each in contained(seed)]
        self._open: Callable[[], DeliveryParser] = (
            (lambda: OpenedParser(open_parser("hash-text", options), _EXPANSION))
            if target == CONTAINERS
            else (lambda: open_parser(target, options))
        )

    def __call__(self, data: bytes) -> None:
        """Raise unless everything holds for this input."""
        detected_format(data)
        whole = read(self._open(), [data])
        cut = zlib.crc32(data) % (len(data) + 1)
        if read(self._open(), [data[:cut], data[cut:]]) != whole:
            raise AssertionError("where it is cut makes a difference")
        peak = _peak()
        self._floor = self._floor or peak
        if peak > self._floor + MEMORY:
            raise AssertionError("it takes too much memory")


def _peak() -> int:
    """The most memory, in bytes, that the process has taken so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def read(parser: DeliveryParser, pieces: Iterable[bytes]) -> Outcome:
    """What comes of a delivery, checked. Raises whatever a parser raises that is no `DeliveryError`."""
    digests: dict[tuple[str, bool], bytes] = {}
    keyed: list[object] = []
    added = 0
    try:
        for chunks in (*map(parser.feed, pieces), parser.finish()):
            for chunk in chunks:
                keyed += chunk.keyed
                for column in chunk.columns:
                    kind = column.algorithm.name, column.removal
                    digests[kind] = digests.get(kind, b"") + column.digests.tobytes()
                    added += 0 if column.removal else len(column.digests)
                    numbers = column.statements
                    highest = numbers if isinstance(numbers, int) else int(numbers.max(initial=0))
                    if highest >= len(parser.statements):
                        raise AssertionError("a statement is referred to that is not there")
    except DeliveryError as error:
        if _DIGEST.search(str(error)):
            raise AssertionError("an error says a digest") from None
        return None
    tally = parser.tally
    if tally.read != added + tally.quarantined.total() + tally.removals:
        raise AssertionError("the counts do not reconcile")
    return digests, keyed, tally
