"""A caller who asks far more than it may, in a process of its own, until its standard input ends.

    python -m tests.faults.harness.greedy ADDRESS CALLS_AT_ONCE

Says at its end in JSON how many calls came to which code.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections import Counter

import grpc
import grpc.aio

from hashmatch.v1 import match_service_pb2, match_service_pb2_grpc
from tests.faults.harness.load import ASK_TIMEOUT, many_items

# Who was refused comes back sooner than it was told to, but not at once: what is measured is the server.
_PAUSE = 0.005
# Calls of one connection beyond its limit wait in the client.
_CALLS_PER_CONNECTION = 10


async def _ask(address: str, request: match_service_pb2.BatchMatchRequest, at_once: int) -> Counter[str]:
    codes: Counter[str] = Counter()
    metadata = (("hashmatch-operator", "greedy"),)

    async def go_on(stub: match_service_pb2_grpc.MatchServiceStub) -> None:
        while True:
            try:
                await stub.BatchMatch(request, timeout=ASK_TIMEOUT, metadata=metadata)
                codes["OK"] += 1
            except grpc.aio.AioRpcError as error:
                codes[error.code().name] += 1
                await asyncio.sleep(_PAUSE)

    options = [("grpc.use_local_subchannel_pool", 1)]
    async with contextlib.AsyncExitStack() as stack:
        tasks = []
        for low in range(0, at_once, _CALLS_PER_CONNECTION):
            channel = await stack.enter_async_context(grpc.aio.insecure_channel(address, options))
            stub = match_service_pb2_grpc.MatchServiceStub(channel)
            tasks += [asyncio.create_task(go_on(stub)) for _ in range(low, min(low + _CALLS_PER_CONNECTION, at_once))]
        await asyncio.to_thread(sys.stdin.read)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return codes


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(_ask(sys.argv[1], many_items(), int(sys.argv[2])))))
