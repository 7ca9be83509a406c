"""Opinions survive: all that an entry says arrives in the answers, for as long as that entry of that source stands.

Two lists with the same keys and hashes, all that a record can say, and every way in which a list changes, against a
dictionary of entries. The real side runs whole over a real Valkey.
"""

from __future__ import annotations

import json
from typing import NamedTuple

import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hashmatch.ingest.acts import Acts
from hashmatch.ingest.compaction import Collector, Compactor
from hashmatch.ingest.publisher import Publisher
from hashmatch.ingest.staging import Stager
from hashmatch.model.algorithms import Algorithm
from hashmatch.model.opinions import Agreement
from hashmatch.model.vetting import DeliveryMode, VettingPolicy
from hashmatch.store.store import Store
from tests.support.clock import ManualClock
from tests.support.memory import MemoryAudit, MemoryFloor
from tests.support.office import ACTOR, Office

FULL, INCREMENTAL = DeliveryMode.FULL, DeliveryMode.INCREMENTAL
LISTS = ("one", "two")
KEYS = ("k1", "k2", "k3")
DIGESTS = tuple(bytes([number]) + b"x" * 15 for number in range(1, 4))
PROFILE = """
layout = "jsonl"
key = ["key"]
label = ["label"]
scheme = "scheme"
jurisdiction = "jurisdiction"
updated_on = { column = "date" }
deleted = { column = "deleted" }
[[flag]]
column = "flags"
separator = ","
[[flag]]
column = "upvoted"
word = "feedback:affirmative"
[[hash]]
column = "md5"
algorithm = "md5"
"""


class Entry(NamedTuple):
    """What a record says of its entry."""

    digest: bytes
    label: str
    scheme: str
    jurisdiction: str
    date: str
    flags: tuple[str, ...]
    upvoted: bool

    @property
    def all_flags(self) -> tuple[str, ...]:
        return (*self.flags, *(["feedback:affirmative"] if self.upvoted else []))

    def text(self, key: str) -> str:
        said = self._asdict() | {"key": key, "md5": self.digest.hex(), "flags": ",".join(self.flags), "deleted": False}
        del said["digest"]
        return json.dumps(said) + "\n"


def withdrawal(key: str) -> str:
    return json.dumps({"key": key, "deleted": True}) + "\n"


entries = st.builds(
    Entry,
    st.sampled_from(DIGESTS),
    st.sampled_from(("A1", "a1", "Ω unbekannt", "0")),
    st.sampled_from(("ncmec", "vics:us", "own")),
    st.sampled_from(("US", "NL", "worldwide")),
    st.sampled_from(("2026-01-14", "2025-12-31", "")),
    st.sets(st.sampled_from(("victim-identified", "series", "generative-ai"))).map(lambda flags: tuple(sorted(flags))),
    st.booleans(),
)
# Several states of one key may come in one delivery: the last one stands. None withdraws the entry.
deliveries = st.lists(st.tuples(st.sampled_from(KEYS), st.none() | entries), min_size=1, max_size=6)
acts = st.lists(
    st.one_of(
        st.tuples(st.just("full"), st.sampled_from(LISTS), deliveries),
        st.tuples(st.just("incremental"), st.sampled_from(LISTS), deliveries),
        st.tuples(st.just("incremental"), st.sampled_from(LISTS), deliveries),
        st.tuples(st.just("withdraw"), st.sampled_from(LISTS), st.sampled_from(KEYS)),
        st.tuples(st.just("roll back"), st.sampled_from(LISTS), st.none()),
        st.tuples(st.just("compact"), st.none(), st.none()),
    ),
    min_size=1,
    max_size=8,
)

Said = tuple[str, str, str, str, str, str, tuple[str, ...]]


def expected(lists: dict[str, dict[str, Entry]], digest: bytes) -> set[Said]:
    return {
        (list_id, key, entry.label, entry.scheme, entry.jurisdiction, entry.date, tuple(sorted(entry.all_flags)))
        for list_id, standing in lists.items()
        for key, entry in standing.items()
        if entry.digest == digest
    }


def answered(office: Office) -> list[tuple[list[Said], Agreement]]:
    answers = office.ask_items([[(Algorithm.MD5, digest)] for digest in DIGESTS])
    return [
        (
            [
                (
                    each.list_id,
                    each.source_key,
                    each.statement.label,
                    each.statement.scheme,
                    each.statement.jurisdiction,
                    each.statement.updated_on,
                    tuple(sorted(each.statement.flags)),
                )
                for each in answer.findings[0].opinions
            ],
            answer.agreement,
        )
        for answer in answers
    ]


def delivered(standing: dict[str, Entry], states: list[tuple[str, Entry | None]], mode: DeliveryMode):
    after = {} if mode is FULL else dict(standing)
    for key, entry in states:
        if entry is None:
            after.pop(key, None)
        else:
            after[key] = entry
    return after


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(played=acts)
def test_every_opinion_stands_as_its_source_last_stated_it(store: Store, valkey: redis.Redis, played):
    valkey.flushall()
    clock, policy = ManualClock(), VettingPolicy()
    publisher = Publisher(Acts(store, clock, policy, MemoryAudit(), MemoryFloor()))
    office = Office(store, clock, publisher, Stager(store, clock, policy))
    compactor, collector = Compactor(store, clock, publisher), Collector(store, clock, grace_seconds=0.0)
    lists: dict[str, dict[str, Entry]] = {list_id: {} for list_id in LISTS}
    earlier: dict[str, list[dict[str, Entry]]] = {list_id: [] for list_id in LISTS}
    for list_id in LISTS:
        office.define(list_id)
    for act, list_id, what in played:
        clock.advance(1.0)
        if act == "compact":
            compactor.compact()
            collector.collect()
            continue
        generation = office.manifest().lists[list_id].generation
        published = generation is not None
        before = lists[list_id]
        if act in ("full", "incremental"):
            mode = FULL if act == "full" else INCREMENTAL
            text = "".join(withdrawal(key) if entry is None else entry.text(key) for key, entry in what)
            office.deliver(text, list_id, mode=mode, profile=PROFILE)
            lists[list_id] = delivered(before, what, mode)
        elif act == "withdraw" and published:
            publisher.withdraw_entries(list_id, [], [what], ACTOR, "the body says so")
            lists[list_id] = {key: entry for key, entry in before.items() if key != what}
            # What the list does not have makes no generation.
            published = office.manifest().lists[list_id].generation != generation
            assert published == (what in before)
        elif act == "roll back" and earlier[list_id]:
            publisher.roll_back(list_id, 0, ACTOR, "why", accept_gates=["withdrawn"])
            lists[list_id] = earlier[list_id][-1]
        else:
            continue
        if published:
            earlier[list_id].append(before)
        for digest, (said, agreement) in zip(DIGESTS, answered(office), strict=True):
            wanted = expected(lists, digest)
            assert sorted(said) == sorted(wanted)
            labels = {(each[3], each[2]) for each in wanted}
            if len(labels) > 1:
                assert agreement is Agreement.DISPUTED
            elif wanted:
                assert agreement is (Agreement.AGREED if len({each[0] for each in wanted}) > 1 else Agreement.SINGLE)
