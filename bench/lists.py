"""Administration over the service's own calls: defining a list, staging a delivery, publishing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import grpc.aio
from google.protobuf.duration_pb2 import Duration

from hashmatch.v1 import (
    common_pb2,
    list_admin_service_pb2,
    list_admin_service_pb2_grpc,
    list_service_pb2,
    policy_admin_service_pb2,
    policy_admin_service_pb2_grpc,
)

FULL = list_admin_service_pb2.DELIVERY_MODE_FULL
INCREMENTAL = list_admin_service_pb2.DELIVERY_MODE_INCREMENTAL
# For rows of a label and a SHA-256; see `bench.data`.
LABELLED_PROFILE = """
layout = "tsv"
header = false
label = [1]
[[hash]]
column = 2
algorithm = "sha256"
"""
# For one PDQ code a line.
PDQ_PROFILE = """
layout = "tsv"
header = false
[[hash]]
column = 1
algorithm = "pdq"
"""
_CHUNK = 1 << 20
_PATIENCE = 1_800.0


class Administration:
    """The operator of a server."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._policies = policy_admin_service_pb2_grpc.PolicyAdminServiceStub(channel)
        self._service = list_admin_service_pb2_grpc.ListAdminServiceStub(channel)

    async def activate(self, policy: str) -> None:
        """Put a policy in force."""
        request = policy_admin_service_pb2.ActivatePolicyRequest(document=policy, reason="a benchmark")
        await self._policies.ActivatePolicy(request, timeout=_PATIENCE)

    async def define(self, list_id: str) -> None:
        """Define a list with a body of its own."""
        definition = list_service_pb2.ListDefinition(
            list_id=list_id,
            body=f"Body of {list_id}",
            nature=common_pb2.LIST_NATURE_TEST,
            scheme="bench",
            max_age=Duration(seconds=86_400),
        )
        await self._service.DefineList(
            list_admin_service_pb2.DefineListRequest(definition=definition), timeout=_PATIENCE
        )

    async def stage(
        self,
        list_id: str,
        delivery: Path | bytes,
        *,
        mode: list_admin_service_pb2.DeliveryMode.ValueType = FULL,
        profile: str = "",
        validate_only: bool = False,
    ) -> str:
        """Stage a delivery of hash text, or of what a column profile describes; returns the staging's id."""
        header = list_admin_service_pb2.StageHeader(
            list_id=list_id,
            format="columns" if profile else "hash-text",
            profile=profile,
            mode=mode,
            validate_only=validate_only,
        )
        response = await self._service.Stage(_parts(header, delivery), timeout=_PATIENCE)
        return str(response.staging.staging_id)

    async def publish(self, staging_id: str) -> int:
        """Publish a staging; returns the epoch."""
        response = await self._service.Publish(
            list_admin_service_pb2.PublishRequest(staging_id=staging_id), timeout=_PATIENCE
        )
        return int(response.epoch)

    async def deliver(self, list_id: str, delivery: Path | bytes, *, profile: str = "") -> int:
        """Define a list and publish a whole delivery of it; returns the epoch."""
        await self.define(list_id)
        return await self.publish(await self.stage(list_id, delivery, profile=profile))


async def _parts(
    header: list_admin_service_pb2.StageHeader, delivery: Path | bytes
) -> AsyncIterator[list_admin_service_pb2.StageRequest]:
    yield list_admin_service_pb2.StageRequest(header=header)
    if isinstance(delivery, bytes):
        for start in range(0, len(delivery), _CHUNK):
            yield list_admin_service_pb2.StageRequest(chunk=delivery[start : start + _CHUNK])
    else:
        with delivery.open("rb") as file:
            while chunk := file.read(_CHUNK):
                yield list_admin_service_pb2.StageRequest(chunk=chunk)
    yield list_admin_service_pb2.StageRequest(end=list_admin_service_pb2.StageEnd())
