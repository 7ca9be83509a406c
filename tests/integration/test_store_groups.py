"""Servers on a cluster, and connections to groups over TLS. What groups stand besides is in the fault matrix."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

import grpc
import pytest
import redis

from bench.cluster import SETTINGS, form_cluster, port_with_bus
from hashmatch.model.errors import ErrorReason
from hashmatch.store.connection import Connection, StoreUnavailableError
from hashmatch.v1 import common_pb2, list_admin_service_pb2
from tests.faults.harness.groups import ClusterOfProcesses
from tests.integration.authorities import Trust
from tests.integration.conftest import MakeServer
from tests.integration.errors import refusal_of
from tests.integration.serving import Client, hash_text
from tests.integration.waiting import eventually

LISTED = [hashlib.sha256(b"listed %d" % number).digest() for number in range(20_000)]
ADDED = [hashlib.sha256(b"added %d" % number).digest() for number in range(1_000)]
UNLISTED = [hashlib.sha256(b"unlisted %d" % number).digest() for number in range(5_000)]
MANIFEST = b"hashmatch:manifest"
INCREMENTAL = list_admin_service_pb2.DELIVERY_MODE_INCREMENTAL
# A hash in three years: nothing comes back while a test runs.
POLICY = """
version = 1
[clients.anybody]
identities = ["loopback:anonymous", "loopback:operator"]
lists = ["*"]
natures = ["*"]
algorithms = ["*"]
jurisdictions = ["*"]
[clients.anybody.budget]
hashes_per_second = 1e-8
burst = 60
"""

REDIS = shutil.which("redis-server")
# Valkey from a wheel has no TLS.
needs_tls = pytest.mark.skipif(
    REDIS is None or b"Bad directive" in subprocess.run([REDIS, "--tls-port", "x"], capture_output=True).stderr,
    reason="needs a redis-server with TLS (Debian's package)",
)


@pytest.fixture
def cluster(scratch: Path) -> Iterator[ClusterOfProcesses]:
    """Three primaries; stopped after the servers on it."""
    cluster = ClusterOfProcesses(scratch / "cluster")
    with ExitStack() as stack:
        stack.callback(cluster.stop)
        cluster.start()
        yield cluster


@pytest.fixture
def clients(cluster: ClusterOfProcesses, make_server: MakeServer) -> tuple[Client, Client]:
    """Of two servers on the cluster that keep no block: every hit asks it."""
    servers = [make_server(name, cluster.url, approvals_required=0, block_cache_bytes=0) for name in ("one", "two")]
    one, two = (server.start() for server in servers)
    one.define()
    return one, two


def assert_answers(client: Client, listed: Sequence[bytes]) -> None:
    answer = client.bulk(common_pb2.ALGORITHM_SHA256, b"".join([*listed, *UNLISTED]))
    assert not answer.undetermined
    assert list(answer.match_indexes) == list(range(len(listed)))


def test_answers_are_the_same_while_slots_of_a_cluster_move(
    cluster: ClusterOfProcesses, clients: tuple[Client, Client]
) -> None:
    one, two = clients
    epoch = one.deliver(hash_text(LISTED))
    eventually(lambda: two.epoch() == epoch, "the other server has it")
    assert_answers(two, LISTED)
    counts = [int(str(node.run("DBSIZE"))) for node in cluster.nodes]
    # Blocks lie where chance has them, and not all where their list is.
    assert min(counts) * 2 > max(counts), counts
    assert cluster.move_slots(0.02)
    assert_answers(two, LISTED)
    before = cluster.owner(MANIFEST)
    cluster.move_slot_of(MANIFEST)
    assert cluster.owner(MANIFEST) is not before
    epoch = one.deliver(hash_text(ADDED), mode=INCREMENTAL)
    eventually(lambda: two.epoch() == epoch, "what is published is found where the slot is now")
    assert_answers(two, LISTED + ADDED)


def test_servers_on_a_cluster_spend_one_budget(clients: tuple[Client, Client]) -> None:
    one, two = clients
    one.deliver(hash_text(LISTED))
    epoch = one.activate(POLICY)
    eventually(lambda: one.epoch() == two.epoch() == epoch, "the policy is in force")
    answers = sum(_answered(client) for _ in range(50) for client in clients)
    # Never more; what one took for itself the other does not have.
    assert 50 <= answers <= 60


def _answered(client: Client) -> bool:
    try:
        client.ask(LISTED[0])
    except grpc.RpcError as error:
        if refusal_of(error).reason != ErrorReason.BUDGET_EXHAUSTED:
            raise
        return False
    return True


def test_a_cluster_that_is_away_is_an_unavailable_store(cluster: ClusterOfProcesses) -> None:
    with closing(Connection(cluster.url)) as known, closing(Connection(cluster.url)) as never_used:
        known.set_many({b"key": b"value"})
        for node in cluster.nodes:
            node.kill()
        for connection in (known, never_used):
            with pytest.raises(StoreUnavailableError):
                connection.get_many([b"key", b"other"])
            with pytest.raises(StoreUnavailableError):
                connection.get(b"key")
        for node in cluster.nodes:
            node.start()
        for connection in (known, never_used):
            eventually(lambda connection=connection: _has(connection), "it is found again")


def _has(connection: Connection) -> bool:
    try:
        return connection.get_many([b"key"]) == [b"value"]
    except StoreUnavailableError:
        return False


# ---- over TLS

StartRedis = Callable[..., int]


@pytest.fixture
def start_redis(scratch: Path, trust: Trust) -> Iterator[StartRedis]:
    """Starts servers that speak TLS alone; gives the port."""
    with ExitStack() as stack:

        def start(*flags: str, configuration: str = "") -> int:
            assert REDIS is not None
            port = port_with_bus()
            home = scratch / f"store-{port}"
            home.mkdir()
            (home / "redis.conf").write_text(configuration)
            tls = ["--port", "0", "--tls-port", str(port), "--tls-auth-clients", "no", "--tls-replication", "yes"]
            tls += ["--tls-cert-file", str(trust.certificate_file), "--tls-key-file", str(trust.key_file)]
            # Nodes show each other a certificate whatever is asked of clients.
            tls += [
                "--tls-client-cert-file",
                str(scratch / "node.pem"),
                "--tls-client-key-file",
                str(scratch / "node.key"),
            ]
            tls += ["--tls-ca-cert-file", str(scratch / "ca.pem"), "--bind", "127.0.0.1"]
            log = stack.enter_context((home / "log").open("wb"))
            process = subprocess.Popen([REDIS, home / "redis.conf", *tls, *flags], cwd=home, stdout=log, stderr=log)
            stack.callback(process.wait)
            stack.callback(process.kill)
            eventually(lambda: _answers(port, scratch), "it starts")
            return port

        yield start


@pytest.fixture
def trust(scratch: Path) -> Trust:
    (scratch / "tls").mkdir()
    trust = Trust(scratch / "tls")
    (scratch / "ca.pem").write_bytes(trust.servers.certificate)
    node = trust.client("spiffe://test/nodes/one", by=trust.servers)
    (scratch / "node.pem").write_bytes(node.certificate)
    (scratch / "node.key").write_bytes(node.key)
    return trust


def _over_tls(directory: Path) -> dict[str, object]:
    return {"ssl": True, "ssl_ca_certs": str(directory / "ca.pem")}


def _answers(port: int, directory: Path) -> bool:
    with closing(redis.Redis(port=port, **_over_tls(directory))) as server:
        try:
            return bool(server.ping())
        except redis.ConnectionError:
            return False


def assert_stores(url: str) -> None:
    values = {b"key-%d" % number: b"%d" % number for number in range(100)}
    with closing(Connection(url)) as connection:
        connection.set_many(values)
        assert connection.get_many([*values, b"none"]) == [*values.values(), None]
        assert connection.delete(list(values)) == len(values)


@needs_tls
async def test_blocks_are_read_on_the_event_loop_over_tls(start_redis: StartRedis, scratch: Path) -> None:
    url = f"rediss://localhost:{start_redis()}"
    with (
        closing(Connection(f"{url}?ssl_ca_certs={scratch / 'ca.pem'}")) as connection,
        closing(Connection(url)) as other,
    ):
        connection.set_many({b"a": b"1", b"b": b"2" * 100_000})
        reads, unsure = connection.loop_reads(), other.loop_reads()
        assert reads is not None
        assert unsure is not None
        async with asyncio.timeout(10):
            while (found := await reads.get_many([b"b", b"x", b"a"], 1.0)) is None:
                assert await unsure.get_many([b"a"], 1.0) is None
                await asyncio.sleep(0.01)
        assert found == [b"2" * 100_000, None, b"1"]
        for each in (reads, unsure):
            await each.close()


@needs_tls
def test_a_cluster_is_reached_over_tls_alone(start_redis: StartRedis, scratch: Path) -> None:
    flags = [part for name, value in SETTINGS.items() for part in (f"--{name}", value)]
    ports = [start_redis("--tls-cluster", "yes", *flags) for _ in range(3)]
    form_cluster(ports, primaries=3, **_over_tls(scratch))
    nodes = ",".join(f"127.0.0.1:{port}" for port in ports[:2])
    assert_stores(f"rediss+cluster://{nodes}?ssl_ca_certs={scratch / 'ca.pem'}")
    _assert_refused(f"rediss+cluster://{nodes}", f"redis+cluster://{nodes}")


@needs_tls
def test_sentinels_and_whom_they_name_are_reached_over_tls_alone(start_redis: StartRedis, scratch: Path) -> None:
    primary = start_redis()
    watched = f"sentinel monitor lists 127.0.0.1 {primary} 1\n"
    sentinel = start_redis("--sentinel", configuration=watched)
    place = f"127.0.0.1:{sentinel}/lists"
    assert_stores(f"rediss+sentinel://{place}?ssl_ca_certs={scratch / 'ca.pem'}")
    _assert_refused(f"rediss+sentinel://{place}", f"redis+sentinel://{place}")


def _assert_refused(*urls: str) -> None:
    """Without the authority, and without TLS."""
    for url in urls:
        with closing(Connection(url)) as connection, pytest.raises(StoreUnavailableError):
            connection.get_many([b"key"])
