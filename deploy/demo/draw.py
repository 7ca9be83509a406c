"""Draws the pictures of the demonstration: `python -m deploy.demo.draw DIRECTORY`. Needs nothing but Python."""

from __future__ import annotations

import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

_SIZE = 64
_GREYS = 256

# From a place in the picture to a grey.
Drawing = Callable[[int, int], int]

DRAWINGS: dict[str, Drawing] = {
    "rings.png": lambda x, y: ((x - 32) ** 2 + (y - 32) ** 2) // 8 % _GREYS,
    "stripes.png": lambda x, y: 255 * ((x + y) // 8 % 2),
    "chequers.png": lambda x, y: 255 * ((x // 8 + y // 8) % 2),
    "weave.png": lambda x, y: (x ^ y) * 4,
    "slope.png": lambda x, y: (x + y) * 2,
    "waves.png": lambda x, y: (x * x // 9 + y * 5) % _GREYS,
}


def png(drawing: Drawing) -> bytes:
    """A grey PNG of a drawing."""
    rows = b"".join(b"\0" + bytes(drawing(x, y) for x in range(_SIZE)) for y in range(_SIZE))
    header = struct.pack(">IIBBBBB", _SIZE, _SIZE, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def main() -> None:
    """Write every picture into the directory that is named."""
    directory = Path(sys.argv[1])
    for name, drawing in DRAWINGS.items():
        (directory / name).write_bytes(png(drawing))


if __name__ == "__main__":
    main()
