"""Who imports dies, at every step, or is not alone: what is answered is the state before or the one after."""

from __future__ import annotations

import functools
import itertools
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc

from hashmatch.v1 import list_admin_service_pb2
from tests.faults.conftest import Begin
from tests.faults.harness.acts import FULL, INCREMENTAL, having
from tests.faults.harness.commands import Command
from tests.faults.harness.load import describe
from tests.faults.harness.probes import BASE, MOVING, STAYING, base_digests, digests_of
from tests.faults.harness.proxy import Gate
from tests.faults.harness.table import row
from tests.faults.harness.trial import Trial
from tests.integration.serving import hash_text
from tests.integration.waiting import eventually

WHOLE = "the list is the one before until a whole delivery is published"
_WORKER = b"hashmatch.ingest.worker"


def workers(parent: int) -> list[int]:
    """The importers that a server has started and that still run."""
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            fields = (directory / "stat").read_text().rpartition(")")[2].split()
            if int(fields[1]) == parent and fields[0] != "Z" and _WORKER in (directory / "cmdline").read_bytes():
                found.append(int(directory.name))
        except OSError:
            continue  # it has just ended
    return found


def delivery_of(*places: int) -> bytes:
    """A delivery that is large enough for a process of its own: what the list began with, and a few more."""
    return hash_text([*base_digests(), *digests_of(places)])


class Importing:
    """A delivery that is being staged by another thread."""

    def __init__(self, trial: Trial, content: bytes, server: str = "first") -> None:
        self._trial, self._content, self._server = trial, content, server
        self.failure: grpc.RpcError | None = None
        self.staging: list_admin_service_pb2.Staging | None = None
        self._thread = threading.Thread(target=self._stage)
        self._thread.start()

    def _stage(self) -> None:
        try:
            self.staging = self._trial.servers[self._server].client.stage(self._content, BASE, mode=FULL)
        except grpc.RpcError as error:
            self.failure = error

    def ended(self) -> str:
        """Wait for its end; why it failed, or nothing."""
        self._thread.join()
        return "" if self.failure is None else describe(self.failure)[0]


def stagings(trial: Trial) -> int:
    """How many deliveries are staged and not published."""
    request = list_admin_service_pb2.ListStagingsRequest()
    return len(trial.first.client.act("ListStagings", request).stagings)


Matches = Callable[[Command], bool]


def writes(name: bytes, part: bytes) -> Matches:
    """Whether a command of this name writes to a key of this kind."""
    return lambda command: command.name == name and part in command.key


# What an importer does to the store, step by step.
IMPORTING: tuple[Matches, ...] = (
    lambda command: command.key == b"hashmatch:manifest",
    writes(b"MGET", b":b:"),
    writes(b"HSET", b":pending"),
    writes(b"MSET", b":b:"),
    lambda command: command.name in (b"SET", b"MSET") and b":s:" in command.key,
    writes(b"HSET", b":stagings"),
)
SWAPPING: tuple[Matches, ...] = (
    writes(b"EVALSHA", b":manifest"),
    lambda command: command.name == b"WAITAOF",
    writes(b"PUBLISH", b""),
)
# What a server does when it publishes, and when it suppresses what is listed.
PUBLISHING = (*SWAPPING, writes(b"EVALSHA", b":stagings"))
SUPPRESSING = (writes(b"SET", b":x:"), writes(b"HSET", b":pending"), *SWAPPING)


def boundaries(steps: tuple[Matches, ...]) -> Iterator[tuple[Matches, bool]]:
    """The moment before each step, and the one after it."""
    return itertools.product(steps, (False, True))


def kill_importer(trial: Trial, matches: Matches, *, after: bool) -> None:
    """Let an importer work up to a step, and kill it there."""
    pid = trial.first.process.pid
    importing = Importing(trial, delivery_of(MOVING[0]))
    (worker,) = eventually(lambda: workers(pid), "the importer runs")
    # The server itself has its connections already.
    gate = Gate(matches, after=after, newcomers=True)
    trial.proxy.hold(gate)
    gate.wait()
    os.kill(worker, signal.SIGKILL)
    eventually(lambda: not workers(pid), "the importer dies")
    trial.proxy.release(died=True)
    assert importing.ended() == "INTERNAL (INTERNAL)"


