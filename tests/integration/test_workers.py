"""A server with workers, in processes of its own: one port, one set of tables, and each can go without the others."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import queue
import re
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import grpc
import pytest

from hashmatch.v1 import common_pb2, match_service_pb2, match_service_pb2_grpc
from tests.integration.processes import ServerProcess
from tests.integration.serving import TIMEOUT, Client, hash_of, hash_text
from tests.integration.waiting import eventually

LISTED = [hashlib.sha256(b"listed %d" % number).digest() for number in range(200_000)]
UNLISTED = [hashlib.sha256(b"unlisted %d" % number).digest() for number in range(50)]
# The kernel spreads connections by chance: of so many it does not give all to one of two workers.
CONNECTIONS = 24
WORKERS = ("worker-1", "worker-2")
MATCH, NO_MATCH = common_pb2.VERDICT_MATCH, common_pb2.VERDICT_NO_KNOWN_MATCH
NOT_DETERMINED = common_pb2.VERDICT_NOT_DETERMINED


class Memory(NamedTuple):
    """The mappings of shared tables in one process, in kilobytes, and the files behind them."""

    inodes: frozenset[int]
    resident: int
    private: int


class Fleet:
    """The processes of one server, seen from outside."""

    def __init__(self, server: ServerProcess, client: Client) -> None:
        self.server = server
        self.client = client
        self._channels = [_connection(client.addresses.matching) for _ in range(CONNECTIONS)]
        self.stubs = [match_service_pb2_grpc.MatchServiceStub(channel) for channel in self._channels]

    def close(self) -> None:
        for channel in self._channels:
            channel.close()

    def pid(self, role: str) -> int:
        """The process that has a role now."""
        started = [event for event in self.server.events if event["event"] == "process-started"]
        return [event["pid"] for event in started if event["role"] == role][-1]

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples that have these labels."""
        wanted = [f'{key}="{value}"' for key, value in labels.items()]
        total = 0.0
        for line in self.client.page("/metrics").text.splitlines():
            found = re.match(r"(\w+)(?:\{(.*)\})? (\S+)$", line)
            if found and found[1] == name and all(label in (found[2] or "") for label in wanted):
                total += float(found[3])
        return total

    def ask_everywhere(self, *digests: bytes) -> list[match_service_pb2.BatchMatchResponse]:
        return [_ask(stub, *digests) for stub in self.stubs]

    def epochs(self) -> set[int]:
        return {answer.snapshot.epoch for answer in self.ask_everywhere(UNLISTED[0])}

    def shared_tables(self, role: str) -> Memory:
        """What the kernel says of the tables that a process has mapped."""
        inodes, resident, private, counted = set(), 0, 0, False
        for line in Path(f"/proc/{self.pid(role)}/smaps").read_text("utf-8").splitlines():
            head, *rest = line.split()
            if "-" in head and not head.endswith(":"):
                counted = line.rstrip().endswith("/memfd:hashmatch (deleted)")
                if counted:
                    inodes.add(int(rest[3]))
            elif counted and head == "Rss:":
                resident += int(rest[0])
            elif counted and head in ("Private_Clean:", "Private_Dirty:"):
                private += int(rest[0])
        return Memory(frozenset(inodes), resident, private)

    def kill(self, role: str) -> None:
        os.kill(self.pid(role), signal.SIGKILL)

    def started(self, role: str) -> int:
        return sum(event["event"] == "process-started" and event["role"] == role for event in self.server.events)


looks_into_memory = pytest.mark.skipif(os.geteuid() != 0, reason="nobody but root looks into a server's memory")


@pytest.fixture(scope="module")
def directory() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="hm-"))
    yield directory
    shutil.rmtree(directory)


@pytest.fixture(scope="module")
def fleet(directory: Path) -> Iterator[Fleet]:
    """A server with two workers and a published list."""
    server = ServerProcess(directory, **{"server.workers": 2})
    with contextlib.ExitStack() as stack:
        stack.callback(server.stop)
        client = server.start()
        client.define()
        fleet = stack.enter_context(contextlib.closing(Fleet(server, client)))
        epoch = client.deliver(hash_text(LISTED))
        eventually(lambda: fleet.epochs() == {epoch}, "the list is served")
        yield fleet


