"""The policy over the wire: in force on every server within a moment, and never replaced by a bad one."""

from __future__ import annotations

import os
import queue
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import grpc
import pytest
from hashmatch_client import Algorithm, AsyncHashmatchClient, HashmatchClient, NotPermittedError

from hashmatch.model.errors import ErrorReason
from hashmatch.store.embedded import EmbeddedValkey
from hashmatch.v1 import common_pb2, match_service_pb2, policy_admin_service_pb2
from tests.integration.authorities import CLIENT, OTHER_CLIENT, Trust
from tests.integration.conftest import MakeServer
from tests.integration.errors import refused
from tests.integration.serving import TIMEOUT, Client, RunningServer, hash_text
from tests.integration.waiting import eventually

LISTED = os.urandom(16)
MD5 = common_pb2.ALGORITHM_MD5


def policy(version: int, **clients: str) -> str:
    """A policy that lets clients, given with their identities, see everything."""
    document = f"version = {version}\n[clients]\n"
    for name, identity in clients.items():
        document += (
            f'[clients.{name}]\nidentities = ["{identity}"]\nlists = ["*"]\nnatures = ["*"]\nalgorithms = ["*"]\n'
            f'jurisdictions = ["*"]\nopinions = "full"\n'
        )
    return document


@pytest.fixture
def trust(scratch: Path) -> Trust:
    return Trust(scratch)


Open = Callable[..., Client]


@pytest.fixture
def open_client(trust: Trust) -> Iterator[Open]:
    with ExitStack() as stack:

        def open_client(server: RunningServer, uri: str = CLIENT) -> Client:
            client = Client(
                server.runner.addresses,
                trust.channel_credentials(trust.client(uri)),
                trust.channel_credentials(trust.operator()),
            )
            stack.callback(client.close)
            return client

        yield open_client


@pytest.fixture
def server(make_server: MakeServer, trust: Trust) -> RunningServer:
    server = make_server(approvals_required=0, **trust.settings)
    server.start()
    return server


@pytest.fixture
def client(server: RunningServer, open_client: Open) -> Client:
    """A client of a server that has a list and no policy."""
    client = open_client(server)
    client.define()
    staging = client.stage(hash_text([LISTED]))
    client.publish(staging, accept=[gate.name for gate in staging.report.gates if not gate.passed])
    return client


def may_ask(client: Client) -> bool:
    try:
        return client.ask(LISTED).verdict == common_pb2.VERDICT_MATCH
    except grpc.RpcError as error:
        if error.code() is not grpc.StatusCode.PERMISSION_DENIED:
            raise
        return False


def test_nobody_may_ask_before_there_is_a_policy_and_those_in_it_at_once_after(
    server: RunningServer, client: Client, open_client: Open
) -> None:
    other = open_client(server, OTHER_CLIENT)
    eventually(lambda: server.runner.metrics.epoch._value.get() >= 2, "the list is served")
    assert not may_ask(client)
    client.activate(policy(1, uploads=CLIENT))
    eventually(lambda: may_ask(client), "the client may ask")
    assert not may_ask(other)
    client.activate(policy(2, other=OTHER_CLIENT))
    eventually(lambda: may_ask(other), "the other client may ask")
    assert not may_ask(client)


def test_a_bad_policy_never_replaces_a_good_one(client: Client) -> None:
    client.activate(policy(5, uploads=CLIENT))
    eventually(lambda: may_ask(client), "the client may ask")
    for document in ("", "version = 6", policy(6, uploads=CLIENT).replace("natures", "nature"), "\0" * 9):
        assert refused(lambda document=document: client.activate(document)).reason == ErrorReason.INVALID_POLICY
    for version in (4, 5):
        outdated = policy(version, other=OTHER_CLIENT)
        assert refused(lambda document=outdated: client.activate(document)).reason == ErrorReason.POLICY_OUTDATED
    found = client.policies.GetPolicy(policy_admin_service_pb2.GetPolicyRequest(), timeout=TIMEOUT)
    assert (found.version, found.document, found.activated_by) == (
        5,
        policy(5, uploads=CLIENT),
        "spiffe://test/operators/ann",
    )
    assert may_ask(client)


def test_checking_a_policy_says_what_it_would_change_and_changes_nothing(client: Client) -> None:
    client.activate(policy(1, uploads=CLIENT, gone="spiffe://test/clients/gone"))
    document = policy(2, uploads=CLIENT, new=OTHER_CLIENT).replace('lists = ["*"]', 'lists = ["no-such-list"]', 1)
    told = client.policies.ActivatePolicy(
        policy_admin_service_pb2.ActivatePolicyRequest(document=document, reason="a test", validate_only=True),
        timeout=TIMEOUT,
    )
    assert (list(told.added_clients), list(told.changed_clients), list(told.removed_clients)) == (
        ["new"],
        ["uploads"],
        ["gone"],
    )
    assert list(told.unknown_lists) == ["no-such-list"]
    eventually(lambda: may_ask(client), "the client may ask")


def test_an_open_stream_ends_with_the_permission(client: Client) -> None:
    client.activate(policy(1, uploads=CLIENT))
    eventually(lambda: may_ask(client), "the client may ask")
    waiting: queue.Queue[match_service_pb2.BulkMatchRequest | None] = queue.Queue()
    responses = client.matching.BulkMatch(iter(waiting.get, None), timeout=TIMEOUT)
    request = match_service_pb2.BulkMatchRequest(column=match_service_pb2.HashColumn(algorithm=MD5, digests=LISTED))
    waiting.put(request)
    assert list(next(responses).match_indexes) == [0]
    client.activate(policy(2, other=OTHER_CLIENT))
    eventually(lambda: not may_ask(client), "the client may not ask any more")
    waiting.put(request)
    assert refused(lambda: next(responses)).reason == ErrorReason.NOT_PERMITTED
    waiting.put(None)


def test_every_server_goes_by_the_policy(
    make_server: MakeServer, trust: Trust, own_valkey: EmbeddedValkey, open_client: Open
) -> None:
    settings = {**trust.settings, "approvals_required": 0}
    servers = [make_server(name, own_valkey.url, **settings) for name in ("one", "two")]
    for server in servers:
        server.start()
    first, second = (open_client(server) for server in servers)
    first.define()
    first.activate(policy(1, uploads=CLIENT))
    eventually(lambda: second.epoch() == 2, "the other server goes by it")
    servers[1].restart()
    assert open_client(servers[1]).epoch() == 2


async def test_the_client_states_its_purpose_with_every_question(make_server: MakeServer) -> None:
    server = make_server(approvals_required=0)
    client = server.start()
    client.define()
    document = policy(1, anybody="loopback:anonymous").replace('opinions = "full"', 'purposes = ["upload", "rescan"]')
    epoch = client.activate(document)
    eventually(lambda: client.epoch() == epoch, "the policy is in force")
    target = server.runner.addresses.matching
    with HashmatchClient(target) as silent, pytest.raises(NotPermittedError, match="purpose"):
        silent.match(md5=LISTED)
    environment = {"HASHMATCH_TARGET": target, "HASHMATCH_PURPOSE": "rescan"}
    with HashmatchClient.from_environment(environment) as stating:
        assert not stating.match(md5=LISTED).is_match
        assert list(stating.bulk_match(Algorithm.MD5, LISTED))
    async with AsyncHashmatchClient(target, purpose="upload") as stating_too:
        assert not (await stating_too.match(md5=LISTED)).is_match
