"""Memory that processes share: an object is written once, its arrays in it are mapped by whoever gets the descriptor.

It has no name in any file system, so nothing of it is left behind on a disk or by a crash: the kernel frees it with the
last process that holds it. Before it is handed out it is sealed, so that nobody can change it any more.

Objects go through pickle, whose protocol 5 leaves arrays out of the stream: they lie beside it, each on a page or cache
line of its own, and are never copied again. Pickle runs what it reads, so memory is taken from processes of this same
server alone, over sockets that they inherited.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import mmap
import os
import pickle
import struct
from collections.abc import Callable, Iterator
from typing import Any

# Tables begin on a huge page, which the system uses where /sys/kernel/mm/transparent_hugepage/shmem_enabled allows it;
# what is smaller than that begins on a cache line.
_HUGE_PAGE, _CACHE_LINE = 2 << 20, 64
# How many parts there are, the pickle and then the arrays; the start and the length of each follow.
_COUNT = struct.Struct("<Q")
_PLACE = struct.Struct("<QQ")
_SEALS = ("F_SEAL_SHRINK", "F_SEAL_GROW", "F_SEAL_WRITE", "F_SEAL_SEAL")
# Reads every page in, and copies none (Linux 5.14): a question is not to wait for it.
_POPULATE_READ = 22

# What stands for an object in the stream, None for one that is written itself; and the way back.
Reference = Callable[[Any], Any]
Resolve = Callable[[Any], Any]


class Memory:
    """A descriptor of shared memory, closed with the last reference to it. What is mapped stays mapped."""

    def __init__(self, descriptor: int) -> None:
        """Takes over the descriptor."""
        self.descriptor = descriptor

    def __del__(self) -> None:
        with contextlib.suppress(OSError):
            os.close(self.descriptor)

    @property
    def size(self) -> int:
        """In bytes."""
        return os.fstat(self.descriptor).st_size


class Written:
    """An object in its written form: a pickle, and the arrays that it leaves out."""

    def __init__(self, value: object, reference: Reference) -> None:
        """`reference` is asked about every object on the way."""
        stream = io.BytesIO()
        left_out: list[pickle.PickleBuffer] = []
        _Pickler(stream, reference, left_out.append).dump(value)
        self._parts = [stream.getbuffer(), *(each.raw() for each in left_out)]

    @property
    def nbytes(self) -> int:
        """How much it is."""
        return sum(part.nbytes for part in self._parts)

    def to_memory(self) -> Memory:
        """Put it into sealed memory. Raises `OSError` if there is not enough."""
        places = list(self._places())
        memory = Memory(os.memfd_create("hashmatch", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING))
        # A file cannot be mapped that has nothing in it.
        size = places[-1][0] + places[-1][1] + 1
        os.ftruncate(memory.descriptor, size)
        with mmap.mmap(memory.descriptor, size) as mapped:
            _use_huge_pages(mapped)
            _COUNT.pack_into(mapped, 0, len(places))
            for number, (start, length) in enumerate(places):
                _PLACE.pack_into(mapped, _COUNT.size + number * _PLACE.size, start, length)
            for (start, length), part in zip(places, self._parts, strict=True):
                mapped[start : start + length] = part
        fcntl.fcntl(memory.descriptor, fcntl.F_ADD_SEALS, sum(getattr(fcntl, name) for name in _SEALS))
        return memory

    def _places(self) -> Iterator[tuple[int, int]]:
        """Where each of the parts lies: start and length."""
        end = _COUNT.size + len(self._parts) * _PLACE.size
        for part in self._parts:
            unit = _HUGE_PAGE if part.nbytes >= _HUGE_PAGE else _CACHE_LINE
            start = -(-end // unit) * unit
            yield start, part.nbytes
            end = start + part.nbytes


def read_memory(memory: Memory, resolve: Resolve) -> Any:
    """The object that was written; its arrays are the memory itself, which stays as long as one of them does."""
    # A private mapping: pages that nobody writes to are those of all. Compiled code is made for arrays that could be
    # written to, and would be made a second time for others.
    mapped = mmap.mmap(memory.descriptor, memory.size, access=mmap.ACCESS_COPY)
    _use_huge_pages(mapped)
    with contextlib.suppress(OSError):
        mapped.madvise(_POPULATE_READ)
    view = memoryview(mapped)
    (count,) = _COUNT.unpack_from(view)
    places = (_PLACE.unpack_from(view, _COUNT.size + number * _PLACE.size) for number in range(count))
    pickled, *arrays = (view[start : start + length] for start, length in places)
    return _Unpickler(io.BytesIO(pickled), resolve, arrays).load()


class _Pickler(pickle.Pickler):
    def __init__(
        self, stream: io.BytesIO, reference: Reference, leave_out: Callable[[pickle.PickleBuffer], Any]
    ) -> None:
        super().__init__(stream, protocol=5, buffer_callback=leave_out)
        self._reference = reference

    def persistent_id(self, obj: Any) -> Any:
        return self._reference(obj)


class _Unpickler(pickle.Unpickler):
    def __init__(self, stream: io.BytesIO, resolve: Resolve, arrays: list[memoryview]) -> None:
        super().__init__(stream, buffers=arrays)
        self._resolve = resolve

    def persistent_load(self, pid: Any) -> Any:
        return self._resolve(pid)


def _use_huge_pages(mapped: mmap.mmap) -> None:
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):
            mapped.madvise(mmap.MADV_HUGEPAGE)