def test_both_workers_answer_on_one_port_and_their_numbers_are_told_as_one(fleet: Fleet) -> None:
    def told() -> float:
        return fleet.metric("hashmatch_hashes_total", algorithm="sha512")

    before = {worker: fleet.metric("hashmatch_process_calls_total", process=worker) for worker in WORKERS}
    assert told() == 0
    for answer in fleet.ask_everywhere(LISTED[7], UNLISTED[0], bytes(64)):
        assert [each.verdict for each in answer.results] == [MATCH, NO_MATCH, NOT_DETERMINED]
    eventually(lambda: told() == CONNECTIONS, "every answer is in the sum")
    for worker in WORKERS:
        eventually(
            lambda worker=worker: fleet.metric("hashmatch_process_calls_total", process=worker) > before[worker],
            "each answered some",
        )
    # What a process says of itself is told in turns: an answer comes from the tables before the metrics speak of them.
    eventually(lambda: fleet.metric("hashmatch_workers_running") == 2, "both are counted")
    eventually(lambda: fleet.metric("hashmatch_epoch") == fleet.client.epoch(), "all tell of the newest epoch")
    eventually(fleet.client.is_ready, "the server is ready")
    assert "workers: ok" in fleet.client.page("/readyz").text
    assert "<td" in fleet.client.page("/status").text


def test_no_process_leaves_a_core(fleet: Fleet) -> None:
    for pid in (fleet.server.pid, *map(fleet.pid, ("keeper", *WORKERS))):
        limits = Path(f"/proc/{pid}/limits").read_text("utf-8").splitlines()
        (core,) = [line.split() for line in limits if line.startswith("Max core file size")]
        assert core[4:6] == ["0", "0"]


@looks_into_memory
def test_tables_are_in_memory_once(fleet: Fleet) -> None:
    """All processes have mapped the same memory, and none has a page of it to itself."""
    memory = [fleet.shared_tables(role) for role in ("keeper", *WORKERS)]
    filters = fleet.metric("hashmatch_table_bytes", algorithm="sha256", table="filter")
    assert len({each.inodes for each in memory}) == 1
    assert memory[0].inodes
    for worker in memory[1:]:
        assert worker.resident * 1024 >= filters > len(LISTED)
        assert worker.private == 0


def test_a_change_is_served_by_every_worker(fleet: Fleet) -> None:
    epoch = fleet.client.suppress(LISTED[11])
    eventually(lambda: fleet.epochs() == {epoch}, "every worker answers from it")
    for answer in fleet.ask_everywhere(LISTED[11], LISTED[12]):
        assert [result.hashes[0].suppressed for result in answer.results] == [True, False]
    eventually(fleet.client.is_ready, "it is ready")


@looks_into_memory
def test_a_killed_worker_takes_its_calls_with_it_and_nothing_else(fleet: Fleet) -> None:
    """Under load: who was not connected to it notices nothing, who was is told UNAVAILABLE, and no answer is wrong."""
    counted = fleet.metric("grpc_server_handled_total", grpc_method="BatchMatch")
    restarts = fleet.metric("hashmatch_process_restarts_total", process="worker-1")
    starts = fleet.started("worker-1")
    with Load(fleet) as load:
        eventually(lambda: load.answered > 5 * CONNECTIONS, "there is load")
        fleet.kill("worker-1")
        eventually(lambda: fleet.started("worker-1") > starts, "it was started again", patience=60)
        answered = load.answered
        eventually(lambda: load.answered > answered + 5 * CONNECTIONS, "load goes on")
    assert load.wrong == []
    assert set(load.failures) <= {grpc.StatusCode.UNAVAILABLE}
    # A connection has one call under way, and the one after it may find the port before the channel has noticed.
    assert len(load.failures) <= 2 * CONNECTIONS
    eventually(lambda: fleet.metric("hashmatch_workers_running") == 2, "both answer")
    eventually(
        lambda: fleet.metric("hashmatch_process_restarts_total", process="worker-1") == restarts + 1, "it is counted"
    )
    assert fleet.metric("grpc_server_handled_total", grpc_method="BatchMatch") > counted
    assert fleet.shared_tables("worker-1").inodes == fleet.shared_tables("worker-2").inodes


