"""Over the wire as well: what is done to a list that a client may not see shows in nothing that reaches the client."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator

import grpc
import pytest
from google.protobuf.message import Message

from hashmatch.v1 import common_pb2, list_service_pb2, match_service_pb2
from tests.integration.conftest import MakeServer
from tests.integration.perceptual import apart
from tests.integration.serving import TIMEOUT, Client
from tests.integration.waiting import eventually

PROFILE = """
layout = "jsonl"
key = ["id"]
label = ["label"]
[[hash]]
column = "md5"
algorithm = "md5"
[[hash]]
column = "pdq"
algorithm = "pdq"
[[hash]]
column = "frames"
algorithm = "vpdq"
"""
POLICY = """
version = 1
[clients.uploads]
identities = ["loopback:anonymous"]
lists = ["seen", "no-such-list"]
natures = ["*"]
algorithms = ["*"]
jurisdictions = ["*"]
distances = true
opinions = "full"
"""
HIDDEN = "kept"  # as long as the name of the list that is seen
FRAMES = 6
NUMBERS = range(10)


def code(number: int, *rest: object) -> bytes:
    return hashlib.sha256(f"{number} {rest}".encode()).digest()


def md5(number: int) -> bytes:
    return code(number)[:16]


def rows(numbers: range, label: str) -> bytes:
    def row(number: int) -> str:
        frames = [f"{code(number, at).hex()},100,{at}.000" for at in range(FRAMES)]
        stated = {"id": f"k{number}", "label": label, "md5": md5(number).hex(), "pdq": code(number).hex()}
        return json.dumps({**stated, "frames": frames}) + "\n"

    return "".join(map(row, numbers)).encode()


def hashes(number: int) -> list[common_pb2.Hash]:
    """What the entry has, and values near it."""
    frames = [common_pb2.VideoFrame(pdq=apart(code(number, at), number), quality=100) for at in range(FRAMES)]
    return [
        common_pb2.Hash(algorithm=common_pb2.ALGORITHM_MD5, value=md5(number)),
        common_pb2.Hash(algorithm=common_pb2.ALGORITHM_PDQ, value=apart(code(number), number)),
        common_pb2.Hash(algorithm=common_pb2.ALGORITHM_VPDQ, frames=frames),
    ]


# What goes by the moment at which it is told.
MOMENTS = frozenset({"answered_at", "confirmed_at", "age"})


def timeless(message: Message) -> Message:
    """The message without the moments in it."""
    for field, value in message.ListFields():
        if field.name in MOMENTS:
            message.ClearField(field.name)
        elif field.message_type is not None and not field.message_type.GetOptions().map_entry:
            for each in value if field.is_repeated else (value,):
                timeless(each)
    return message


def told(call: Callable[[], Message]) -> bytes:
    """What comes back, be it an error: its code, its text and everything in its trailers but the request's id."""
    try:
        message = call()
    except grpc.RpcError as error:
        trailers = [(key, value) for key, value in error.trailing_metadata() or () if key != "x-request-id"]
        return f"{error.code()} {error.details()} {trailers}".encode()
    return timeless(message).SerializeToString(deterministic=True)


def everything(client: Client) -> list[bytes]:
    """All that the client can learn by asking."""
    scopes: list[dict[str, object]] = [{}, {"min_sources": 2}, {"newer_than_epoch": 2}, {"max_distance": 3}]
    scopes += [{"list_ids": names} for names in (["seen"], [HIDDEN], ["seen", HIDDEN], ["none"])]
    asked: list[Callable[[], Message]] = []
    for scope in scopes:
        asked.append(lambda scope=scope: client.batch(*map(hashes, NUMBERS), **scope))
        for algorithm, make in ((common_pb2.ALGORITHM_MD5, md5), (common_pb2.ALGORITHM_PDQ, code)):
            column = b"".join(map(make, NUMBERS))
            asked.append(lambda a=algorithm, c=column, s=scope: client.bulk(a, c, **s))
    asked += [lambda epoch=epoch: client.snapshot(epoch) for epoch in range(0, 12, 2)]
    asked.append(lambda: client.lists.ListLists(list_service_pb2.ListListsRequest(), timeout=TIMEOUT))
    for name in ("seen", HIDDEN, "none"):
        request = list_service_pb2.GetListRequest(list_id=name)
        asked.append(lambda request=request: client.lists.GetList(request, timeout=TIMEOUT))
    return [told(each) for each in asked]


@pytest.fixture
def client(make_server: MakeServer) -> Iterator[Client]:
    client = make_server(approvals_required=0).start()
    for list_id in ("seen", HIDDEN):
        client.define(list_id)
        deliver(client, list_id, range(5))
    epoch = client.activate(POLICY)
    eventually(lambda: client.epoch() == epoch, "the policy is in force")
    return client


def deliver(client: Client, list_id: str, numbers: range, label: str = "A1") -> int:
    staging = client.stage(rows(numbers, label), list_id, format="columns", profile=PROFILE)
    return client.publish(staging, accept=[gate.name for gate in staging.report.gates if not gate.passed]).epoch


def is_served(client: Client, epoch: int) -> bool:
    """Whether the server has come so far, whatever the client is told of it."""
    return f"\nhashmatch_epoch {float(epoch)}" in client.page("/metrics").text


def test_nothing_of_a_hidden_list_reaches_a_client(client: Client) -> None:
    watch = client.matching.WatchSnapshots(match_service_pb2.WatchSnapshotsRequest(), timeout=TIMEOUT)
    watched = iter(watch)
    first = next(watched)
    before = everything(client)
    for change in (
        lambda: deliver(client, HIDDEN, range(3, 10), "B2"),
        lambda: deliver(client, HIDDEN, range(2, 4)),
        lambda: client.suppress(md5(2), list_ids=[HIDDEN]),
        lambda: client.define(HIDDEN, title="another title", max_age=60.0),
        lambda: deliver(client, HIDDEN, range(10)),
    ):
        epoch = change()
        eventually(lambda epoch=epoch: is_served(client, epoch), "the change is in force")
        assert everything(client) == before
    # Who watches is told of the next change of what is seen, and of nothing before it.
    epoch = deliver(client, "seen", range(6))
    second = next(watched)
    assert second.snapshot.epoch == epoch > first.snapshot.epoch
    assert [(change.act, change.list_id) for change in second.changes] == [("publish", "seen")]
    assert HIDDEN.encode() not in second.SerializeToString() + first.SerializeToString()
    watch.cancel()
    # The control.
    eventually(lambda: is_served(client, epoch), "the change is in force")
    assert everything(client) != before
