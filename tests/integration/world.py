"""A real server and the model side by side: every act is done to both, every answer is held against the model's."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import redis

from hashmatch.index import loader
from hashmatch.ingest import compaction
from hashmatch.ingest.acts import Acts
from hashmatch.ingest.compaction import Collector, Compactor
from hashmatch.ingest.publisher import Publisher
from hashmatch.model.errors import ErrorReason
from hashmatch.model.vetting import VettingPolicy
from hashmatch.store.archive import Archive
from hashmatch.store.connection import Connection
from hashmatch.store.embedded import EmbeddedValkey
from hashmatch.store.store import Store
from hashmatch.trust.sealing import load_key_file
from hashmatch.v1 import common_pb2, list_admin_service_pb2, list_service_pb2, match_service_pb2
from tests.integration.errors import refused
from tests.integration.model import (
    Delivery,
    Generation,
    Line,
    ListState,
    Question,
    Scope,
    State,
    agreement_of,
)
from tests.integration.serving import (
    APPROVERS,
    DIGEST_SIZES,
    TIMEOUT,
    Background,
    Client,
    RunningServer,
    ShiftedClock,
    hash_text,
    make_config,
    timestamp,
)
from tests.integration.universe import LISTED, PDQ, UNIVERSE, Place
from tests.integration.waiting import eventually
from tests.integration.world_answers import assert_answer, assert_column, read_reported
from tests.support.memory import MemoryAudit, MemoryFloor

# Time moves in steps of two thirds of it, so that no question is asked near the edge.
MAX_AGE = 3_600.0
STEP = MAX_AGE * 2 / 3
LIST_IDS = ("alpha", "beta", "gamma")

_KEYED_PROFILE = """
layout = "tsv"
header = false
short_rows = "blank"
key = [1]
deleted = { column = 2 }
label = [3]
[[hash]]
column = 4
algorithm = "md5"
[[hash]]
column = 5
algorithm = "sha1"
[[hash]]
column = 6
algorithm = "sha256"
[[hash]]
column = 7
algorithm = "sha512"
[[hash]]
column = 8
algorithm = "pdq"
"""
_UNKEYED_PROFILE = _KEYED_PROFILE.replace("key = [1]\n", "")


# Beside the hashes one by one.
ITEMS = (UNIVERSE[:2], (LISTED[0], LISTED[4]), (UNIVERSE[-1], UNIVERSE[-2]), (LISTED[3], UNIVERSE[-4]))


@contextmanager
def small_limits() -> Iterator[None]:
    """Let small lists take the ways of large ones: blocks are read from the store, and chains are folded early."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loader, "RESIDENT_ROWS", 2)
        patch.setattr(compaction, "MAXIMUM_DELTAS", 2)
        yield


@dataclass(frozen=True)
class Staged:
    """A staging as the model has it."""

    staging: list_admin_service_pb2.Staging
    list_id: str
    base_number: int
    content: frozenset[Line]
    as_of: float


