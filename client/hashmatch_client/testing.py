"""A hashmatch server for your tests: in this process, in memory, over a real connection.

    with FakeHashmatch({"demo": {"<hex>": "A1"}}) as fake, HashmatchClient(fake.target) as client:
        assert client.match(sha256="<hex>").is_match

It answers as the server does, fails when it is told to (`fail_next`), waits when it is told to (`paused`), lies when it
is told to (`rewrite`), and keeps a record of what it was asked (`calls`). It checks no identity, seals nothing and
suppresses nothing: it is no server to run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import TracebackType
from typing import Self

import grpc
from google.protobuf.message import Message

from hashmatch.v1 import list_service_pb2_grpc, match_service_pb2_grpc
from hashmatch_client._fake_lists import FakeList, FakeLists
from hashmatch_client._fake_service import Failure, FakeCall, ListServicer, MatchServicer, Script, health_handler

__all__ = ["FakeCall", "FakeHashmatch", "FakeList"]


class FakeHashmatch:
    """A server on a free port of the loopback, from when the context is entered until it is left.

    `lists` are lists by id; a plain dict of hexadecimal hashes to labels stands for a list with the defaults of
    `FakeList`. Without any list nothing has been published. `target` is what a client connects to, in plain text
    unless `credentials` are given.
    """

    def __init__(
        self,
        lists: Mapping[str, FakeList | Mapping[str, str]] | None = None,
        *,
        credentials: grpc.ServerCredentials | None = None,
    ) -> None:
        self.target = ""
        self._credentials = credentials
        self._lists = FakeLists()
        self._script = Script()
        self._server: grpc.Server | None = None
        for list_id, source in (lists or {}).items():
            self.publish(list_id, source)

    @property
    def epoch(self) -> int:
        """The number of what is served now."""
        return self._lists.epoch

    @property
    def calls(self) -> list[FakeCall]:
        """The calls so far, in order."""
        return list(self._script.calls)

    def calls_of(self, method: str) -> list[FakeCall]:
        """The calls so far of one method, for example `BatchMatch`."""
        return [call for call in self.calls if call.method == method]

    def publish(self, list_id: str, source: FakeList | Mapping[str, str]) -> int:
        """Makes `source` the next generation of the list and returns its epoch. Those who watch are told."""
        made = source if isinstance(source, FakeList) else FakeList(source)
        return self._lists.publish(list_id, made)

    def fail_next(
        self,
        code: grpc.StatusCode,
        reason: str = "",
        *,
        times: int = 1,
        retry_delay: float | None = None,
        fields: Mapping[str, str] | None = None,
        after_messages: int = 0,
    ) -> None:
        """Lets the next calls fail with `code` and rich details; a stream after it sent `after_messages` answers."""
        self._script.failures.extend([Failure(code, reason, retry_delay, dict(fields or {}), after_messages)] * times)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Inside this context no call is answered."""
        self._script.running.clear()
        try:
            yield
        finally:
            self._script.running.set()

    def rewrite(self, change: Callable[[Message], Message | None] | None) -> None:
        """Sends what `change` makes of each answer from now on; where it returns None, the stream ends early."""
        self._script.change = change

    def __enter__(self) -> Self:
        threads = ThreadPoolExecutor(64, thread_name_prefix="fake-hashmatch")
        self._server = grpc.server(threads, options=[("grpc.so_reuseport", 0)])
        match_service_pb2_grpc.add_MatchServiceServicer_to_server(
            MatchServicer(self._lists, self._script), self._server
        )
        list_service_pb2_grpc.add_ListServiceServicer_to_server(ListServicer(self._lists, self._script), self._server)
        self._server.add_generic_rpc_handlers((health_handler(self._lists),))
        if self._credentials is None:
            port = self._server.add_insecure_port("127.0.0.1:0")
        else:
            port = self._server.add_secure_port("127.0.0.1:0", self._credentials)
        self.target = f"127.0.0.1:{port}"
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._lists.close()
        self._script.running.set()
        if self._server is not None:
            self._server.stop(grace=None).wait()
