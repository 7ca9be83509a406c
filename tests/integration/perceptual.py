"""Deliveries of perceptual values, and values that lie close to them."""

from __future__ import annotations

PROFILE = """
layout = "tsv"
header = false
short_rows = "blank"
key = [1]
deleted = { column = 2 }
[[hash]]
column = 3
algorithm = "pdq"
[[hash]]
column = 4
algorithm = "photodna"
"""


def apart(code: bytes, bits: int) -> bytes:
    """The code with its first `bits` bits flipped."""
    return (int.from_bytes(code) ^ ((1 << bits) - 1) << (8 * len(code) - bits)).to_bytes(len(code))


def row(key: str, pdq: bytes = b"", photodna: bytes = b"", *, removed: bool = False) -> str:
    return "\t".join((key, "yes" if removed else "no", pdq.hex(), photodna.hex())) + "\n"
