"""Numbers the distinct combinations of what lists hold, so that a batch full of hits costs no object per hit."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hashmatch.matching.findings import Holding
from hashmatch.store.suppressions import Suppression

Positions = npt.NDArray[np.int64]


class Combination(NamedTuple):
    """What the lists hold of a hash, and the suppression upon it."""

    holdings: tuple[Holding, ...] = ()
    suppression: Suppression | None = None


class Combinations:
    """The combination of each of (n,) candidates; at first no list holds any of them."""

    def __init__(self, candidates: int) -> None:
        self._numbers: Positions = np.zeros(candidates, np.int64)
        self._members: list[Combination] = [Combination()]

    @property
    def held(self) -> Positions:
        """The candidates that some list holds, or holds unreadably: ascending."""
        return np.flatnonzero(self._numbers)

    def add(self, positions: Positions, codes: Positions, holding: Callable[[int], Holding]) -> None:
        """Say what one more list holds: for each of `positions` a code, which `holding` turns into what it means."""
        if not len(positions):
            return
        known_codes, code_numbers = np.unique(codes, return_inverse=True)
        pairs = self._numbers[positions] * len(known_codes) + code_numbers
        distinct, inverse = np.unique(pairs, return_inverse=True)
        meanings = [holding(code) for code in known_codes.tolist()]
        base = len(self._members)
        for pair in distinct.tolist():
            number, code = divmod(pair, len(known_codes))
            before = self._members[number]
            self._members.append(before._replace(holdings=(*before.holdings, meanings[code])))
        self._numbers[positions] = base + inverse

    def suppress(self, find: Callable[[int], Suppression | None]) -> None:
        """Give each held candidate that `find` knows a suppression of, by its position, a combination with it."""
        for position in self.held.tolist():
            suppression = find(position)
            if suppression is not None:
                self._members.append(self._members[self._numbers[position]]._replace(suppression=suppression))
                self._numbers[position] = len(self._members) - 1

    def result(self, *, separate: bool) -> tuple[list[Combination], Positions]:
        """The combinations in use, and for each of `held` the index of its own; one apiece if `separate`."""
        numbers = self._numbers[self.held]
        if separate:
            return [self._members[number] for number in numbers.tolist()], np.arange(len(numbers))
        used, inverse = np.unique(numbers, return_inverse=True)
        return [self._members[number] for number in used.tolist()], inverse
