"""The HTTP listener for Prometheus and probes."""

from __future__ import annotations

import asyncio
import http.client
import socket
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
from prometheus_client import CollectorRegistry

from hashmatch.service.addresses import Address
from hashmatch.service.metrics import Metrics
from hashmatch.service.monitoring import Heartbeat, Monitoring

from .conftest import ManualClock

Get = Callable[..., tuple[int, str, str]]


class State:
    """What the probes ask about."""

    def __init__(self) -> None:
        self.ready = (False, {"snapshot": "starting", "store": "ok"})
        self.alive = True


@pytest.fixture
def state() -> State:
    return State()


@pytest.fixture(params=["127.0.0.1", "::1"])
def get(request: pytest.FixtureRequest, state: State, metrics: Metrics, registry: CollectorRegistry) -> Iterator[Get]:
    monitoring = Monitoring(
        Address(host=request.param, port=0),
        registry=registry,
        readiness=lambda: state.ready,
        is_alive=lambda: state.alive,
        status=lambda: "<!DOCTYPE html>état\n",
    )
    monitoring.start()
    assert monitoring.address.port

    def ask(path: str, method: str = "GET", **headers: str) -> tuple[int, str, str]:
        connection = http.client.HTTPConnection(request.param, monitoring.address.port, timeout=20)
        with closing(connection):
            connection.request(method, path, headers=headers)
            response = connection.getresponse()
            return response.status, response.getheader("Content-Type", ""), response.read().decode()

    yield ask
    monitoring.stop()
    monitoring.stop()


def test_readiness_tells_what_is_missing(get: Get, state: State) -> None:
    assert get("/readyz") == (503, "text/plain; charset=utf-8", "snapshot: starting\nstore: ok\n")
    state.ready = (True, {"snapshot": "ok", "store": "ok"})
    assert get("/readyz")[0] == 200


def test_liveness_does_not_depend_on_readiness(get: Get, state: State) -> None:
    assert get("/healthz")[0] == 200
    state.alive = False
    assert get("/healthz")[0] == 503


def test_start_up_is_over_once_the_tables_are_loaded_whatever_else_is_missing(get: Get, state: State) -> None:
    assert get("/startupz") == (503, "text/plain; charset=utf-8", "snapshot: starting\n")
    state.ready = (False, {"snapshot": "ok", "store": "the store did not answer in time"})
    assert get("/startupz") == (200, "text/plain; charset=utf-8", "snapshot: ok\n")


def test_the_page_for_people_is_served_as_html(get: Get) -> None:
    assert get("/status") == (200, "text/html; charset=utf-8", "<!DOCTYPE html>état\n")


def test_metrics_are_those_of_the_registry(get: Get, metrics: Metrics) -> None:
    metrics.epoch.set(17)
    status, content_type, body = get("/metrics")
    assert status == 200
    assert content_type.startswith("text/plain; version=")
    assert "\nhashmatch_epoch 17.0\n" in body
    assert get("/metrics", Accept="application/openmetrics-text; version=1.0.0")[2].endswith("# EOF\n")


def test_other_paths_and_methods(get: Get) -> None:
    assert get("/")[0] == 404
    assert get("/metrics/../healthz")[0] == 404
    assert get("/healthz?verbose")[0] == 200
    assert get("/healthz", "HEAD") == (200, "text/plain; charset=utf-8", "")
    assert get("/healthz", "POST")[0] == 501


def test_a_watcher_that_sends_nothing_holds_up_nobody(
    registry: CollectorRegistry, capfd: pytest.CaptureFixture[str]
) -> None:
    monitoring = Monitoring(
        Address(host="127.0.0.1"), registry=registry, readiness=lambda: (True, {}), is_alive=lambda: True
    )
    monitoring.start()
    port = monitoring.address.port
    with socket.create_connection(("127.0.0.1", port)) as silent, socket.create_connection(("127.0.0.1", port)):
        silent.sendall(b"GET /met")
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        with closing(connection):
            connection.request("GET", "/healthz")
            assert connection.getresponse().status == 200
        monitoring.stop()
    assert capfd.readouterr() == ("", "")


def test_a_port_that_is_taken_is_an_error(registry: CollectorRegistry) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = Address(host="127.0.0.1", port=taken.getsockname()[1])
        monitoring = Monitoring(address, registry=registry, readiness=lambda: (True, {}), is_alive=lambda: True)
        with pytest.raises(OSError, match="in use"):
            monitoring.start()
        monitoring.stop()


async def test_the_heart_beats_as_long_as_the_loop_turns(clock: ManualClock) -> None:
    heartbeat = Heartbeat(clock, longest_pause=5)
    heartbeat.start()
    clock.advance(6)
    assert not heartbeat.is_alive()
    # What the timer does when the loop comes round to it.
    heartbeat.stop()
    heartbeat.start()
    assert heartbeat.is_alive()
    heartbeat.stop()
    await asyncio.sleep(0)
