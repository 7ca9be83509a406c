"""What surrounds calls that stream, with a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf.wrappers_pb2 import StringValue
from prometheus_client import CollectorRegistry

from hashmatch.model.errors import ErrorReason, HashmatchError
from hashmatch.service.calls import tally
from hashmatch.service.config_serving import ServerSection

from .conftest import SERVICE, Serve, Toy
from .rpc import HELLO, TIMEOUT, failure, handled, reason


async def three(request: Any, context: Any) -> AsyncIterator[StringValue]:
    for number in range(3):
        yield StringValue(value=f"{request.value}{number}")


async def test_each_kind_of_call_works_without_a_deadline_and_is_counted(
    serve: Serve, registry: CollectorRegistry
) -> None:
    async def collect(requests: AsyncIterator[Any], context: Any) -> Any:
        return StringValue(value="".join([request.value async for request in requests]))

    async def chat(requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        async for request in requests:
            tally(items=2)
            yield request

    client = await serve(Toy(collect=collect, watch=three, chat=chat))
    letters = [StringValue(value=letter) for letter in "abc"]
    assert (await client.collect(iter(letters))).value == "abc"
    assert [response.value async for response in client.watch(HELLO)] == ["hello0", "hello1", "hello2"]
    assert [response.value async for response in client.chat(iter(letters))] == ["a", "b", "c"]
    for method, kind, received, sent in [
        ("Collect", "client_stream", 3, 1),
        ("Watch", "server_stream", 1, 3),
        ("Chat", "bidi_stream", 3, 3),
    ]:
        await handled(registry, method, kind, "OK")
        labels = {"grpc_service": SERVICE, "grpc_method": method, "grpc_type": kind}
        assert registry.get_sample_value("grpc_server_started_total", labels) == 1
        assert registry.get_sample_value("grpc_server_msg_received_total", labels) == received
        assert registry.get_sample_value("grpc_server_msg_sent_total", labels) == sent
        assert registry.get_sample_value("grpc_server_handling_seconds_count", labels) == 1


async def test_an_error_in_a_stream_comes_after_what_was_sent(serve: Serve) -> None:
    async def watch(request: Any, context: Any) -> AsyncIterator[StringValue]:
        yield request
        raise HashmatchError(ErrorReason.STORE_DAMAGED, "a block does not verify")

    call = (await serve(Toy(watch=watch))).watch(HELLO)
    assert await call.read() == HELLO
    caught = await failure(call.read())
    assert caught.code() == grpc.StatusCode.DATA_LOSS
    assert reason(caught) == "STORE_DAMAGED"


async def test_a_message_of_a_stream_that_is_none_is_the_callers_error(serve: Serve) -> None:
    async def collect(requests: AsyncIterator[Any], context: Any) -> Any:
        return StringValue(value=str(len([request async for request in requests])))

    client = await serve(Toy(collect=collect))
    raw = client.channel.stream_unary(f"/{SERVICE}/Collect", request_serializer=bytes)
    assert reason(await failure(raw(iter([b"\xff\xff"])))) == "INVALID_FIELD"


async def test_a_stream_that_is_cancelled_closes_its_handler_and_gives_its_place_back(
    serve: Serve, registry: CollectorRegistry
) -> None:
    closed = asyncio.Event()

    async def watch(request: Any, context: Any) -> AsyncIterator[StringValue]:
        try:
            yield request
            await asyncio.Event().wait()
        finally:
            closed.set()

    section = ServerSection(maximum_concurrent_streams=1, maximum_share_per_caller=1)
    client = await serve(Toy(watch=watch), section=section)
    call = client.watch(HELLO)
    assert await call.read() == HELLO
    assert reason(await failure(client.watch(HELLO).read())) == "OVERLOADED"
    assert await client.unary(HELLO, timeout=TIMEOUT) == HELLO  # counted apart
    call.cancel()
    await asyncio.wait_for(closed.wait(), TIMEOUT)
    await handled(registry, "Watch", "server_stream", "CANCELLED")
    again = client.watch(HELLO)
    assert await again.read() == HELLO
    again.cancel()


async def test_a_handler_that_writes_for_itself_works_too(serve: Serve) -> None:
    async def watch(request: Any, context: grpc.aio.ServicerContext) -> None:
        await context.write(request)

    assert [response async for response in (await serve(Toy(watch=watch))).watch(HELLO)] == [HELLO]


async def test_a_handler_that_would_block_the_loop_is_refused(serve: Serve) -> None:
    def blocking(request: Any, context: Any) -> Any:
        return request

    with pytest.raises(TypeError, match="Unary: the handler must be asynchronous"):
        await serve(Toy(unary=blocking))
