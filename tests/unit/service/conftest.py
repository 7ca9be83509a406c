"""What the tests of the service share: a clock that is set by hand, a log that is kept, and a toy server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio
import pytest
import structlog
from google.protobuf.wrappers_pb2 import BytesValue, StringValue
from prometheus_client import CollectorRegistry

from hashmatch.service.admission import ListenerAdmission
from hashmatch.service.config_serving import ServerSection
from hashmatch.service.guard import Guard
from hashmatch.service.identity import AccessRules, LoopbackIdentity
from hashmatch.service.metrics import Metrics

SERVICE = "test.Toy"


@dataclass
class ManualClock:
    """A clock that moves when a test says so."""

    wall: float = 1_000_000.0
    elapsed: float = 100.0

    def now(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return self.elapsed

    def advance(self, seconds: float) -> None:
        self.wall += seconds
        self.elapsed += seconds


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def metrics(registry: CollectorRegistry, clock: ManualClock) -> Metrics:
    return Metrics(registry, clock=clock, version="1.2.3")


@pytest.fixture
def lines() -> Iterator[list[dict[str, Any]]]:
    with structlog.testing.capture_logs() as captured:
        yield captured


@pytest.fixture
def logger(lines: list[dict[str, Any]]) -> Any:
    return structlog.get_logger()


async def echo(request: Any, context: grpc.aio.ServicerContext) -> Any:
    return request


@dataclass
class Toy:
    """A service with a method of each kind, whose behaviours a test sets."""

    unary: Callable[..., Awaitable[Any]] = echo
    collect: Callable[..., Awaitable[Any]] | None = None
    watch: Callable[..., Any] | None = None
    chat: Callable[..., Any] | None = None
    port: int = 0
    finished: asyncio.Event = field(default_factory=asyncio.Event)

    def register(self, server: grpc.aio.Server) -> None:
        codec = {"request_deserializer": StringValue.FromString, "response_serializer": StringValue.SerializeToString}
        handlers = {"Unary": grpc.unary_unary_rpc_method_handler(self.unary, **codec)}
        if self.collect:
            handlers["Collect"] = grpc.stream_unary_rpc_method_handler(self.collect, **codec)
        if self.watch:
            handlers["Watch"] = grpc.unary_stream_rpc_method_handler(self.watch, **codec)
        if self.chat:
            handlers["Chat"] = grpc.stream_stream_rpc_method_handler(self.chat, **codec)
        server.add_registered_method_handlers(SERVICE, handlers)


class ToyClient:
    """Calls the toy service."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        codec = {"request_serializer": StringValue.SerializeToString, "response_deserializer": StringValue.FromString}
        self.channel = channel
        self.unary = channel.unary_unary(f"/{SERVICE}/Unary", **codec)
        self.collect = channel.stream_unary(f"/{SERVICE}/Collect", **codec)
        self.watch = channel.unary_stream(f"/{SERVICE}/Watch", **codec)
        self.chat = channel.stream_stream(f"/{SERVICE}/Chat", **codec)
        self.raw = channel.unary_unary(
            f"/{SERVICE}/Unary", request_serializer=bytes, response_deserializer=BytesValue.FromString
        )


Serve = Callable[..., Awaitable[ToyClient]]


@pytest.fixture
async def serve(metrics: Metrics, logger: Any, clock: ManualClock) -> AsyncIterator[Serve]:
    """Starts a guarded server with a toy and what else registers itself; keywords replace parts of the guard."""
    async with AsyncExitStack() as stack:

        async def start(
            toy: Toy,
            *register: Callable[[grpc.aio.Server], None],
            section: ServerSection | None = None,
            credentials: grpc.ServerCredentials | None = None,
            channel_credentials: grpc.ChannelCredentials | None = None,
            **replaced: Any,
        ) -> ToyClient:
            parts: dict[str, Any] = {
                "identity": LoopbackIdentity(),
                "access": AccessRules([SERVICE]),
                "admission": ListenerAdmission("matching", section or ServerSection(), metrics),
                "metrics": metrics,
                "logger": logger,
                "clock": clock,
            } | replaced
            server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
            for each in (toy.register, *register):
                each(Guard(**parts).over(server))
            if credentials is None:
                toy.port = server.add_insecure_port("127.0.0.1:0")
            else:
                toy.port = server.add_secure_port("localhost:0", credentials)
            await server.start()
            stack.push_async_callback(server.stop, None)
            if channel_credentials is None:
                channel = grpc.aio.insecure_channel(f"127.0.0.1:{toy.port}")
            else:
                channel = grpc.aio.secure_channel(f"localhost:{toy.port}", channel_credentials)
            return ToyClient(await stack.enter_async_context(channel))

        yield start
