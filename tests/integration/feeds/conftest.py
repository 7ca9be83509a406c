"""A server that reads a simulated body, and what is asked of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest

from hashmatch.service.feeds import Feeds
from hashmatch.v1 import common_pb2, list_admin_service_pb2
from tests.integration.conftest import MakeServer
from tests.integration.errors import refusal_of
from tests.integration.serving import Client, RunningServer, hash_of
from tests.integration.waiting import PATIENCE, eventually
from tests.support.simulators.body import Body
from tests.support.simulators.office import NAME, write_feed

# Beyond the end of every test, and before the end of time as a timestamp has it.
NEVER = 4e9
AUTOMATIC = {"approvals_required": 0, "maximum_removed_fraction": 1.0, "maximum_added_fraction": 10.0}


class Follower:
    """A server with one feed."""

    def __init__(self, server: RunningServer, body: Body) -> None:
        self.server = server
        self.body = body

    @property
    def client(self) -> Client:
        return self.server.client

    def run(self, **asked: Any) -> list_admin_service_pb2.Feed:
        """Run a round once nobody else does."""
        return run_feed(self.client, **asked)

    def status(self) -> list_admin_service_pb2.Feed:
        return status_of(self.client)

    def assert_follows(self) -> None:
        """The list says what the body says, of everything that the body ever said anything of."""
        assert_says(self.client, self.body, self.body.truth)


def run_feed(client: Client, *, patience: float = PATIENCE, **asked: Any) -> list_admin_service_pb2.Feed:
    def attempt() -> list_admin_service_pb2.Feed | None:
        try:
            return client.act("RunFeed", list_admin_service_pb2.RunFeedRequest(name=NAME, **asked)).feed
        except grpc.RpcError as error:
            if refusal_of(error).reason == "CONFLICT":
                return None
            raise

    return eventually(attempt, "the feed can be run", patience=patience)


def status_of(client: Client) -> list_admin_service_pb2.Feed:
    (feed,) = client.act("GetFeeds", list_admin_service_pb2.GetFeedsRequest(name=NAME)).feeds
    return feed


def assert_says(client: Client, body: Body, truth: dict[bytes, str]) -> None:
    """The list has exactly these digests, each with one opinion and this label."""
    assert said_by(client, body) == truth


def said_by(client: Client, body: Body) -> dict[bytes, str]:
    """What the list says of all digests that the body ever said anything of: those that it has, with their labels."""
    epoch = client.act("GetHistory", list_admin_service_pb2.GetHistoryRequest(page_size=1)).events[0].epoch
    eventually(lambda: client.epoch() >= epoch, "what is published is served")
    said: dict[bytes, str] = {}
    digests = body.digests
    for low in range(0, len(digests), 1_000):
        part = digests[low : low + 1_000]
        response = client.batch(*([hash_of(digest)] for digest in part))
        for digest, result in zip(part, response.results, strict=True):
            (answer,) = result.hashes
            if answer.verdict == common_pb2.VERDICT_MATCH:
                (opinion,) = answer.opinions
                said[digest] = opinion.label
            else:
                assert answer.verdict == common_pb2.VERDICT_NO_KNOWN_MATCH
    return said


@pytest.fixture
def simulate() -> Iterator[Callable[..., Body]]:
    """Starts simulators, which are stopped at the end."""
    with ExitStack() as stack:

        def start(kind: type[Body], **settings: Any) -> Body:
            body = kind(**settings)
            stack.callback(body.stop)
            return body

        yield start


MakeFollower = Callable[..., Follower]


@pytest.fixture
def follow(make_server: MakeServer, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> MakeFollower:
    """Makes a server that follows a body and publishes by itself, unless told otherwise.

    Unless it is `scheduled` it runs its feed only when it is asked.
    """

    def make(
        body: Body,
        *,
        policy: dict[str, Any] = AUTOMATIC,
        feed: dict[str, Any] | None = None,
        nature: int = common_pb2.LIST_NATURE_TEST,
        scheduled: bool = False,
        **server: Any,
    ) -> Follower:
        if not scheduled:
            monkeypatch.setattr(Feeds, "_due_at", lambda *_: NEVER)
        automatic = policy.get("approvals_required") == 0
        file = write_feed(scratch, body, **{"publish_automatically": automatic, **(feed or {})})
        running = make_server(file=str(file), **policy, **server)
        running.start().define(nature=nature)
        return Follower(running, body)

    return make
