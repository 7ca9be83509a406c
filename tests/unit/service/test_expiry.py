"""Streams of callers whose identity expires while they are open."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.protobuf.wrappers_pb2 import StringValue

from hashmatch.service.identity import Caller
from tests.support.clock import ManualClock

from .conftest import Serve, Toy

LIFETIME = 60.0


class Certified:
    """Everybody is the same caller, for a minute from now on."""

    def __init__(self, clock: ManualClock) -> None:
        self._caller = Caller("spiffe://platform", authenticated=True, expires_at=clock.now() + LIFETIME)

    def caller(self, _: Any) -> Caller:
        return self._caller


@pytest.mark.parametrize("asking", [True, False], ids=["who asks on", "who only listens"])
async def test_a_stream_ends_when_its_caller_has_expired(serve: Serve, clock: ManualClock, asking: bool) -> None:
    async def chat(requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        async for request in requests:
            yield request
            if not asking:
                clock.advance(LIFETIME)
                yield request

    client = await serve(Toy(chat=chat), identity=Certified(clock))
    call = client.chat()
    await call.write(StringValue(value="before"))
    assert (await call.read()).value == "before"
    if asking:
        clock.advance(LIFETIME)
        await call.write(StringValue(value="after"))
    with pytest.raises(grpc.RpcError) as caught:
        await call.read()
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