@looks_into_memory
def test_without_the_keeper_workers_answer_and_the_next_one_goes_on_from_its_tables(fleet: Fleet) -> None:
    epoch, starts, tables = fleet.client.epoch(), fleet.started("keeper"), fleet.shared_tables("worker-1").inodes
    with Load(fleet) as load:
        fleet.kill("keeper")
        eventually(lambda: fleet.started("keeper") > starts, "it was started again", patience=60)
    assert (load.wrong, load.failures) == ([], [])
    assert fleet.epochs() == {epoch}
    eventually(fleet.client.is_ready, "it is ready")
    # What was mapped before is what the new keeper has: it built nothing.
    assert fleet.shared_tables("keeper").inodes == tables
    assert fleet.client.suppress(LISTED[21]) > epoch
    eventually(lambda: min(fleet.epochs()) > epoch, "what it publishes is served")


def test_a_second_server_does_not_share_the_port(fleet: Fleet, scratch: Path) -> None:
    other = ServerProcess(scratch, **{"server.workers": 2, "server.listen": fleet.client.addresses.matching})
    with pytest.raises(AssertionError, match="the server ended"):
        other.start()
    assert other.wait() == 1
    assert "cannot listen on" in other.log
    assert "Traceback" not in other.log


def test_told_to_stop_workers_let_calls_finish(fleet: Fleet) -> None:
    """The last test of this server."""
    questions: queue.SimpleQueue[match_service_pb2.BulkMatchRequest | None] = queue.SimpleQueue()
    answers = fleet.client.matching.BulkMatch(iter(questions.get, None), timeout=TIMEOUT)
    column = match_service_pb2.HashColumn(algorithm=common_pb2.ALGORITHM_SHA256, digests=LISTED[0] + UNLISTED[0])
    for sequence in range(2):
        questions.put(match_service_pb2.BulkMatchRequest(sequence=sequence, column=column))
        answer = next(answers)
        assert (answer.sequence, list(answer.match_indexes)) == (sequence, [0])
        if sequence == 0:
            fleet.server.send(signal.SIGTERM)
            eventually(lambda: fleet.client.page("/readyz").status == 503, "it says that it is stopping")
    questions.put(None)
    assert list(answers) == []
    assert fleet.server.wait() == 0
    assert fleet.server.events[-1]["event"] == "server-stopped"
    assert "Traceback" not in fleet.server.log
    for role in ("keeper", *WORKERS):
        assert not Path(f"/proc/{fleet.pid(role)}").exists()


class Load:
    """Asks on every connection, one question after the other, and looks at every answer."""

    def __init__(self, fleet: Fleet) -> None:
        self.answered = 0
        self.wrong: list[match_service_pb2.BatchMatchResponse] = []
        self.failures: list[grpc.StatusCode] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(stub,)) for stub in fleet.stubs]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(TIMEOUT)

    def _ask(self, stub: match_service_pb2_grpc.MatchServiceStub) -> None:
        epoch, numbers = 0, itertools.cycle(range(100, 1_000))
        while not self._stop.is_set():
            number = next(numbers)
            try:
                answer = _ask(stub, LISTED[number], UNLISTED[number % len(UNLISTED)])
            except grpc.RpcError as error:
                self.failures.append(error.code())
                # The channel comes back by itself, after a moment.
                self._stop.wait(0.05)
                continue
            right = [each.verdict for each in answer.results] == [MATCH, NO_MATCH]
            if not right or answer.snapshot.epoch < epoch:
                self.wrong.append(answer)
            epoch = answer.snapshot.epoch
            self.answered += 1


def _ask(stub: match_service_pb2_grpc.MatchServiceStub, *digests: bytes) -> match_service_pb2.BatchMatchResponse:
    request = match_service_pb2.BatchMatchRequest(
        items=[match_service_pb2.MatchItem(hashes=[hash_of(digest)]) for digest in digests]
    )
    return stub.BatchMatch(request, timeout=TIMEOUT)


def _connection(address: str) -> grpc.Channel:
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.initial_reconnect_backoff_ms", 50)]
    return grpc.insecure_channel(address, options)
