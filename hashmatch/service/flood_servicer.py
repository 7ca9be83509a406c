"""FloodAdminService: shows which entries suddenly match far more often than before."""

from __future__ import annotations

from typing import Any, TypeAlias

import grpc.aio
from google.protobuf.duration_pb2 import Duration

from hashmatch.ingest.acts import Audit
from hashmatch.model.algorithms import Algorithm
from hashmatch.model.clock import Clock
from hashmatch.model.errors import invalid_field
from hashmatch.model.floods import Flood
from hashmatch.model.lists import check_list_id
from hashmatch.service import messages
from hashmatch.service.acting import Acting
from hashmatch.service.calls import annotate, current_call
from hashmatch.store.floods import FloodStore
from hashmatch.v1 import common_pb2, flood_admin_service_pb2, flood_admin_service_pb2_grpc

_USUAL, _MOST = 100, 1_000

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class FloodAdminServicer(flood_admin_service_pb2_grpc.FloodAdminServiceServicer):
    """Tells operators what all servers noticed."""

    def __init__(self, store: FloodStore, audit: Audit, clock: Clock, acting: Acting) -> None:
        self._store = store
        self._audit = audit
        self._clock = clock
        self._acting = acting

    async def ListFloods(  # noqa: N802
        self,
        request: flood_admin_service_pb2.ListFloodsRequest,
        context: Context,  # noqa: ARG002
    ) -> flood_admin_service_pb2.ListFloodsResponse:
        """What was noticed."""
        if request.list_id:
            check_list_id(request.list_id)
        if request.limit > _MOST:
            raise invalid_field("limit", f"at most {_MOST}")
        found = await self._acting.run(lambda: self._store.all(self._clock.now()))
        wanted = [(flood_id, flood) for flood_id, flood in found.items() if request.list_id in ("", flood.list_id)]
        wanted.sort(key=lambda each: (-each[1].seen_at, each[0]))
        told = wanted[: request.limit or _USUAL]
        if request.include_hashes:
            # On the record before anybody has them.
            actor = current_call().caller.name
            await self._acting.run(lambda: self._audit.append("tell-floods", actor, hashes=len(told)))
        annotate(floods=len(told))
        return flood_admin_service_pb2.ListFloodsResponse(
            floods=[_message(*each, with_hash=request.include_hashes) for each in told], total=len(wanted)
        )


def _message(flood_id: str, flood: Flood, *, with_hash: bool) -> flood_admin_service_pb2.MatchFlood:
    algorithm = common_pb2.Algorithm.ValueType(flood.algorithm)
    # Of a video the value only names what matched.
    told = with_hash and flood.algorithm != Algorithm.VPDQ
    window = Duration()
    window.FromMilliseconds(round(flood.window_seconds * 1_000))
    return flood_admin_service_pb2.MatchFlood(
        flood_id=flood_id,
        list_id=flood.list_id,
        generation=flood.generation,
        algorithm=algorithm,
        source_keys=flood.source_keys,
        hash=common_pb2.Hash(algorithm=algorithm, value=flood.value) if told else None,
        matches=flood.matches,
        usual=flood.usual,
        window=window,
        seen_at=messages.timestamp(flood.seen_at),
    )
