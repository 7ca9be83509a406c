"""Fuzzes the parser of one format, guided by what its code does with the input: `python -m tests.fuzz.parsers FORMAT`.

Further arguments are libFuzzer's, for example `-runs=100000` or a directory with inputs to begin with. It ends with a
status other than 0, and writes the input to a file, if a parser raises anything but its own error, loses count, gives
back what it should not say, or takes more time or memory than it may. To see such an input again, name its file.
"""

from __future__ import annotations

import pkgutil
import re
import sys
from collections.abc import Iterator

import atheris

import hashmatch.formats

# They are compiled from their bytecode, which instrumentation would change.
_KERNELS = [
    f"hashmatch.formats.{module.name}"
    for module in pkgutil.iter_modules(hashmatch.formats.__path__)
    if "kernel" in module.name
]

with atheris.instrument_imports(include=["hashmatch.formats"], exclude=_KERNELS, enable_loader_override=False):
    from hashmatch.formats.containers import ExpansionLimits, OpenedParser
    from hashmatch.formats.delivery import Chunk, DeliveryError, ParserOptions
    from hashmatch.formats.registry import FORMATS, open_parser

PROFILE = """
layout = "csv"
short_rows = "blank"
key = ["k"]
label = ["l"]
updated_on = { column = "u", formats = ["iso", "unix", "%d.%m.%Y"] }
deleted = { column = "d" }
[[hash]]
column = "h"
algorithm_column = "a"
[[flag]]
column = "f"
separator = ","
"""
# Of an input of some kilobytes no honest container makes more.
_LIMITS = ExpansionLimits(size=1 << 22, floor=1 << 20)
_DIGEST = re.compile("[0-9a-fA-F]{32}")


def pieces(data: bytes) -> Iterator[bytes]:
    """The input, cut as its first byte says, which is left where it is."""
    size = 1 + (data[0] if data else 0)
    return (data[start : start + size] for start in range(0, len(data), size))


def read(name: str, data: bytes) -> None:
    """Read one input, and check what a parser promises."""
    parser = OpenedParser(open_parser(name, ParserOptions("l", "s", "j", PROFILE)), _LIMITS)
    added = 0
    error = ""
    try:
        for piece in pieces(data):
            added += sum(map(_added, parser.feed(piece)))
        added += sum(map(_added, parser.finish()))
    except DeliveryError as refused:
        error = str(refused)
    assert not _DIGEST.search(error), "an error that holds a digest"
    tally = parser.tally
    assert error or tally.read == added + tally.quarantined.total() + tally.removals, "counts that do not reconcile"


def _added(chunk: Chunk) -> int:
    return sum(len(each.digests) for each in chunk.columns if not each.removal)


def main() -> None:
    name = sys.argv.pop(1)
    assert name in FORMATS
    atheris.Setup(sys.argv, lambda data: read(name, data))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
