"""Counts what a caller asks about without keeping it: distinct hashes, and perceptual values around one code.

Both are keyed with a secret of the store, so that nobody can make hashes that count for less, and what is counted tells
nothing of a hash.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hashmatch.columns.placement import Words
from hashmatch.trust.counting_kernels import count_around, raise_registers, raise_registers_holding_lock
from hashmatch.trust.sealing import SealingKey

INDEX_BITS = 12
REGISTERS = 1 << INDEX_BITS
"""How many registers a sketch has: its standard error is 1.04 / sqrt(4,096), 1.6 %."""

_BIAS = 0.7213 / (1 + 1.079 / REGISTERS)
# Up to so many hashes are added without letting go of the interpreter's lock: about a tenth of a millisecond.
_HOLDING_LOCK = 16_384
# Below this many times the registers the empty ones tell more.
_SMALL = 2.5

_MASKS = 4
_MASK_BITS = 24
_BUCKETS = 1 << 14
_SEEN_BYTES = (1 << 18) // 8
_CODE_BITS = 256

Registers = npt.NDArray[np.uint8]


class CountingKey:
    """The secret numbers that counting goes by, derived from the store's key, so that all servers count alike."""

    def __init__(self, sealing_key: SealingKey) -> None:
        derived = np.frombuffer(sealing_key.derive(b"", b"budgets"), np.uint64)
        self.first, self.second, seed, _ = derived
        chosen = np.random.default_rng(int(seed))
        masks = np.zeros((_MASKS, _CODE_BITS), np.uint8)
        for mask in masks:
            mask[chosen.choice(_CODE_BITS, _MASK_BITS, replace=False)] = 1
        self.masks: Words = np.packbits(masks, axis=1).view(np.uint32)

    def __repr__(self) -> str:
        return "CountingKey(***)"


class DistinctSketch:
    """About how many distinct hashes were added (HyperLogLog, Flajolet et al. 2007)."""

    def __init__(self, key: CountingKey) -> None:
        self._key = key
        self.registers: Registers = np.zeros(REGISTERS, np.uint8)
        # Those that rose since somebody took note.
        self._raised = np.zeros(REGISTERS, np.bool_)
        self._estimate = 0.0

    def add(self, words: Words) -> None:
        """Add hashes, given by (n, w) of what `placed_by` makes of them."""
        key, add = self._key, raise_registers if len(words) > _HOLDING_LOCK else raise_registers_holding_lock
        if add(words, key.first, key.second, INDEX_BITS, self.registers, self._raised):
            self._estimate = _estimate(self.registers)

    def merge(self, registers: Registers) -> None:
        """Add what another sketch of the same key has: (4096,) uint8."""
        np.maximum(self.registers, registers, out=self.registers)
        self._estimate = _estimate(self.registers)

    def take_raised(self, most: int) -> npt.NDArray[np.int64]:
        """At most so many of the registers that rose and were not taken yet; what cannot be told is put back."""
        taken = np.flatnonzero(self._raised)[:most]
        self._raised[taken] = False
        return taken

    def put_back(self, taken: npt.NDArray[np.int64]) -> None:
        """Let registers be taken again."""
        self._raised[taken] = True

    @property
    def has_raised(self) -> bool:
        """Whether there are registers to take."""
        return bool(self._raised.any())

    @property
    def estimate(self) -> float:
        """About how many distinct hashes were added."""
        return self._estimate


class NearDuplicates:
    """How many distinct PDQ codes around one code were asked about among the last few thousand.

    Codes that differ in few bits agree in those that a mask leaves over, with a likelihood of (1 - distance / 256)^24:
    about one in five at a distance of 16, one in twenty at 31. Of codes that have nothing to do with each other one in
    a thousand windows has a dozen that agree.
    """

    def __init__(self, key: CountingKey) -> None:
        self._key = key
        self._clear()

    def _clear(self) -> None:
        self._seen = np.zeros(_SEEN_BYTES, np.uint8)
        self._counts = np.zeros((_MASKS, _BUCKETS), np.uint16)
        self._counted = 0

    def add(self, words: Words) -> int:
        """Add (n, 8) codes; returns the most around one of them in the window."""
        largest = 0
        # So that a long column does not fill more than a window.
        for low in range(0, len(words), _BUCKETS):
            if self._counted >= _BUCKETS:
                self._clear()
            key = self._key
            new, most = count_around(
                words[low : low + _BUCKETS], key.masks, key.first, key.second, self._seen, self._counts
            )
            self._counted += new
            largest = max(largest, most)
        return largest


def _estimate(registers: Registers) -> float:
    counts = np.bincount(registers, minlength=1)
    raw = _BIAS * REGISTERS**2 / float((counts * 2.0 ** -np.arange(len(counts))).sum())
    if raw <= _SMALL * REGISTERS and counts[0]:
        return float(REGISTERS * np.log(REGISTERS / counts[0]))
    return raw
