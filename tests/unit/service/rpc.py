"""What tests of single calls have in common: how they fail, and what is counted of them."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf.wrappers_pb2 import StringValue
from google.rpc import error_details_pb2, status_pb2
from prometheus_client import CollectorRegistry

from .conftest import SERVICE, Toy

TIMEOUT = 20
HELLO = StringValue(value="hello")
SECRET = "0123456789abcdef" * 4


async def failure(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


def trailing(error: grpc.aio.AioRpcError, key: str) -> Any:
    return dict(error.trailing_metadata()).get(key)


def details(error: grpc.aio.AioRpcError) -> dict[str, Any]:
    status = status_pb2.Status.FromString(trailing(error, "grpc-status-details-bin"))
    assert status.code == error.code().value[0]
    assert status.message == error.details()
    found: dict[str, Any] = {}
    for detail in status.details:
        for kind in (error_details_pb2.ErrorInfo, error_details_pb2.BadRequest, error_details_pb2.RetryInfo):
            if detail.Is(kind.DESCRIPTOR):
                found[kind.DESCRIPTOR.name] = kind()
                detail.Unpack(found[kind.DESCRIPTOR.name])
    assert found["ErrorInfo"].domain == "hashmatch"
    return found


def reason(error: grpc.aio.AioRpcError) -> str:
    return str(details(error)["ErrorInfo"].reason)


def failing(error: BaseException) -> Toy:
    async def behaviour(request: Any, context: Any) -> Any:
        raise error

    return Toy(unary=behaviour)


async def handled(registry: CollectorRegistry, method: str, grpc_type: str, code: str) -> None:
    """Wait until the server has counted a call, which it does after the caller has its answer."""
    labels = {"grpc_service": SERVICE, "grpc_method": method, "grpc_type": grpc_type, "grpc_code": code}
    async with asyncio.timeout(TIMEOUT):
        while not registry.get_sample_value("grpc_server_handled_total", labels):  # noqa: ASYNC110  nobody tells us
            await asyncio.sleep(0)