class World:
    """A store, a server upon it, and the model of what was done."""

    def __init__(self, background: Background, directory: Path, **settings: Any) -> None:
        with ExitStack() as stack:
            self.clock = ShiftedClock()
            self.valkey = EmbeddedValkey(directory / "store")
            self.valkey.start()
            stack.callback(self.valkey.stop)
            self._quicken()
            self.data_dir = directory / "data"
            config = make_config(
                self.data_dir,
                self.valkey.url,
                **{
                    "maximum_unconfirmed_seconds": 86_400.0,
                    "retained_generations": 3,
                    "block_cache_bytes": 0,
                    **settings,
                },
            )
            self.server = RunningServer(background, config, self.clock)
            self.client: Client = self.server.start()
            stack.callback(self.server.stop)
            self._ending = stack.pop_all()
        self.states: dict[int, State] = {}
        self.epoch = 0
        self.highest_answered = 0

    def close(self) -> None:
        self._ending.close()

    @property
    def state(self) -> State:
        """The newest."""
        return self.states[self.epoch] if self.states else State()

    def redis(self) -> redis.Redis:
        """A connection of one's own to the store."""
        return redis.Redis.from_url(self.valkey.url)

    def _quicken(self) -> None:
        # An act waits until it is on the disk, which is up to a second with the usual setting.
        with closing(redis.Redis.from_url(self.valkey.url)) as client:
            client.config_set("appendfsync", "always")

    # ---- what is done

    def _done(self, epoch: int, state: State) -> None:
        assert epoch > self.epoch, f"the act made epoch {epoch} after epoch {self.epoch}"
        self.states[epoch] = state.seen_at(epoch)
        self.epoch = epoch

    def _refused(self, reason: ErrorReason, call: Callable[[], Any]) -> None:
        assert refused(call).reason == reason

    def define(self, list_id: str, *, body: str = "", scheme: str = "scheme", nature: int = 1) -> None:
        epoch = self.client.define(
            list_id,
            body=body or f"body of {list_id}",
            scheme=scheme,
            jurisdiction="XX",
            nature=nature,
            max_age=MAX_AGE,
        )
        stated = {"body": body or f"body of {list_id}", "scheme": scheme, "nature": nature}
        known = self.state.lists.get(list_id)
        listed = (
            ListState(list_id, max_age=MAX_AGE, jurisdiction="XX", **stated)
            if known is None
            else replace(known, **stated)
        )
        self._done(epoch, self.state.with_list(listed))

    def stage(self, list_id: str, delivery: Delivery) -> Staged:
        """Stage a delivery; its vetting report must count what the model counts."""
        listed = self.state.lists[list_id]
        as_of = self.clock.now()
        content = delivery.applied_to(listed.content, listed.scheme, listed.jurisdiction)
        staging = self.client.stage(
            _written(delivery),
            list_id,
            mode=list_admin_service_pb2.DELIVERY_MODE_FULL
            if delivery.full
            else list_admin_service_pb2.DELIVERY_MODE_INCREMENTAL,
            as_of=timestamp(as_of),
            **_format(delivery),
        )
        before, after = {line.place for line in listed.content}, {line.place for line in content}
        report = staging.report
        assert {each.algorithm: each.hashes for each in report.counts} == Generation(0, 0, content, {}).counts()
        assert (report.added, report.removed) == (len(after - before), len(before - after))
        assert report.read == report.stored + report.duplicates + report.quarantined + report.removals
        assert all(gate.passed for gate in report.gates if gate.name == "counts-reconcile")
        return Staged(staging, list_id, listed.last_number, content, as_of)

    def publish(self, staged: Staged, *, hurried: bool = False) -> bool:
        """Approve and publish; `hurried` tries too early first. Returns whether the list had not moved on."""
        if hurried:
            self.client.approve(staged.staging, APPROVERS[:1])
            self._refused(ErrorReason.APPROVALS_MISSING, lambda: self.client.publish(staged.staging))
        self.client.approve(staged.staging)
        unmet = [gate.name for gate in staged.staging.report.gates if not gate.passed]
        if hurried and unmet:
            self._refused(ErrorReason.GATE_NOT_MET, lambda: self.client.publish(staged.staging))
        listed = self.state.lists[staged.list_id]
        if listed.last_number != staged.base_number:
            self._refused(ErrorReason.STAGING_OUTDATED, lambda: self.client.publish(staged.staging, accept=unmet))
            return False
        published = self.client.publish(staged.staging, accept=unmet)
        assert published.generation.number == listed.last_number + 1
        self._succeed(published.epoch, listed, staged.content, staged.as_of)
        return True

    def deliver(self, list_id: str, delivery: Delivery) -> None:
        """Stage and publish."""
        assert self.publish(self.stage(list_id, delivery))

    def _succeed(self, epoch: int, listed: ListState, content: frozenset[Line], as_of: float) -> None:
        earlier = listed.generation.first if listed.generation is not None else {}
        pairs = {(line.place, line.said) for line in content}
        first = {pair: earlier.get(pair, epoch) for pair in pairs}
        generation = Generation(listed.last_number + 1, as_of, content, first)
        self._done(epoch, self.state.with_list(listed.succeeded_by(generation)))

    def roll_back(self, list_id: str, steps: int) -> None:
        """Return to the retained generation that lies so many steps back, from 0."""
        listed = self.state.lists[list_id]
        number = listed.retained[steps].number if steps < len(listed.retained) else 1_000_000
        request = list_admin_service_pb2.RollBackRequest(
            list_id=list_id, generation=0 if steps == 0 else number, reason="a test", accept_gates=["withdrawn"]
        )
        if steps >= len(listed.retained):
            self._refused(ErrorReason.GENERATION_NOT_FOUND, lambda: self.client.act("RollBack", request))
            return
        done = self.client.act("RollBack", request)
        target = replace(listed.retained[steps], number=listed.last_number + 1)
        assert done.generation.number == target.number
        after = replace(listed.succeeded_by(target), visible_since=done.epoch)
        self._done(done.epoch, self.state.with_list(after))

    def suppress(self, places: Sequence[Place], list_ids: Sequence[str] = ()) -> None:
        request = list_admin_service_pb2.SuppressRequest(
            hashes=map(_message, places), list_ids=list_ids, reason="a test"
        )
        done = self.client.act("Suppress", request)
        suppressed = dict(self.state.suppressed)
        fresh = 0
        for place in set(places):
            before = suppressed.get(place)
            everywhere = not list_ids or before == frozenset()
            after = frozenset() if everywhere else frozenset(list_ids) | (before or frozenset())
            fresh += after != before
            suppressed[place] = after
        assert done.newly_suppressed == fresh
        self._done(done.epoch, replace(self.state, suppressed=suppressed))

    def lift(self, places: Sequence[Place]) -> None:
        request = list_admin_service_pb2.LiftSuppressionRequest(hashes=map(_message, places), reason="a test")
        done = self.client.act("LiftSuppression", request)
        ended = [place for place in set(places) if place in self.state.suppressed]
        assert done.lifted == len(ended)
        staying = {place: lists for place, lists in self.state.suppressed.items() if place not in ended}
        lifted = {**self.state.lifted, **dict.fromkeys(ended, done.epoch)}
        self._done(done.epoch, replace(self.state, suppressed=staying, lifted=lifted))

    def withdraw_entries(self, list_id: str, places: Sequence[Place] = (), keys: Sequence[str] = ()) -> None:
        request = list_admin_service_pb2.WithdrawEntriesRequest(
            list_id=list_id, hashes=map(_message, places), source_keys=keys, reason="a test"
        )
        listed = self.state.lists[list_id]
        if listed.generation is None:
            self._refused(ErrorReason.GENERATION_NOT_FOUND, lambda: self.client.act("WithdrawEntries", request))
            return
        content = frozenset(
            line for line in listed.content if line.place not in places and (not line.key or line.key not in keys)
        )
        before, after = {line.place for line in listed.content}, {line.place for line in content}
        done = self.client.act("WithdrawEntries", request)
        assert done.removed == len(before - after)
        if not keys:
            assert done.not_listed == len(set(places) - before)
        if done.generation == listed.generation.number:
            # The list has nothing of it: there is no generation that differs.
            assert content == listed.content
            return
        # A key may be known still whose hashes were all withdrawn by themselves.
        assert content != listed.content or keys
        self._succeed(done.epoch, listed, content, listed.generation.as_of)

    def withdraw_list(self, list_id: str) -> None:
        request = list_admin_service_pb2.WithdrawListRequest(list_id=list_id, reason="a test")
        listed = self.state.lists[list_id]
        if listed.generation is None:
            self._refused(ErrorReason.GENERATION_NOT_FOUND, lambda: self.client.act("WithdrawList", request))
            return
        done = self.client.act("WithdrawList", request)
        self._done(done.epoch, self.state.with_list(listed.succeeded_by(None)))

    def advance(self, seconds: float = STEP) -> None:
        self.clock.advance(seconds)

    def restart_server(self) -> None:
        self.client = self.server.restart()

    def restart_store(self, *, crash: bool = False) -> None:
        """Stop and start the store, or kill it first."""
        url = self.valkey.url
        if crash:
            pid = self.valkey.pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            eventually(lambda: not self.valkey.is_running, "the store dies")
            self.valkey.start()
        else:
            self.valkey.restart()
        assert self.valkey.url == url
        self._quicken()

    def compact(self) -> int:
        """Fold chains, as the server does by itself in the background. Returns how many."""
        with closing(self._open_store()) as store:
            acts = Acts(store, self.clock, VettingPolicy(), MemoryAudit(), MemoryFloor())
            return Compactor(store, self.clock, Publisher(acts)).compact()

    def collect(self) -> int:
        """Delete whatever nothing refers to, without the usual grace. Returns how much it was."""
        # By the machine's clock, which is ahead of everything that was noted.
        late = ShiftedClock(shift=10.0)
        with closing(self._open_store()) as store:
            return Collector(store, late, grace_seconds=0.0).collect()

    def _open_store(self) -> Store:
        key = load_key_file(self.data_dir.parent / "sealing.key")
        return Store(Connection(self.valkey.url), key, archive=Archive(self.data_dir / "archive"))

    # ---- what is asked

    def check(self) -> None:
        """Ask about everything under many scopes until the newest epoch answers; every answer must be right."""

        def look() -> bool:
            first = self._check_batch(Scope(), {})
            if first is None or first[0] < self.epoch:
                return False
            epoch, reported = first
            scopes = self._scopes()
            for scope in scopes:
                self._check_batch(scope, reported, epoch)
            self._check_bulk((Scope(), *scopes), reported, epoch)
            self._check_lists()
            return True

        eventually(look, f"epoch {self.epoch} answers")

    def _scopes(self) -> tuple[Scope, ...]:
        """Scopes that look at the newest state from several sides."""
        defined = tuple(self.state.lists)
        recent = sorted(self.states)[-4:]
        scopes = [Scope((list_id,)) for list_id in defined]
        scopes += [Scope(min_sources=2), Scope(min_sources=3), Scope(newer_than_epoch=self.epoch)]
        scopes += [Scope(newer_than_epoch=epoch - 1) for epoch in recent]
        if len(defined) > 1:
            scopes.append(Scope(defined[:2], 2, recent[0] - 1))
            scopes.append(Scope(defined[-2:]))
        return tuple(scopes)

    def _state_at(self, epoch: int) -> State:
        """The state of an epoch. Epochs of which the model knows nothing come from compaction and change nothing."""
        known = [each for each in self.states if each <= epoch]
        return self.states[max(known)] if known else State()

    def _answered(self, snapshot: common_pb2.SnapshotInfo, scope: Scope) -> tuple[State, float]:
        """The state and the moment that an answer was given from, after a look at what it says of them."""
        assert snapshot.epoch >= self.highest_answered, "the epoch went back"
        self.highest_answered = snapshot.epoch
        state = self._state_at(snapshot.epoch)
        now = snapshot.answered_at.ToNanoseconds() / 1e9
        question = Question(state, scope, now, {})
        assert {each.list_id: (each.generation, each.stale, each.nature) for each in snapshot.lists} == {
            list_id: (listed.generation.number, question.is_stale(listed), listed.nature)
            for list_id, listed in question.lists.items()
            if listed.generation is not None
        }
        return state, now

    def _check_batch(
        self, scope: Scope, reported: Mapping[tuple[str, Line], int], epoch: int | None = None
    ) -> tuple[int, dict[tuple[str, Line], int]] | None:
        """Ask about the universe. Returns the epoch and since when each opinion is said to be seen.

        Without `epoch` those are taken from the answer itself and held against the truth; with it the answer is passed
        over if it is of another epoch.
        """
        asked = (*((place,) for place in UNIVERSE), *ITEMS)
        response = self.client.batch(*(map(_message, places) for places in asked), **scope._asdict())
        if not response.HasField("snapshot"):
            assert all(result.verdict == common_pb2.VERDICT_NOT_DETERMINED for result in response.results)
            assert not self.highest_answered, "there was a snapshot before"
            return None
        state, now = self._answered(response.snapshot, scope)
        told = dict(reported)
        if epoch is None:
            told = read_reported(state, response)
        elif epoch != response.snapshot.epoch:
            return None
        question = Question(state, scope, now, told)
        for places, result in zip(asked, response.results, strict=True):
            answers = [question.answer(place) for place in places]
            for place, expected, answer in zip(places, answers, result.hashes, strict=True):
                assert answer.algorithm == place[0]
                assert_answer(expected, answer, scope)
            assert result.verdict == question.item_verdict(places)
            assert result.agreement == agreement_of(opinion for answer in answers for opinion in answer.opinions)
        return response.snapshot.epoch, told

    def _check_bulk(self, scopes: Sequence[Scope], reported: Mapping[tuple[str, Line], int], epoch: int) -> None:
        """Ask about the universe by columns."""
        asked = [(scope, algorithm) for scope in scopes for algorithm in DIGEST_SIZES]
        requests = [
            match_service_pb2.BulkMatchRequest(
                sequence=sequence,
                column=match_service_pb2.HashColumn(
                    algorithm=algorithm, digests=b"".join(digest for each, digest in UNIVERSE if each == algorithm)
                ),
                scope=match_service_pb2.MatchScope(**scope._asdict()),
            )
            for sequence, (scope, algorithm) in enumerate(asked)
        ]
        responses = list(self.client.matching.BulkMatch(iter(requests), timeout=TIMEOUT))
        for sequence, ((scope, algorithm), response) in enumerate(zip(asked, responses, strict=True)):
            state, now = self._answered(response.snapshot, scope)
            if response.snapshot.epoch != epoch:
                continue
            question = Question(state, scope, now, reported)
            places = [place for place in UNIVERSE if place[0] == algorithm]
            assert (response.sequence, response.count) == (sequence, len(places))
            assert_column([question.answer(place) for place in places], response)

    def _check_lists(self) -> None:
        """What ListService tells of sizes and generations."""
        answer = self.client.lists.ListLists(list_service_pb2.ListListsRequest(), timeout=TIMEOUT)
        state = self._state_at(answer.epoch)
        told = {each.definition.list_id: each for each in answer.lists}
        assert list(told) == sorted(state.lists)
        for list_id, listed in state.lists.items():
            each = told[list_id]
            assert each.HasField("generation") == (listed.generation is not None)
            if listed.generation is not None:
                counts = {count.algorithm: count.hashes for count in each.generation.counts}
                assert (each.generation.number, counts) == (listed.generation.number, listed.generation.counts())


