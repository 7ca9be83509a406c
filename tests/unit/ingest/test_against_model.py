"""Deliveries, against a model of a list that is nothing but a dictionary of entries.

The real side runs whole: a parser, staging, approval and publication over a real Valkey, then answers from a snapshot.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

import redis
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from hashmatch.ingest.acts import Acts
from hashmatch.ingest.compaction import Collector, Compactor
from hashmatch.ingest.publisher import Publisher
from hashmatch.ingest.staging import Stager
from hashmatch.model.algorithms import Algorithm
from hashmatch.model.vetting import DeliveryMode, VettingPolicy
from hashmatch.store.store import Store
from tests.support.clock import ManualClock
from tests.support.memory import MemoryAudit, MemoryFloor
from tests.support.office import ACTOR, PROFILE, UNKEYED_PROFILE, Office, row

FULL, INCREMENTAL = DeliveryMode.FULL, DeliveryMode.INCREMENTAL
MD5, SHA256 = int(Algorithm.MD5), int(Algorithm.SHA256)
DIGESTS = [(MD5, bytes([number]) + b"x" * 15) for number in range(5)]
DIGESTS += [(SHA256, bytes([number]) + b"x" * 31) for number in range(2)]


class Record(NamedTuple):
    """A record of a delivery."""

    key: str
    label: str
    places: tuple[tuple[int, bytes], ...]
    removed: bool = False

    def text(self) -> str:
        """The record as a row."""
        digests = {("md5" if algorithm == MD5 else "sha256"): digest for algorithm, digest in self.places}
        return row(key=self.key, label=self.label, removed=self.removed, **digests)


# An opinion: the label and the key of its entry, "" for an entry without one.
Said = tuple[str, str]
Place = tuple[int, bytes]


@dataclass
class Model:
    """What a list says: for each hash the opinions on it, each with the generation in which it first appeared."""

    held: dict[Place, dict[Said, int]] = field(default_factory=dict)

    def deliver(self, records: list[Record], mode: DeliveryMode, generation: int) -> None:
        """Take a delivery in, record by record."""
        standing: dict[str, Record] = {}
        loose: dict[Place, set[str]] = {}
        taken_off: set[Place] = set()
        for record in records:
            if record.key:
                standing.pop(record.key, None)
                standing[record.key] = record
            elif record.removed:
                for place in record.places:
                    loose.pop(place, None)
                    taken_off.add(place)
            else:
                for place in record.places:
                    loose.setdefault(place, set()).add(record.label)
        new: dict[Place, set[Said]] = {place: {(label, "") for label in labels} for place, labels in loose.items()}
        for record in standing.values():
            for place in () if record.removed else record.places:
                new.setdefault(place, set()).add((record.label, record.key))
        old = self.held
        self.held = {}
        for place in old.keys() | new.keys():
            said = set(new.get(place, ()))
            if mode is INCREMENTAL:
                said |= {
                    (label, key)
                    for label, key in old.get(place, ())
                    if (key not in standing if key else place not in loose and place not in taken_off)
                }
            if said:
                # A statement is the same one whatever entry makes it.
                first = {}
                for (label, _), since in old.get(place, {}).items():
                    first[label] = min(since, first.get(label, since))
                self.held[place] = {(label, key): first.get(label, generation) for label, key in said}

    def withdraw(self, places: list[Place], keys: list[str]) -> None:
        """Take hashes with all that is said of them, and entries by key, off the list."""
        for place in list(self.held):
            kept = {said: since for said, since in self.held[place].items() if said[1] not in keys}
            self.held[place] = {} if place in places else kept
            if not self.held[place]:
                del self.held[place]


@st.composite
def records(draw, *, keyed: bool, removals: bool):
    """Some records, such as one profile can read: all with keys or none."""
    many = []
    for _ in range(draw(st.integers(1, 6))):
        removed = removals and draw(st.booleans())
        md5 = draw(st.lists(st.sampled_from(DIGESTS[:5]), max_size=1))
        sha256 = draw(st.lists(st.sampled_from(DIGESTS[5:]), max_size=1))
        places = tuple([*md5, *sha256] or [DIGESTS[0]])
        key = draw(st.sampled_from(["k1", "k2", "k3"])) if keyed else ""
        many.append(Record(key, draw(st.sampled_from(["a", "b"])), places, removed))
    return many


@st.composite
def rounds(draw, *, keyed: st.SearchStrategy[bool]):
    """What happens to a list, one act after the other."""
    acts = []
    for _ in range(draw(st.integers(1, 5))):
        kind = draw(st.sampled_from(["full", "incremental", "incremental", "withdraw", "compact"]))
        if kind == "compact":
            acts.append((kind, None, None))
        elif kind == "withdraw":
            places = draw(st.lists(st.sampled_from(DIGESTS), max_size=2, unique=True))
            keys = draw(st.lists(st.sampled_from(["k1", "k2", "k9"]), max_size=2, unique=True))
            acts.append((kind, places or [DIGESTS[0]], keys))
        else:
            has_keys = draw(keyed)
            acts.append((kind, draw(records(keyed=has_keys, removals=True)), has_keys))
    return acts


def observed(office: Office) -> dict[Place, dict[Said, int]]:
    """What the list answers when it is asked about every hash that there is."""
    answers = office.ask_items([[place] for place in DIGESTS])
    return {
        place: {
            (opinion.statement.label, opinion.source_key): opinion.statement.since_generation
            for opinion in answer.findings[0].opinions
        }
        for place, answer in zip(DIGESTS, answers, strict=True)
        if answer.findings[0].opinions
    }


def compared(before: dict[Place, dict[Said, int]], after: dict[Place, dict[Said, int]]) -> dict[str, int]:
    """What a report should say of the way from one state to the next."""
    both = before.keys() & after.keys()
    same = sum(before[place] == after[place] for place in both)
    return {
        "added": len(after.keys() - before.keys()),
        "removed": len(before.keys() - after.keys()),
        "changed": len(both) - same,
        "unchanged": same,
    }


def fresh_office(store: Store, valkey: redis.Redis) -> tuple[Office, Compactor, Collector]:
    """A newly emptied store with one list."""
    valkey.flushall()
    clock, policy = ManualClock(), VettingPolicy()
    publisher = Publisher(Acts(store, clock, policy, MemoryAudit(), MemoryFloor()))
    office = Office(store, clock, publisher, Stager(store, clock, policy))
    office.define()
    return office, Compactor(store, clock, publisher), Collector(store, clock, grace_seconds=0.0)


def play(store: Store, valkey: redis.Redis, acts) -> None:
    """Do the same to a list and to the model, and compare them after each act."""
    office, compactor, collector = fresh_office(store, valkey)
    model = Model()
    for kind, what, detail in acts:
        office.clock.advance(1.0)
        before = {place: dict(said) for place, said in model.held.items()}
        state = office.manifest().lists["list"]
        if kind == "compact":
            compactor.compact()
            collector.collect()
        elif kind == "withdraw":
            if state.generation is None:
                continue
            generation, _, removed, _ = office.publisher.withdraw_entries("list", what, detail, ACTOR, "a reason")
            model.withdraw(what, detail)
            assert removed == compared(before, model.held)["removed"]
            assert generation.counts == Counter(algorithm for algorithm, _ in model.held)
        else:
            mode = FULL if kind == "full" else INCREMENTAL
            text = "".join(record.text() for record in what)
            staging = office.stage(text, mode=mode, profile=PROFILE if detail else UNKEYED_PROFILE)
            model.deliver(what, mode, state.last_number + 1)
            report = staging.report
            assert report.read == report.stored + report.duplicates + report.quarantined + report.removals
            assert report.records == len(what)
            assert report.counts == Counter(algorithm for algorithm, _ in model.held)
            expected = compared(before, model.held)
            seen = {name: getattr(report, name) for name in expected}
            if mode is INCREMENTAL:
                # What the delivery does not touch is not compared.
                assert seen.pop("unchanged") <= expected.pop("unchanged")
            assert seen == expected
            # Nothing is visible before it is published.
            assert observed(office) == before
            office.publish(staging)
        if office.manifest().lists["list"].generation is not None:
            assert observed(office) == model.held


thorough = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@thorough
@given(rounds(keyed=st.just(False)))
def test_a_list_without_keys_says_what_the_model_says(store: Store, valkey: redis.Redis, acts):
    play(store, valkey, acts)


@thorough
@given(rounds(keyed=st.just(True)))
def test_a_list_with_keys_says_what_the_model_says(store: Store, valkey: redis.Redis, acts):
    play(store, valkey, acts)


def keyed(*records: Record):
    return "incremental", list(records), True


def unkeyed(*records: Record):
    return "incremental", list(records), False


X = (DIGESTS[0],)


@thorough
@given(rounds(keyed=st.booleans()))
# What a record without a key said of a hash stands until another one without a key says something else, or removes it.
@example([keyed(Record("k1", "a", X)), unkeyed(Record("", "a", X)), unkeyed(Record("", "b", X))])
@example([keyed(Record("k1", "a", X)), unkeyed(Record("", "a", X)), unkeyed(Record("", "", X, removed=True))])
@example([unkeyed(Record("", "a", X)), keyed(Record("k1", "b", X)), keyed(Record("k1", "", X, removed=True))])
def test_a_list_of_both_says_what_the_model_says(store: Store, valkey: redis.Redis, acts):
    play(store, valkey, acts)
