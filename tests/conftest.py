"""What the tests share: a real Valkey, emptied for each test, a clock that is set by hand, and a store on them."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import closing

import pytest
import redis
import structlog
from hypothesis import settings

from hashmatch.columns.placement import PlacementSecret
from hashmatch.ingest.acts import Acts
from hashmatch.ingest.compaction import Collector, Compactor
from hashmatch.ingest.publisher import Publisher
from hashmatch.ingest.staging import Stager
from hashmatch.ingest.suppressor import Suppressor
from hashmatch.model.vetting import VettingPolicy
from hashmatch.store.connection import Connection
from hashmatch.store.embedded import EmbeddedValkey
from hashmatch.store.store import Store
from hashmatch.trust.sealing import KEY_SIZE, SealingKey
from tests.support.clock import ManualClock
from tests.support.memory import MemoryAudit, MemoryFloor
from tests.support.office import Office

# No test is about how long an example takes, and a busy machine is no defect.
settings.register_profile("patient", parent=settings.default, deadline=None)
settings.load_profile("patient")

# Seconds; for the store of a machine that has other work.
_TIMEOUT = 10.0


def pytest_configure() -> None:
    """Let interrupts interrupt, and logs go nowhere: tests that read a log capture it, or start a process.

    A shell that starts a command in the background makes it ignore them, and with it every program that a test starts
    and interrupts.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())


@pytest.fixture(scope="session")
def valkey_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedValkey]:
    """One Valkey for all tests. A test that stops one starts its own."""
    with EmbeddedValkey(tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture
def valkey(valkey_server: EmbeddedValkey) -> Iterator[redis.Redis]:
    """A client of our own to the Valkey, which is empty and has its usual settings."""
    with closing(redis.Redis.from_url(valkey_server.url, socket_timeout=_TIMEOUT)) as client:
        client.flushall()
        yield client


@pytest.fixture
def valkey_url(valkey: redis.Redis, valkey_server: EmbeddedValkey) -> str:
    """Where the empty Valkey is."""
    return valkey_server.url


@pytest.fixture
def connection(valkey_url: str) -> Iterator[Connection]:
    with closing(Connection(valkey_url, operation_timeout=_TIMEOUT)) as connection:
        yield connection


@pytest.fixture(scope="session")
def sealing_key() -> SealingKey:
    return SealingKey(bytes(range(KEY_SIZE)))


@pytest.fixture(scope="session")
def secret() -> PlacementSecret:
    """A placement secret that is the same in every run."""
    return PlacementSecret(0x0123456789ABCDEF, 0xFEDCBA9876543210)


@pytest.fixture
def store(connection: Connection, sealing_key: SealingKey) -> Store:
    """An empty store."""
    return Store(connection, sealing_key)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def policy() -> VettingPolicy:
    return VettingPolicy()


@pytest.fixture
def audit() -> MemoryAudit:
    return MemoryAudit()


@pytest.fixture
def floor() -> MemoryFloor:
    return MemoryFloor()


@pytest.fixture
def acts(store: Store, clock: ManualClock, policy: VettingPolicy, audit: MemoryAudit, floor: MemoryFloor) -> Acts:
    return Acts(store, clock, policy, audit, floor)


@pytest.fixture
def publisher(acts: Acts) -> Publisher:
    return Publisher(acts)


@pytest.fixture
def suppressor(acts: Acts) -> Suppressor:
    return Suppressor(acts)


@pytest.fixture
def stager(store: Store, clock: ManualClock, policy: VettingPolicy) -> Stager:
    return Stager(store, clock, policy)


@pytest.fixture
def compactor(store: Store, clock: ManualClock, publisher: Publisher) -> Compactor:
    return Compactor(store, clock, publisher)


@pytest.fixture
def collector(store: Store, clock: ManualClock) -> Collector:
    return Collector(store, clock)


@pytest.fixture
def office(store: Store, clock: ManualClock, publisher: Publisher, stager: Stager) -> Office:
    """Stands for the people: defines, delivers, approves, publishes and asks in one call each."""
    return Office(store, clock, publisher, stager)
