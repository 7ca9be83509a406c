"""Who may ask what, and how much of it: what a policy says of one client, in types that matching can go by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

from hashmatch.model.algorithms import Algorithm
from hashmatch.model.lists import ListDefinition, ListNature


class Permission(NamedTuple):
    """What a caller may see. None stands for everything; whatever is not named does not exist for the caller.

    `distances` says whether distances are told, `full_opinions` whether labels, source keys and what follows from them
    are, `feedback` whether what callers said of matches is. `since_epoch` is the epoch from which the caller may see
    this much: nothing counts as visible to it before.
    """

    lists: frozenset[str] | None = None
    natures: frozenset[ListNature] | None = None
    algorithms: frozenset[Algorithm] | None = None
    jurisdictions: frozenset[str] | None = None
    distances: bool = True
    full_opinions: bool = True
    feedback: bool = True
    since_epoch: int = 0

    @property
    def is_unrestricted(self) -> bool:
        """Whether every list may be seen, and always could."""
        return self[:4] == (None, None, None, None) and not self.since_epoch

    def sees(self, definition: ListDefinition) -> bool:
        """Whether the caller may know of a list."""
        return (
            (self.lists is None or definition.list_id in self.lists)
            and (self.natures is None or definition.nature in self.natures)
            and (self.jurisdictions is None or definition.jurisdiction in self.jurisdictions)
        )

    def sees_algorithm(self, algorithm: int) -> bool:
        """Whether the caller may ask about, and be told of, hashes of an algorithm."""
        return self.algorithms is None or algorithm in self.algorithms


UNRESTRICTED = Permission()


# The names of budgets, in errors and metrics.
RATE, DISTINCT, HITS, PROBING = "hashes-per-second", "distinct-hashes-per-day", "hits-per-day", "near-duplicates"
BUDGETS = (RATE, DISTINCT, HITS, PROBING)


@dataclass(frozen=True, slots=True)
class Budget:
    """How much a client may ask for, all servers together; None for no limit. Days are those of UTC.

    `burst` is how many hashes it may ask about at once after it was silent. `near_duplicates` is how many distinct
    perceptual values around one code may come among a few thousand before they are taken for probing.
    """

    hashes_per_second: float | None = None
    burst: int | None = None
    distinct_hashes_per_day: int | None = None
    hits_per_day: int | None = None
    near_duplicates: int | None = None

    @property
    def is_unlimited(self) -> bool:
        """Whether nothing has to be counted."""
        return self == _UNLIMITED


_UNLIMITED = Budget()


@dataclass(frozen=True, slots=True)
class Client:
    """One client of a policy: who it is, what it may see, for which purposes, how much, and when.

    `not_before` and `not_after` are in seconds since 1970, None for always.
    """

    name: str
    identities: tuple[str, ...]
    permission: Permission
    purposes: frozenset[str] = frozenset()
    budget: Budget = _UNLIMITED
    not_before: float | None = None
    not_after: float | None = None

    def is_valid(self, now: float) -> bool:
        """Whether it may ask at `now`."""
        return (self.not_before is None or now >= self.not_before) and (self.not_after is None or now < self.not_after)


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy: its version, and its clients by name. Who is not in it may ask nothing."""

    version: int
    clients: Mapping[str, Client]
    by_identity: Mapping[str, Client]

    @classmethod
    def of(cls, version: int, clients: Mapping[str, Client]) -> Policy:
        """A policy of these clients, no two of which have an identity in common."""
        by_identity = {identity: client for client in clients.values() for identity in client.identities}
        return cls(version, MappingProxyType(dict(clients)), MappingProxyType(by_identity))
