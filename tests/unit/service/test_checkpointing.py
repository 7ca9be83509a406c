"""A log is held against what was signed of it: nothing that was cut, made up or left unsigned is gone on with."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from prometheus_client import CollectorRegistry

from hashmatch.service.checkpointing import Checkpoints
from hashmatch.service.metrics import Metrics
from hashmatch.trust.answer_log import AnswerLog, Entry, LogReading, segments
from hashmatch.trust.audit import AuditError, AuditLog, Chain
from hashmatch.trust.checkpoints import NoteSigner, open_checkpoint
from hashmatch.trust.merkle import MerkleTree
from tests.support.clock import ManualClock

NAME = "hashmatch.example/server-1"


@pytest.fixture
def signer() -> NoteSigner:
    return NoteSigner(NAME, Ed25519PrivateKey.generate())


@pytest.fixture
def metrics(clock: ManualClock) -> Metrics:
    return Metrics(CollectorRegistry(), clock=clock, version="0")


Started = tuple[AuditLog | AnswerLog, Checkpoints]


class World:
    """A data directory with a log of administration and one of answers."""

    def __init__(self, directory: Path, signer: NoteSigner, clock: ManualClock, metrics: Metrics) -> None:
        self.acts = directory / "audit.jsonl"
        self.answers = directory / "answers" / "server"
        self.checkpoints = directory / "checkpoints"
        self.signer, self.clock, self.metrics = signer, clock, metrics

    def signed(self, name: str) -> int:
        """How many records the checkpoint of a log is of."""
        note = (self.checkpoints / name).read_text()
        return open_checkpoint(note, [self.signer.verifier.of_origin(f"{NAME}/{name.replace('-', '/')}")]).size

    @contextmanager
    def started_acts(self) -> Iterator[AuditLog]:
        with closing(AuditLog(self.acts, self.clock)) as log:
            self._checkpoints("acts", log).check(self.acts)
            yield log
            self._checkpoints("acts", log).sign()

    @contextmanager
    def started_answers(self, **limits: float) -> Iterator[tuple[AnswerLog, Checkpoints]]:
        settings = {"segment_bytes": 500, "segment_days": 30.0, "retention_days": 30.0, "maximum_bytes": 1 << 30}
        with closing(AnswerLog(self.answers, self.clock, **{**settings, **limits})) as log:  # type: ignore[arg-type]
            checkpoints = self._checkpoints("answers/server", log)
            checkpoints.check(self.answers)
            log.delete_only_signed(checkpoints.sign)
            yield log, checkpoints

    def _checkpoints(self, name: str, log: AuditLog | AnswerLog) -> Checkpoints:
        return Checkpoints(self.signer, name, log, self.checkpoints, self.clock, self.metrics)


@pytest.fixture
def world(tmp_path: Path, signer: NoteSigner, clock: ManualClock, metrics: Metrics) -> World:
    """With five acts and ten answers, signed for."""
    world = World(tmp_path, signer, clock, metrics)
    with world.started_acts() as log:
        for _ in range(5):
            log.append("publish", "ann")
    with world.started_answers() as (answers, checkpoints):
        answers.append([answer(number) for number in range(10)])
        checkpoints.sign()
    return world


def answer(number: int) -> Entry:
    return Entry(1.0, "answer", "client", {"hashes": number})


def cut(world: World) -> None:
    lines = world.acts.read_bytes().splitlines(keepends=True)
    world.acts.write_bytes(b"".join(lines[:2]))


def make_up(world: World, first: int) -> None:
    """Put a log in the place of that of answers, which begins with this record and states whatever it likes."""
    for path in segments(world.answers):
        path.unlink()
    frontier = [secrets.token_bytes(32) for _ in range((first - 1).bit_count())]
    chain = Chain("ab" * 32, MerkleTree(first - 1, frontier))
    lines = [chain.add(2.0, "segment", "server", {"tree": ",".join(each.hex() for each in frontier)})[1]]
    lines += [chain.add(2.0, "answer", "client", {"hashes": 999})[1] for _ in range(30)]
    (world.answers / f"{first:020d}.jsonl").write_bytes(b"".join(line + b"\n" for line in lines))


@pytest.mark.parametrize("first", [1, 2, 11, 12, 13, 5_000])
def test_a_made_up_log_is_not_gone_on_with(world: World, first: int):
    assert world.signed("answers-server") == 11
    note = (world.checkpoints / "answers-server").read_bytes()
    make_up(world, first)
    with pytest.raises(AuditError), world.started_answers():
        pass
    assert (world.checkpoints / "answers-server").read_bytes() == note


def test_an_emptied_log_is_not_gone_on_with(world: World):
    for path in segments(world.answers):
        path.unlink()
    with pytest.raises(AuditError), world.started_answers():
        pass


def test_a_log_that_was_signed_when_it_was_empty_does_not_begin_later(tmp_path: Path, world: World):
    fresh = World(tmp_path / "fresh", world.signer, world.clock, world.metrics)
    fresh.acts.parent.mkdir()
    for _ in range(2):
        with fresh.started_answers():
            assert fresh.signed("answers-server") == 0
    make_up(fresh, 5)
    with pytest.raises(AuditError, match="begins with record 5"), fresh.started_answers():
        pass


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda note: note.replace(b"\n5\n", b"\n2\n"), id="a digit"),
        pytest.param(lambda _: b"", id="emptied"),
        pytest.param(lambda _: b"\xff", id="no text"),
    ],
)
@pytest.mark.parametrize("harm", [cut, lambda _: None], ids=["cut", "whole"])
def test_a_log_whose_checkpoint_does_not_verify_is_not_gone_on_with(
    world: World, spoil: Callable[[bytes], bytes], harm: Callable[[World], None]
):
    note = world.checkpoints / "acts"
    spoilt = spoil(note.read_bytes())
    note.write_bytes(spoilt)
    harm(world)
    with pytest.raises(AuditError, match="cannot be held against"), world.started_acts():
        pass
    assert note.read_bytes() == spoilt


def test_another_key_signs_when_the_checkpoints_of_the_one_before_were_put_away(world: World):
    world.signer = NoteSigner(NAME, Ed25519PrivateKey.generate())
    with pytest.raises(AuditError, match="exchanged"), world.started_acts():
        pass
    world.checkpoints.rename(world.checkpoints.with_name("checkpoints of before"))
    with world.started_acts() as log:
        assert log.tree().size == world.signed("acts")
    with world.started_answers() as (answers, _):
        assert answers.tree().size == world.signed("answers-server")
    for path, records in ((world.acts, 5), (world.answers, 11)):
        *_, last = LogReading.of(path)
        assert (last.act, last.actor, last.details) == ("signing-begun", "server", {"records": records})


def test_a_log_without_its_checkpoint_says_so_itself(world: World):
    """So does that of a server that has a key from now on."""
    cut(world)
    (world.checkpoints / "acts").unlink()
    with structlog.testing.capture_logs() as lines, world.started_acts():
        pass
    assert [line["event"] for line in lines] == ["signing-begun"]
    *_, last = LogReading.of(world.acts)
    assert (last.act, last.details) == ("signing-begun", {"records": 2})
    with world.started_acts():
        pass
    assert [record.act for record in LogReading.of(world.acts)].count("signing-begun") == 1


def test_nothing_is_deleted_that_is_not_signed_for(world: World):
    with world.started_answers(maximum_bytes=1_000) as (answers, _):
        for number in range(50):
            answers.append([answer(number)])
            first = LogReading.of(world.answers)
            next(iter(first))
            # Whatever the last checkpoint is of: a crash may come now.
            assert first.first <= world.signed("answers-server") + 1
        assert first.first > 12
    with world.started_answers():
        pass


def test_what_cannot_be_signed_for_is_kept(world: World):
    held = world.checkpoints.with_name("away")
    with world.started_answers(maximum_bytes=1_000) as (answers, _):
        world.checkpoints.rename(held)
        world.checkpoints.write_bytes(b"in the way")
        for number in range(50):
            answers.append([answer(number)])
        assert int(segments(world.answers)[0].stem) <= 12
        world.checkpoints.unlink()
        held.rename(world.checkpoints)
        answers.append([answer(number) for number in range(20)])
        answers.append([answer(50)])
    assert int(segments(world.answers)[0].stem) > 12
