"""Types that several threads read.

msgspec (0.22) finds out about a type when it first reads one. If two threads do so at the same moment, one may see what
the other has not finished, and the process ends with a segmentation fault. So whatever a thread may read is prepared
when its module is imported: by a `Decoder` that the module keeps, or by this.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

T = TypeVar("T")


def prepared(kind: type[T]) -> type[T]:
    """Have msgspec find out about a type now. A decorator of classes."""
    msgspec.json.Decoder(kind)
    return kind