def kill_server(trial: Trial, act: Callable[[], int], matches: Matches, *, after: bool) -> None:
    """Let a server carry out an act up to a step, kill it there, and start it again."""
    gate = Gate(matches, after=after)
    trial.proxy.hold(gate)
    failures: list[grpc.StatusCode] = []

    def work() -> None:
        try:
            act()
        except grpc.RpcError as error:
            failures.append(error.code())

    acting = threading.Thread(target=work)
    acting.start()
    gate.wait()
    trial.first.process.send(signal.SIGKILL)
    trial.first.process.wait()
    trial.proxy.release(died=True)
    acting.join()
    assert failures == [grpc.StatusCode.UNAVAILABLE]
    trial.first.start()


@row("importer killed at every step boundary", WHOLE)
def test_importer_killed(begin: Begin) -> None:
    trial = begin()
    for matches, after in boundaries(IMPORTING):
        kill_importer(trial, matches, after=after)
        trial.load.more(4)
    # Only the last had noted its staging before it died, and that is whole.
    assert stagings(trial) == 1
    trial.note(f"killed at {2 * len(IMPORTING)} boundaries")
    trial.acts.deliver([MOVING[0]], BASE, mode=FULL, content=delivery_of(MOVING[0]))
    trial.settled()


@row("server killed at every step of a publication", "the generation before or the one after; never a half of it")
def test_server_killed_as_it_publishes(begin: Begin) -> None:
    trial = begin()
    for place, (matches, after) in zip(MOVING, boundaries(PUBLISHING), strict=False):
        staging = trial.first.client.stage(hash_text(digests_of([place])), BASE, mode=INCREMENTAL)
        trial.first.client.approve(staging)
        effect = having(BASE, [place])
        with trial.fault():
            kill_server(trial, functools.partial(trial.acts.publish, staging, effect), matches, after=after)
    trial.note(f"killed at {2 * len(PUBLISHING)} boundaries")


@row("server killed at every step of a suppression", "suppressed as a whole or not at all")
def test_server_killed_as_it_suppresses(begin: Begin) -> None:
    trial = begin()
    # What it takes the place of is noted.
    trial.acts.suppress(STAYING[0])
    for place, (matches, after) in zip(STAYING[1:], boundaries(SUPPRESSING), strict=False):
        with trial.fault():
            kill_server(trial, functools.partial(trial.acts.suppress, place, place + 20), matches, after=after)
    trial.note(f"killed at {2 * len(SUPPRESSING)} boundaries")


@row("two importers at once", "one is published, the other is told that the list has moved on", short=True)
def test_two_importers(begin: Begin) -> None:
    trial = begin(servers=2)
    contents = {"first": MOVING[:10], "server-2": MOVING[10:20]}
    importing = {name: Importing(trial, delivery_of(*places), name) for name, places in contents.items()}
    assert [each.ended() for each in importing.values()] == ["", ""]
    for name, each in importing.items():
        assert each.staging is not None
        trial.servers[name].client.approve(each.staging)
    refusals: list[str] = []

    def publish(name: str) -> None:
        places = contents[name]
        try:
            trial.acts.publish(
                importing[name].staging,
                lambda before: before.lacking(BASE, MOVING).having(BASE, places),
                by=trial.servers[name].client,
            )
        except grpc.RpcError as error:
            refusals.append(describe(error)[0])

    publishers = [threading.Thread(target=publish, args=(name,)) for name in contents]
    for each in publishers:
        each.start()
    for each in publishers:
        each.join()
    assert refusals == ["FAILED_PRECONDITION (STAGING_OUTDATED)"]
    trial.settled()
    trial.note(refusals[0])


@row("two servers publish at once, again and again", "every acknowledged act takes effect, none is lost")
def test_two_publishers(begin: Begin) -> None:
    trial = begin(servers=2)
    counts: dict[str, int] = {}

    def act(name: str, places: range) -> None:
        client = trial.servers[name].client
        for place in places:
            trial.acts.suppress(place, by=client)
            counts[name] = counts.get(name, 0) + 1

    halves = {"first": STAYING[:30], "server-2": STAYING[30:]}
    actors = [threading.Thread(target=act, args=each) for each in halves.items()]
    for each in actors:
        each.start()
    for each in actors:
        each.join()
    assert counts == {name: len(places) for name, places in halves.items()}
    trial.settled()
    # That every answer agrees with the history would also hold where the history had lost an act.
    history = list_admin_service_pb2.GetHistoryRequest(page_size=1_000)
    events = trial.first.client.act("GetHistory", history).events
    assert sum(event.act == "suppress" for event in events) == len(STAYING)
