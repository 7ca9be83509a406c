"""The server to compare with: the same kind of process, whose handlers read their input and answer a small message.

What it takes is the price of the wire; what a real service takes beyond it is the price of its answers. `BulkReturn` is
an echo to the letter: it sends every request back. With a certificate, its key and the authority of the callers as
arguments it speaks mutual TLS.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import uvloop

from hashmatch.service.config import Config
from hashmatch.v1 import match_service_pb2

SERVICE = "hashmatch.bench.Echo"


async def _batch(
    request: match_service_pb2.BatchMatchRequest, _context: grpc.aio.ServicerContext[Any, Any]
) -> match_service_pb2.BatchMatchResponse:
    values = sum(len(asked.value) for item in request.items for asked in item.hashes)
    reference = request.items[0].reference if values else ""
    return match_service_pb2.BatchMatchResponse(results=[match_service_pb2.ItemResult(reference=reference)])


async def _bulk(
    requests: AsyncIterator[match_service_pb2.BulkMatchRequest], _context: grpc.aio.ServicerContext[Any, Any]
) -> AsyncIterator[match_service_pb2.BulkMatchResponse]:
    async for request in requests:
        yield match_service_pb2.BulkMatchResponse(sequence=request.sequence, count=len(request.column.digests))


async def _return(
    requests: AsyncIterator[match_service_pb2.BulkMatchRequest], _context: grpc.aio.ServicerContext[Any, Any]
) -> AsyncIterator[match_service_pb2.BulkMatchRequest]:
    async for request in requests:
        yield request


async def _serve(tls: Sequence[bytes]) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    settings = Config().server
    # As hashmatch.service.listeners has it.
    server = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", settings.maximum_message_bytes),
            ("grpc.max_send_message_length", -1),
            ("grpc.max_concurrent_streams", settings.maximum_calls_per_connection),
            ("grpc.so_reuseport", 0),
        ]
    )
    handlers = {
        "BatchMatch": grpc.unary_unary_rpc_method_handler(
            _batch,
            match_service_pb2.BatchMatchRequest.FromString,
            match_service_pb2.BatchMatchResponse.SerializeToString,
        ),
        "BulkMatch": grpc.stream_stream_rpc_method_handler(
            _bulk,
            match_service_pb2.BulkMatchRequest.FromString,
            match_service_pb2.BulkMatchResponse.SerializeToString,
        ),
        "BulkReturn": grpc.stream_stream_rpc_method_handler(
            _return,
            match_service_pb2.BulkMatchRequest.FromString,
            match_service_pb2.BulkMatchRequest.SerializeToString,
        ),
    }
    server.add_registered_method_handlers(SERVICE, handlers)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    if tls:
        chain, key, authority = tls
        credentials = grpc.ssl_server_credentials([(key, chain)], authority, require_client_auth=True)
        port = server.add_secure_port("127.0.0.1:0", credentials)
    else:
        port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(json.dumps({"event": "echo-started", "address": f"127.0.0.1:{port}"}), flush=True)
    await stop.wait()
    await server.stop(0)


if __name__ == "__main__":
    uvloop.run(_serve([Path(file).read_bytes() for file in sys.argv[1:]]))
