"""Which format bytes are in: what the formats say of the beginning of a delivery, in the order of the registry."""

from __future__ import annotations

from hashmatch.formats.delivery import DeliveryError, ParserOptions
from hashmatch.formats.hash_text import HashTextParser
from hashmatch.formats.registry import FORMATS, HEAD_SIZE, Format


def detected_format(head: bytes) -> Format | None:
    """The format of a delivery that begins with `head` (HEAD_SIZE bytes of it, or all of it), not in a container.

    None if no format recognises it. A table that needs a profile is never recognised; one whose first column is a
    hash reads as hash text.
    """
    for each in FORMATS.values():
        if each.recognises is not None and each.recognises(head[:HEAD_SIZE]):
            return each
    return FORMATS["hash-text"] if _is_hash_text(head[:HEAD_SIZE]) else None


def _is_hash_text(head: bytes) -> bool:
    """Whether more lines than not are hashes."""
    parser = HashTextParser(ParserOptions())
    if len(head) == HEAD_SIZE:
        head = head[: head.rfind(b"\n") + 1]
    try:
        for _ in parser.feed(head):
            pass
        for _ in parser.finish():
            pass
    except DeliveryError:
        return False
    return parser.tally.read > 2 * parser.tally.quarantined.total()
