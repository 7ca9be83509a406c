"""Whether the server may be sent calls: every named component must be well, and each starts unwell.

One state feeds the gRPC health service, the readiness page and the metric. Everything runs on the event loop, except
`readiness`, which any thread may ask.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client import Gauge
from structlog.typing import FilteringBoundLogger

from hashmatch.service.logs import Event

_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
_SERVICE_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN

# The component that `shutdown` makes unwell for good.
_RUNNING = "running"


@dataclass(frozen=True, slots=True)
class ComponentState:
    """Whether a component is well, and why not."""

    ok: bool
    why: str


class Health:
    """The state of the components and what follows from it for each gRPC service.

    `services` names, for each service, the components that it cannot do without; the server as a whole (the empty name,
    and the readiness page) needs all `components`. `gauge` is set to 1 while the server as a whole is ready,
    `component_gauge` for each `component` that is well.
    """

    def __init__(
        self,
        components: Collection[str],
        services: Mapping[str, Collection[str]],
        *,
        gauge: Gauge,
        component_gauge: Gauge,
        logger: FilteringBoundLogger,
    ) -> None:
        self._states = {component: ComponentState(ok=False, why="starting") for component in components}
        self._states[_RUNNING] = ComponentState(ok=True, why="")
        self._needs = {service: (*needed, _RUNNING) for service, needed in services.items()} | {"": (*self._states,)}
        for service, needed in self._needs.items():
            unknown = set(needed) - self._states.keys()
            if unknown:
                raise ValueError(f"{service} needs unknown components: {', '.join(sorted(unknown))}")
        self._gauge = gauge
        self._gauge.set(0)
        self._component_gauge = component_gauge
        for component, state in self._states.items():
            component_gauge.labels(component).set(state.ok)
        self._logger = logger
        self._changed = asyncio.Event()

    def set(self, component: str, ok: bool, why: str = "") -> None:
        """Say how a component is. `why` is for people and is shown on the readiness page. Raises `KeyError`."""
        before = self._states[component]
        state = ComponentState(ok=ok, why="" if ok else why)
        if state == before:
            return
        # A new dict, so that another thread that is reading the old one is not disturbed.
        self._states = {**self._states, component: state}
        self._gauge.set(float(self.is_serving("")))
        self._component_gauge.labels(component).set(ok)
        if ok != before.ok:
            self._logger.info(
                Event.HEALTH_CHANGED, component=component, ok=ok, why=state.why, ready=self.is_serving("")
            )
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def shutdown(self) -> None:
        """Stop being ready, for good: the first step of stopping, so that nobody sends new calls."""
        self.set(_RUNNING, ok=False, why="stopping")

    def readiness(self) -> tuple[bool, dict[str, str]]:
        """Whether the server as a whole is ready, and for each component "ok" or what is wrong with it."""
        states = self._states
        return all(state.ok for state in states.values()), {
            component: "ok" if state.ok else state.why or "not ready" for component, state in states.items()
        }

    def is_serving(self, service: str) -> bool:
        """Whether a service may be sent calls; the empty name is the server as a whole. Raises `KeyError`."""
        states = self._states
        return all(states[component].ok for component in self._needs[service])

    async def watch(self, service: str) -> AsyncIterator[bool]:
        """Yield whether `service` may be sent calls: now, and at every change. Raises `KeyError`.

        It ends with `shutdown`, so that watchers do not hold up the end of the server.
        """
        last: bool | None = None
        while True:
            # Taken before looking, so that a change in between is not missed.
            changed = self._changed
            serving = self.is_serving(service)
            if serving != last:
                yield serving
                last = serving
            elif not self._states[_RUNNING].ok:
                return
            else:
                await changed.wait()

    @property
    def services(self) -> tuple[str, ...]:
        """The services that there are; the empty name is the server as a whole."""
        return tuple(self._needs)

    def knows(self, service: str) -> bool:
        """Whether there is such a service."""
        return service in self._needs


class HealthServicer(health_pb2_grpc.HealthServicer):  # type: ignore[misc]
    """grpc.health.v1 over a `Health`.

    The library's own servicer holds a lock while it writes to a watcher, so that one watcher who does not read would
    keep everybody from learning of a change. Here nothing waits for a watcher.
    """

    def __init__(self, health: Health) -> None:
        self._health = health

    async def Check(  # noqa: N802
        self, request: health_pb2.HealthCheckRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> health_pb2.HealthCheckResponse:
        """Tell how a service is, or NOT_FOUND."""
        if not self._health.knows(request.service):
            await context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
        return _response(self._health.is_serving(request.service))

    async def List(  # noqa: N802
        self,
        request: health_pb2.HealthListRequest,  # noqa: ARG002
        context: grpc.aio.ServicerContext[Any, Any],  # noqa: ARG002
    ) -> health_pb2.HealthListResponse:
        """Tell how every service is."""
        health = self._health
        return health_pb2.HealthListResponse(
            statuses={service: _response(health.is_serving(service)) for service in health.services}
        )

    async def Watch(  # noqa: N802
        self,
        request: health_pb2.HealthCheckRequest,
        context: grpc.aio.ServicerContext[Any, Any],  # noqa: ARG002
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        """Tell how a service is, now and at every change. Services are never added, so an unknown one stays unknown."""
        if not self._health.knows(request.service):
            yield health_pb2.HealthCheckResponse(status=_SERVICE_UNKNOWN)
            # For as long as anybody is told anything.
            async for _ in self._health.watch(""):
                pass
            return
        async for serving in self._health.watch(request.service):
            yield _response(serving)


def _response(serving: bool) -> health_pb2.HealthCheckResponse:
    return health_pb2.HealthCheckResponse(status=_SERVING if serving else _NOT_SERVING)
