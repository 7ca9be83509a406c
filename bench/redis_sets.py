"""What one would build without us: one Redis set of the digests and one hash of their records, read by redis-py."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from itertools import cycle, islice
from typing import Any

import redis

from bench.data import BATCH, Digests, Question, label_of, parts, values
from bench.harness import BenchmarkError

SET, RECORDS = "bench:set", "bench:records"
# Members in one command, where a command has many; commands in one pipeline, where each has few.
MANY, PIPELINE = 1_000, 10_000
# Batches in one pipeline when asking.
AT_ONCE = 4


def load_set(client: redis.Redis, digests: Digests) -> None:
    """Put digests into the set."""
    for part in parts(digests, PIPELINE):
        pipeline = client.pipeline(transaction=False)
        for members in parts(part, MANY):
            pipeline.sadd(SET, *values(members))
        pipeline.execute()


def load_records(client: redis.Redis, digests: Digests) -> None:
    """Put the records of digests into the hash."""
    index = 0
    for part in parts(digests, MANY):
        mapping = {}
        for value in values(part):
            mapping[value] = _record(label_of(index))
            index += 1
        client.hset(RECORDS, mapping=mapping)


def _record(label: str) -> bytes:
    """An opinion as short as one would write it: body, list, label, scheme, date."""
    return f"Body of bench|bench|{label}|bench|2026-01-31".encode()


class SetReader:
    """Asks the set about batches, a few to a pipeline; returns digests a second. Raises `BenchmarkError`.

    The arguments are prepared ahead of the clock, and replies are checked when it has stopped. Nothing else runs on the
    loop meanwhile, so that a client which blocks costs nothing.
    """

    def __init__(self, client: redis.Redis, questions: Sequence[Question]) -> None:
        self._client = client
        self._questions = questions
        self._members = [values(question.digests) for question in questions]
        self._connection = client.connection_pool.get_connection()
        self._packed = [self._connection.pack_command("SMISMEMBER", SET, *members) for members in self._members]

    async def ask(self, seconds: float) -> float:
        """SMISMEMBER, as a user of redis-py writes it."""
        return self._timed(self._members_among, seconds, self._check_members)

    async def ask_packed(self, seconds: float) -> float:
        """SMISMEMBER, its commands packed ahead of the clock: no part of it is the price of writing Python values."""

        def exchange(batches: Sequence[int]) -> list[list[int]]:
            self._connection.send_packed_command([piece for batch in batches for piece in self._packed[batch]])
            return [self._connection.read_response() for _ in batches]

        return self._timed(exchange, seconds, self._check_members)

    async def ask_records(self, seconds: float) -> float:
        """SMISMEMBER, then HMGET of the records of the hits."""

        def read(batches: Sequence[int]) -> list[list[bytes]]:
            pipeline = self._client.pipeline(transaction=False)
            for batch, reply in zip(batches, self._members_among(batches), strict=True):
                pipeline.hmget(RECORDS, [value for value, hit in zip(self._members[batch], reply, strict=True) if hit])
            return pipeline.execute()

        return self._timed(read, seconds, self._check_records)

    def _members_among(self, batches: Sequence[int]) -> list[list[int]]:
        pipeline = self._client.pipeline(transaction=False)
        for batch in batches:
            pipeline.smismember(SET, self._members[batch])
        return pipeline.execute()

    def _timed(
        self, read: Callable[[Sequence[int]], list[Any]], seconds: float, check: Callable[[Question, Any], bool]
    ) -> float:
        turn = cycle(range(len(self._questions)))
        asked: list[int] = []
        replies: list[Any] = []
        start = time.perf_counter()
        while (elapsed := time.perf_counter() - start) < seconds:
            batches = list(islice(turn, AT_ONCE))
            replies += read(batches)
            asked += batches
        if not all(check(self._questions[batch], reply) for batch, reply in zip(asked, replies, strict=True)):
            raise BenchmarkError("Redis gave a wrong answer")
        return len(asked) * BATCH / elapsed

    @staticmethod
    def _check_members(question: Question, reply: list[int]) -> bool:
        return [position for position, hit in enumerate(reply) if hit] == question.positions

    @staticmethod
    def _check_records(question: Question, reply: list[bytes]) -> bool:
        return [record.split(b"|")[2].decode() for record in reply] == list(map(label_of, question.entries))
