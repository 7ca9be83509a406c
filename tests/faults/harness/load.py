"""Callers that go on asking whatever happens, and note every answer."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Sequence

import grpc

from hashmatch.v1 import common_pb2, match_service_pb2
from tests.faults.harness.history import MATCH, NEGATIVE, UNDETERMINED, Answer, History, Said
from tests.faults.harness.probes import COLUMN, PROBES, SHA256
from tests.integration.errors import refusal_of
from tests.integration.serving import Client, hash_of
from tests.integration.waiting import eventually

# Longer than any server should need, so that an answer that comes at all is seen.
ASK_TIMEOUT = 4.0
_INTERVAL = 0.02
_ITEMS = 12
_MANY = 1_000
# What may befall a call while servers and connections fail. Anything else is a bug.
_EXPECTED = frozenset(
    (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.RESOURCE_EXHAUSTED)
)
_NEGATIVE = Said(NEGATIVE)
Ask = Callable[[Client], tuple[int, Sequence[int], list[Said]]]


class Load:
    """Two callers for each server: one asks for columns, one for items with their opinions."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._threads: list[threading.Thread] = []
        self._stopping = threading.Event()
        self._unexpected = frozenset[grpc.StatusCode]()
        self.calls = 0

    def ask(self, name: str, client: Client, *, seed: int = 0) -> None:
        """Begin to ask a server, which keeps its address."""
        chosen = random.Random(seed)
        for what in (ask_column, lambda client: _ask_items(client, chosen)):
            thread = threading.Thread(target=self._go_on, args=(name, client, what), name=f"asking {name}")
            self._threads.append(thread)
            thread.start()

    def tolerate(self, *codes: grpc.StatusCode) -> None:
        """Calls may fail with these as well: those of a connection that is corrupted, for one."""
        self._unexpected |= frozenset(codes)

    def more(self, calls: int = 20) -> None:
        """Wait until so many more calls have ended, in whatever way."""
        goal = self.calls + calls
        eventually(lambda: self.calls >= goal, "callers go on", patience=60.0)

    def stop(self) -> None:
        """Let the calls in progress end."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _go_on(self, name: str, client: Client, what: Ask) -> None:
        while not self._stopping.wait(_INTERVAL):
            floor = self._history.floor(name)
            try:
                epoch, places, said = what(client)
            except grpc.RpcError as error:
                text, wrongly = describe(error, self._unexpected)
                self._history.failed(text, wrongly=wrongly)
            else:
                self._history.answered(Answer(name, epoch, floor, places, said))
            self.calls += 1


def describe(error: grpc.RpcError, tolerated: frozenset[grpc.StatusCode] = frozenset()) -> tuple[str, bool]:
    """A failed call in a few words, and whether it is one that must not be.

    What the server itself refuses must say why in an ErrorInfo.
    """
    code = error.code()
    reason = ""
    if "x-request-id" in dict(error.trailing_metadata() or ()) and code is not grpc.StatusCode.CANCELLED:
        reason = f" ({refusal_of(error).reason})"
    return f"{code.name}{reason}", code not in _EXPECTED | tolerated


def ask_column(client: Client) -> tuple[int, Sequence[int], list[Said]]:
    """Ask about every probe at once."""
    request = match_service_pb2.BulkMatchRequest(column=match_service_pb2.HashColumn(algorithm=SHA256, digests=COLUMN))
    responses = client.matching.BulkMatch(iter([request]), timeout=ASK_TIMEOUT)
    (response,) = responses
    said = [_NEGATIVE] * response.count
    for index, finding_index in zip(response.match_indexes, response.finding_indexes, strict=True):
        finding = response.findings[finding_index]
        said[index] = Said(MATCH, _reasons(finding.causes), frozenset(each.list_id for each in finding.opinions))
    for run in response.undetermined:
        reasons = _reasons(run.causes)
        for index in range(run.first, run.first + run.count):
            said[index] = Said(UNDETERMINED, reasons)
    return response.snapshot.epoch, range(len(PROBES)), said


def many_items() -> match_service_pb2.BatchMatchRequest:
    """A question that keeps a server busy for some milliseconds: a thousand items."""
    items = [match_service_pb2.MatchItem(hashes=[hash_of(digest)]) for digest in PROBES]
    return match_service_pb2.BatchMatchRequest(items=(items * (_MANY // len(items) + 1))[:_MANY])


def _ask_items(client: Client, chosen: random.Random) -> tuple[int, Sequence[int], list[Said]]:
    places = chosen.sample(range(len(PROBES)), _ITEMS)
    items = [match_service_pb2.MatchItem(hashes=[hash_of(PROBES[place])]) for place in places]
    response = client.matching.BatchMatch(match_service_pb2.BatchMatchRequest(items=items), timeout=ASK_TIMEOUT)
    said = []
    generations = {each.list_id: each.generation for each in response.snapshot.lists}
    for result in response.results:
        (answer,) = result.hashes
        # An opinion of another generation than the snapshot's is a mixture of two states, which no list answers for.
        lists = frozenset(
            each.list_id if each.generation == generations[each.list_id] else f"another generation of {each.list_id}"
            for each in answer.opinions
        )
        said.append(Said(answer.verdict, _reasons(answer.causes), lists))
    return response.snapshot.epoch, places, said


def _reasons(causes: Sequence[common_pb2.UndeterminedCause]) -> frozenset[int]:
    return frozenset(int(cause.reason) for cause in causes)
