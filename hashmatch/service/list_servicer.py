"""ListService: tells about lists, never what is on them."""

from __future__ import annotations

from typing import Any, TypeAlias

import grpc.aio

from hashmatch.index.refresher import SnapshotFollower
from hashmatch.index.snapshot import LoadedList
from hashmatch.matching.visibility import Visibility
from hashmatch.model.clock import Clock
from hashmatch.model.errors import ErrorReason, HashmatchError
from hashmatch.service import messages
from hashmatch.service.calls import current_call
from hashmatch.service.paging import Page
from hashmatch.service.permissions import Permissions
from hashmatch.store.manifest import ListState
from hashmatch.v1 import common_pb2, list_service_pb2, list_service_pb2_grpc

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class ListServicer(list_service_pb2_grpc.ListServiceServicer):
    """Answers from the snapshot in use."""

    def __init__(self, refresher: SnapshotFollower, permissions: Permissions, clock: Clock) -> None:
        self._refresher = refresher
        self._permissions = permissions
        self._clock = clock

    async def ListLists(  # noqa: N802
        self,
        request: list_service_pb2.ListListsRequest,
        context: Context,  # noqa: ARG002
    ) -> list_service_pb2.ListListsResponse:
        """A page of lists, by id."""
        page = Page.asked(request.page_size, request.page_token)
        served = self._refresher.served
        if served is None:
            return list_service_pb2.ListListsResponse()
        seen = self._permissions.visible(served, current_call().caller)
        states = sorted(seen.states.values(), key=lambda state: state.definition.list_id)
        found, token = page.cut(states, lambda state: state.definition.list_id)
        return list_service_pb2.ListListsResponse(
            lists=[self._message(seen, state) for state in found],
            next_page_token=token,
            epoch=seen.epoch,
        )

    async def GetList(  # noqa: N802
        self,
        request: list_service_pb2.GetListRequest,
        context: Context,  # noqa: ARG002
    ) -> list_service_pb2.GetListResponse:
        """One list."""
        served = self._refresher.served
        if served is None:
            raise HashmatchError(ErrorReason.NOT_SERVING, "no snapshot is loaded yet", retry_after=1.0)
        seen = self._permissions.visible(served, current_call().caller)
        state = seen.state(request.list_id)
        return list_service_pb2.GetListResponse(list=self._message(seen, state), epoch=seen.epoch)

    def _message(self, seen: Visibility, state: ListState) -> list_service_pb2.HashList:
        if state.generation is None:
            return list_service_pb2.HashList(definition=definition_message(state))
        # Known-good corpora are told of as well, though no snapshot loads them.
        loaded = seen.lists.get(state.definition.list_id) or LoadedList(state, state.generation, {})
        return list_service_pb2.HashList(
            definition=definition_message(state),
            generation=messages.generation(state.generation, seen.permission),
            freshness=messages.freshness(loaded, self._clock.now()),
        )


def definition_message(state: ListState) -> list_service_pb2.ListDefinition:
    """What the operator states about a list."""
    definition = state.definition
    return list_service_pb2.ListDefinition(
        list_id=definition.list_id,
        body=definition.body,
        title=definition.title,
        nature=common_pb2.ListNature.ValueType(definition.nature),
        scheme=definition.scheme,
        jurisdiction=definition.jurisdiction,
        max_age=messages.duration(definition.max_age),
        maximum_distance=definition.maximum_distance,
        minimum_asked_share=definition.minimum_asked_share,
        minimum_listed_share=definition.minimum_listed_share,
    )
