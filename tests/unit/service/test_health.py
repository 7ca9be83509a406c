"""Health: the AND of components that start unwell, as the gRPC health service tells it."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from hashmatch.service.health import Health, HealthServicer
from hashmatch.service.metrics import Metrics

from .conftest import Serve, Toy

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
TIMEOUT = 20


@pytest.fixture
def health(metrics: Metrics, logger: Any) -> Health:
    return Health(
        ["snapshot", "store"],
        {"match": ["snapshot"], "admin": ["store"]},
        gauge=metrics.ready,
        component_gauge=metrics.components,
        logger=logger,
    )


@pytest.fixture
async def stub(serve: Serve, health: Health) -> health_pb2_grpc.HealthStub:
    register = partial(health_pb2_grpc.add_HealthServicer_to_server, HealthServicer(health))
    return health_pb2_grpc.HealthStub((await serve(Toy(), register)).channel)


def test_it_starts_unwell(health: Health) -> None:
    assert health.readiness() == (False, {"snapshot": "starting", "store": "starting", "running": "ok"})
    assert not any(health.is_serving(service) for service in ("", "match", "admin"))


def test_it_is_well_when_every_component_is(health: Health, metrics: Metrics) -> None:
    def ready() -> float | None:
        return metrics.registry.get_sample_value("hashmatch_ready")

    health.set("store", ok=True)
    assert health.readiness()[0] is False
    assert (health.is_serving("admin"), health.is_serving("match"), ready()) == (True, False, 0)
    health.set("snapshot", ok=True, why="is not told of what is well")
    assert health.readiness() == (True, {"snapshot": "ok", "store": "ok", "running": "ok"})
    assert (health.is_serving(""), ready()) == (True, 1)
    health.set("store", ok=False, why="does not answer")
    assert health.readiness() == (False, {"snapshot": "ok", "store": "does not answer", "running": "ok"})
    assert (health.is_serving(""), health.is_serving("match"), ready()) == (False, True, 0)


def test_every_component_has_a_metric_of_its_own(health: Health, metrics: Metrics) -> None:
    def ready(component: str) -> float | None:
        return metrics.registry.get_sample_value("hashmatch_component_ready", {"component": component})

    assert [ready(component) for component in ("snapshot", "store", "running")] == [0, 0, 1]
    health.set("store", ok=True)
    assert [ready(component) for component in ("snapshot", "store", "running")] == [0, 1, 1]
    health.set("store", ok=False)
    health.shutdown()
    assert [ready(component) for component in ("snapshot", "store", "running")] == [0, 0, 0]


def test_shutting_down_comes_first_and_is_for_good(health: Health) -> None:
    health.set("store", ok=True)
    health.set("snapshot", ok=True)
    health.shutdown()
    health.set("store", ok=True)
    assert health.readiness() == (False, {"snapshot": "ok", "store": "ok", "running": "stopping"})
    assert not any(health.is_serving(service) for service in ("", "match", "admin"))


def test_a_component_that_nobody_named_is_an_error(health: Health, metrics: Metrics, logger: Any) -> None:
    with pytest.raises(KeyError):
        health.set("stoer", ok=True)
    with pytest.raises(ValueError, match="stoer"):
        Health(
            ["store"],
            {"admin": ["stoer"]},
            gauge=metrics.ready,
            component_gauge=metrics.components,
            logger=logger,
        )


def test_changes_are_logged_and_repetitions_are_not(health: Health, lines: list[dict[str, Any]]) -> None:
    health.set("store", ok=False, why="no connection")
    health.set("store", ok=True)
    health.set("store", ok=True)
    health.set("store", ok=False, why="no connection")
    assert [(line["component"], line["ok"]) for line in lines] == [("store", True), ("store", False)]


async def test_check_tells_how_a_service_is(stub: health_pb2_grpc.HealthStub, health: Health) -> None:
    async def check(service: str) -> Any:
        return (await stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=TIMEOUT)).status

    assert [await check(service) for service in ("", "match", "admin")] == [NOT_SERVING] * 3
    health.set("store", ok=True)
    assert [await check(service) for service in ("", "match", "admin")] == [NOT_SERVING, NOT_SERVING, SERVING]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await check("unheard.of")
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND


async def test_watch_tells_every_change_and_ends_with_the_server(
    stub: health_pb2_grpc.HealthStub, health: Health
) -> None:
    watch = stub.Watch(health_pb2.HealthCheckRequest(service="admin"), timeout=TIMEOUT)
    assert (await watch.read()).status == NOT_SERVING
    health.set("snapshot", ok=True)
    health.set("store", ok=True)
    assert (await watch.read()).status == SERVING
    health.shutdown()
    assert (await watch.read()).status == NOT_SERVING
    assert await watch.read() is grpc.aio.EOF


async def test_watching_a_service_that_is_unknown_says_so_and_ends_with_the_server(
    stub: health_pb2_grpc.HealthStub, health: Health
) -> None:
    watch = stub.Watch(health_pb2.HealthCheckRequest(service="unheard.of"), timeout=TIMEOUT)
    assert (await watch.read()).status == UNKNOWN
    health.set("store", ok=True)
    health.shutdown()
    assert await watch.read() is grpc.aio.EOF


async def test_a_change_between_two_looks_is_not_missed(health: Health) -> None:
    changes = health.watch("admin")
    assert await anext(changes) is False
    waiting = asyncio.ensure_future(anext(changes))
    health.set("store", ok=True)
    assert await asyncio.wait_for(waiting, TIMEOUT) is True


async def test_all_services_are_told_at_once(stub: health_pb2_grpc.HealthStub, health: Health) -> None:
    health.set("store", ok=True)
    statuses = (await stub.List(health_pb2.HealthListRequest(), timeout=TIMEOUT)).statuses
    assert {name: each.status for name, each in statuses.items()} == {
        "": NOT_SERVING,
        "match": NOT_SERVING,
        "admin": SERVING,
    }