def _message(place: Place) -> common_pb2.Hash:
    return common_pb2.Hash(algorithm=common_pb2.Algorithm.ValueType(place[0]), value=place[1])


def _format(delivery: Delivery) -> dict[str, str]:
    """What the header says of the format: plain text where no record needs more."""
    if _is_plain(delivery):
        return {"format": "hash-text", "label": next((record.label for record in delivery.all_records), "")}
    return {"format": "columns", "profile": _KEYED_PROFILE if delivery.keyed else _UNKEYED_PROFILE}


def _is_plain(delivery: Delivery) -> bool:
    labels = {record.label for record in delivery.all_records}
    # In plain text a PDQ code would be taken for a SHA-256 digest.
    says_more = any(record.removed or PDQ in dict(record.places) for record in delivery.all_records)
    return not delivery.keyed and len(labels) < 2 and not says_more


def _written(delivery: Delivery) -> bytes:
    if _is_plain(delivery):
        return hash_text(digest for record in delivery.all_records for _, digest in record.places)
    rows = []
    for record in delivery.all_records:
        digests = {algorithm: digest.hex() for algorithm, digest in record.places}
        cells = [record.key, "yes" if record.removed else "no", record.label]
        rows.append("\t".join((*cells, *(digests.get(algorithm, "") for algorithm in DIGEST_SIZES))) + "\n")
    return "".join(rows).encode()
