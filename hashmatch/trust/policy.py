"""The policy document: TOML that says which client may see what. Text in, a policy out, or everything it lacks.

Nothing is granted by leaving something out: lists, natures, algorithms and jurisdictions are stated, `"*"` standing for
all of them. A key that is not known is an error, because a misspelt limit must not mean that there is none.
"""

from __future__ import annotations

import datetime
import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from hashmatch.model.access import Budget, Client, Permission, Policy
from hashmatch.model.algorithms import Algorithm
from hashmatch.model.lists import LIST_ID_PATTERN, ListNature
from hashmatch.model.prepared import prepared

MAXIMUM_DOCUMENT = 256 * 1024
MAXIMUM_CLIENTS = 1_000
EVERYTHING = "*"

# Names stand in metrics, logs and keys: bounded, and without room for a digest.
_NAME = re.compile(r"(?![a-z0-9._-]*[0-9a-f]{32})[a-z0-9][a-z0-9._-]{0,62}")
_ALGORITHMS = {each.name.lower(): each for each in Algorithm}
_NATURES = {each.title: each for each in ListNature}
_Amount = Annotated[int, Meta(ge=1, le=1 << 53)]


class PolicyError(Exception):
    """A document that is no policy. `problems` has one line each, with its place."""

    def __init__(self, *problems: str) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class _Section(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class _BudgetSection(_Section, frozen=True, kw_only=True):
    hashes_per_second: Annotated[float, Meta(gt=0, le=1e12)] | None = None
    burst: _Amount | None = None
    distinct_hashes_per_day: _Amount | None = None
    hits_per_day: _Amount | None = None
    near_duplicates: Annotated[int, Meta(ge=10, le=10_000)] | None = None


class _ClientSection(_Section, frozen=True, kw_only=True):
    identities: Annotated[tuple[Annotated[str, Meta(min_length=1, max_length=256)], ...], Meta(min_length=1)]
    lists: Annotated[tuple[str, ...], Meta(min_length=1)]
    natures: Annotated[tuple[str, ...], Meta(min_length=1)]
    algorithms: Annotated[tuple[str, ...], Meta(min_length=1)]
    jurisdictions: Annotated[tuple[str, ...], Meta(min_length=1)]
    distances: bool = False
    opinions: Literal["brief", "full"] = "brief"
    feedback: bool = False
    purposes: tuple[str, ...] = ()
    not_before: datetime.datetime | None = None
    not_after: datetime.datetime | None = None
    budget: _BudgetSection = _BudgetSection()


@prepared
class _Document(_Section, frozen=True, kw_only=True):
    version: Annotated[int, Meta(ge=1, le=1 << 53)]
    clients: dict[str, _ClientSection]


def is_purpose(text: str) -> bool:
    """Whether a text can be the purpose of a question: 1 to 63 characters of a-z 0-9 . _ -, in which no digest is."""
    return _NAME.fullmatch(text) is not None


def parse_policy(document: str, since_epochs: Mapping[str, int] | None = None) -> Policy:
    """The policy that a document states. Raises `PolicyError`.

    `since_epochs` has, for each client, the epoch from which it may see what it may see; by default always.
    """
    if len(document.encode("utf-8", errors="replace")) > MAXIMUM_DOCUMENT:
        raise PolicyError(f"the document has more than {MAXIMUM_DOCUMENT // 1024} KiB")
    try:
        stated = msgspec.convert(tomllib.loads(document), _Document)
    except tomllib.TOMLDecodeError as error:
        raise PolicyError(f"is not TOML: {error}") from None
    except RecursionError:
        raise PolicyError("is not TOML: values lie in values without end") from None
    except msgspec.ValidationError as error:
        raise PolicyError(str(error)) from None
    found = tuple(_problems(stated))
    if found:
        raise PolicyError(*found)
    epochs = since_epochs or {}
    clients = {name: _client(name, section, epochs.get(name, 0)) for name, section in stated.clients.items()}
    return Policy.of(stated.version, clients)


def _problems(document: _Document) -> Iterator[str]:
    if len(document.clients) > MAXIMUM_CLIENTS:
        yield f"clients: at most {MAXIMUM_CLIENTS}"
    owners: dict[str, str] = {}
    for name, section in document.clients.items():
        place = f"clients.{name[:63]}"
        if not _NAME.fullmatch(name):
            yield f"{place}: a name has 1 to 63 characters of a-z 0-9 . _ -, and starts with a letter or digit"
        for identity in section.identities:
            if not (identity.isascii() and identity.isprintable()) or " " in identity:
                yield f"{place}.identities: printable characters without spaces"
            owner = owners.setdefault(identity, name)
            if owner != name:
                yield f"{place}.identities: {identity} belongs to {owner} already"
        yield from _unknown(place, "natures", section.natures, _NATURES)
        yield from _unknown(place, "algorithms", section.algorithms, _ALGORITHMS)
        if not all(each == EVERYTHING or LIST_ID_PATTERN.fullmatch(each) for each in section.lists):
            yield f"{place}.lists: not the id of a list"
        for field in ("lists", "natures", "algorithms", "jurisdictions"):
            values = getattr(section, field)
            if EVERYTHING in values and len(values) > 1:
                yield f'{place}.{field}: "{EVERYTHING}" stands alone'
        if not all(map(is_purpose, section.purposes)):
            yield f"{place}.purposes: a purpose has 1 to 63 characters of a-z 0-9 . _ -"
        yield from _validity_problems(place, section)
        if section.budget.burst is not None and section.budget.hashes_per_second is None:
            yield f"{place}.budget.burst: is of no use without hashes_per_second"


def _validity_problems(place: str, section: _ClientSection) -> Iterator[str]:
    before, after = section.not_before, section.not_after
    for field, moment in (("not_before", before), ("not_after", after)):
        if moment is not None and moment.tzinfo is None:
            yield f"{place}.{field}: state the time zone, for example 2027-01-01T00:00:00Z"
            return
    if before and after and not before < after:
        yield f"{place}.not_after: must be later than not_before"


def _unknown(place: str, field: str, values: tuple[str, ...], known: Mapping[str, object]) -> Iterator[str]:
    if not all(value == EVERYTHING or value in known for value in values):
        yield f"{place}.{field}: expected {', '.join(known)} or {EVERYTHING}"


def _client(name: str, section: _ClientSection, since_epoch: int) -> Client:
    permission = Permission(
        lists=None if EVERYTHING in section.lists else frozenset(section.lists),
        natures=None if EVERYTHING in section.natures else frozenset(map(_NATURES.__getitem__, section.natures)),
        algorithms=(
            None if EVERYTHING in section.algorithms else frozenset(map(_ALGORITHMS.__getitem__, section.algorithms))
        ),
        jurisdictions=None if EVERYTHING in section.jurisdictions else frozenset(section.jurisdictions),
        distances=section.distances,
        full_opinions=section.opinions == "full",
        feedback=section.feedback,
        since_epoch=since_epoch,
    )
    budget = section.budget
    return Client(
        name=name,
        identities=section.identities,
        permission=permission,
        purposes=frozenset(section.purposes),
        budget=Budget(
            hashes_per_second=budget.hashes_per_second,
            burst=budget.burst,
            distinct_hashes_per_day=budget.distinct_hashes_per_day,
            hits_per_day=budget.hits_per_day,
            near_duplicates=budget.near_duplicates,
        ),
        not_before=None if section.not_before is None else section.not_before.timestamp(),
        not_after=None if section.not_after is None else section.not_after.timestamp(),
    )
