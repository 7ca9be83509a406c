"""A real Prometheus with the shipped rules watches real servers: what should fire does, and nothing else.

One server is well and under load; the others each have a fault. They run side by side, because alerts take their time:
the slowest waits for five minutes.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import pytest
import redis

from hashmatch.store.embedded import EmbeddedValkey
from hashmatch.v1 import common_pb2, match_service_pb2
from tests.integration.feeds.conftest import NAME
from tests.integration.serving import (
    TIMEOUT,
    Background,
    Client,
    RunningServer,
    hash_of,
    hash_text,
    make_config,
    timestamp,
)
from tests.integration.waiting import eventually
from tests.integration.world import small_limits
from tests.support.simulators.office import write_feed
from tests.support.simulators.stopncii import StopNcii
from tests.watching.people import CLIENT, People
from tests.watching.prometheus import PROGRAM, SHIPPED, Prometheus

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(PROGRAM is None, reason="prometheus is not installed (Debian package prometheus)"),
]

LISTED = [hashlib.sha256(b"listed %d" % number).digest() for number in range(2_000)]
OTHER = [hashlib.sha256(b"other %d" % number).digest() for number in range(50)]
# The slowest alert fires five minutes after its cause, and is looked at once a minute.
PATIENCE = 600.0
PAUSE = 0.25
STEP = 2.0
BOARDS = {file.stem: json.loads(file.read_text("utf-8")) for file in sorted(SHIPPED.parent.glob("grafana/*.json"))}
QUERIES = [
    pytest.param(target["expr"], id=f"{name}-{panel['id']}{target['refId']}")
    for name, board in BOARDS.items()
    for panel in board["panels"]
    for target in panel["targets"]
]
POLICY = f"""
version = 1
[clients.uploads]
identities = ["{CLIENT}"]
lists = ["*"]
natures = ["*"]
algorithms = ["*"]
jurisdictions = ["*"]
[clients.uploads.budget]
distinct_hashes_per_day = 1_000_000
hits_per_day = 10_000_000
"""
NOT_READY = {"HashmatchNotReady", "HashmatchNoneReady"}


# On loopback nobody signs, and that is told for as long as it is so.
UNSIGNED = "HashmatchApprovalsUnsigned"


class Scenario(NamedTuple):
    """What must fire, and what may follow from the same fault if it lasts."""

    fires: set[str]
    may_follow: frozenset[str] = frozenset()


SCENARIOS = {
    "healthy": Scenario(set()),
    "store-stopped": Scenario(
        {"HashmatchStoreUnavailable", "HashmatchSnapshotUnconfirmed", UNSIGNED, *NOT_READY},
        frozenset({"HashmatchUndetermined", "HashmatchNegativesEnd"}),
    ),
    "list-stale": Scenario({"HashmatchListStale", UNSIGNED}, frozenset({"HashmatchUndetermined"})),
    "manifest-refused": Scenario(
        {"HashmatchManifestRefused", "HashmatchSnapshotUnconfirmed", UNSIGNED, *NOT_READY},
        frozenset({"HashmatchNegativesEnd"}),
    ),
    "block-missing": Scenario({"HashmatchBlocksDamaged", UNSIGNED, *NOT_READY}, frozenset({"HashmatchUndetermined"})),
}


class Stage:
    """Servers, stores and load, until the stage is closed."""

    def __init__(self, background: Background, directory: Path, closing_stack: ExitStack) -> None:
        self._background = background
        self._directory = directory
        self._stack = closing_stack
        self._ending = threading.Event()
        self.clients: dict[str, Client] = {}
        self.faults: list[Callable[[], object]] = []

    def valkey(self, name: str) -> EmbeddedValkey:
        return self._stack.enter_context(EmbeddedValkey(self._directory / name / "store"))

    def server(self, name: str, url: str = "", **settings: Any) -> RunningServer:
        (self._directory / name).mkdir(exist_ok=True)
        server = RunningServer(self._background, make_config(self._directory / name / "data", url, **settings))
        self._stack.callback(server.stop)
        return server

    def keep_asking(self, client: Client) -> None:
        """Ask in both ways, several times a second, whatever the answer is."""
        column = b"".join(LISTED[:20] + OTHER)
        items = [[hash_of(digest)] for digest in (*LISTED[20:25], *OTHER[:5])]

        def ask() -> None:
            while not self._ending.wait(PAUSE):
                try:
                    client.bulk(common_pb2.ALGORITHM_SHA256, column)
                    client.batch(*items)
                except (grpc.RpcError, ValueError):  # ValueError: the channel was closed
                    continue

        thread = threading.Thread(target=ask, name="load")
        thread.start()
        self._stack.callback(thread.join)
        self._stack.callback(self._ending.set)

    def close_last(self, client: Client) -> None:
        self._stack.callback(client.close)

    def healthy(self) -> None:
        """Everything that there is to be shown, set up as the guide says.

        TLS, a policy with budgets, lists that people signed for, quarantine, a feed, what a caller said of a match.
        """
        directory = self._directory / "healthy"
        directory.mkdir()
        people = People(directory)
        body = StopNcii()
        self._stack.callback(body.stop)
        body.publish(5)
        feed = write_feed(directory, body, list="fed")
        server = self.server("healthy", file=str(feed), **people.settings)
        server.start()
        addresses = server.runner.addresses
        people.work_at(addresses.administration)
        client = Client(
            addresses, people.credentials("clients", "uploads"), people.credentials("operators", "importer")
        )
        self.close_last(client)
        policy = directory / "policy.toml"
        policy.write_text(POLICY)
        people.agree("policy", "activate", policy)
        define = ("list", "define", "--body", "B", "--max-age", "30d", "--nature")
        people.do(*define, "illegal", "list")
        for content in (hash_text(LISTED) + b"unsound\n", hash_text(LISTED)):
            delivery = directory / "delivery"
            delivery.write_bytes(content)
            staged = people.do("stage", delivery, "--list", "list", "--format", "hash-text", "--mode", "full")
            unmet = [gate["name"] for gate in staged["report"]["gates"] if not gate["passed"]]
            served(client, people.publish(staged["staging_id"], accept=unmet))
        people.do(*define, "test", "fed")
        round_of_feed = people.do("feed", "run", NAME)
        served(client, people.publish(round_of_feed["waiting_staging_id"]))
        said = match_service_pb2.HitFeedback(
            hash=hash_of(LISTED[0]), list_id="list", judgement=match_service_pb2.FEEDBACK_JUDGEMENT_CONFIRMED
        )
        client.matching.ReportFeedback(match_service_pb2.ReportFeedbackRequest(feedback=[said]), timeout=TIMEOUT)
        self.clients["healthy"] = client

    def store_stopped(self) -> None:
        valkey = self.valkey("store-stopped")
        client = self.server("store-stopped", valkey.url).start()
        deliver(client)
        self.clients["store-stopped"] = client
        self.faults.append(valkey.stop)

    def list_stale(self) -> None:
        client = self.server("list-stale").start()
        client.define(max_age=3_600.0)
        served(client, client.deliver(hash_text(LISTED), as_of=timestamp(1_700_000_000.0)))
        self.clients["list-stale"] = client

    def manifest_refused(self) -> None:
        valkey = self.valkey("manifest-refused")
        client = self.server("manifest-refused", valkey.url, archive=False).start()
        deliver(client)
        store = self._stack.enter_context(closing(redis.Redis.from_url(valkey.url)))
        older = store.get("hashmatch:manifest")
        client.define("another")
        self.clients["manifest-refused"] = client
        self.faults.append(lambda: store.set("hashmatch:manifest", older))

    def block_missing(self) -> None:
        valkey = self.valkey("block-missing")
        client = self.server("block-missing", valkey.url, archive=False, block_cache_bytes=0).start()
        deliver(client)
        store = self._stack.enter_context(closing(redis.Redis.from_url(valkey.url)))
        self.clients["block-missing"] = client
        self.faults.append(lambda: store.delete(*store.keys("hashmatch:b:*")))


def served(client: Client, epoch: int) -> None:
    eventually(lambda: client.epoch() >= epoch, "the list is served")


def deliver(client: Client) -> None:
    client.define()
    served(client, client.deliver(hash_text(LISTED)))


@pytest.fixture(scope="module")
def watched(background: Background) -> Iterator[dict[str, Prometheus]]:
    """A Prometheus for each scenario, after its fault; those of one store have one."""
    assert PROGRAM
    with ExitStack() as stack:
        # Blocks of these lists stay in the store, as those of large ones do.
        stack.enter_context(small_limits())
        directory = Path(tempfile.mkdtemp(prefix="hm-"))
        stack.callback(shutil.rmtree, directory)
        stage = Stage(background, directory, stack)
        for name in SCENARIOS:
            getattr(stage, name.replace("-", "_"))()
        found = {}
        for name, client in stage.clients.items():
            (directory / name / "watching").mkdir()
            watching = Prometheus(directory / name / "watching", [client.addresses.metrics])
            found[name] = stack.enter_context(watching)
            stage.keep_asking(client)
        for fault in stage.faults:
            fault()
        yield found


@pytest.mark.parametrize("name", SCENARIOS)
def test_what_should_fire_does_and_nothing_else(watched: dict[str, Prometheus], name: str) -> None:
    expected, watching = SCENARIOS[name], watched[name]
    eventually(lambda: expected.fires <= watching.firing(), f"{expected.fires} fire", patience=PATIENCE, step=STEP)
    assert watching.firing() - expected.may_follow == expected.fires


def test_a_server_under_load_is_quiet_for_as_long_as_the_others_fire(watched: dict[str, Prometheus]) -> None:
    assert watched["healthy"].firing() == set()
    assert len(watched["healthy"].query("hashmatch_build_info")) == 1


def test_every_rule_is_evaluated_without_an_error(watched: dict[str, Prometheus]) -> None:
    for watching in watched.values():
        rules = watching.rules()
        assert len(rules) > 40
        assert [rule["name"] for rule in rules if rule["health"] != "ok"] == []


@pytest.mark.parametrize("expression", QUERIES)
def test_every_panel_shows_something(watched: dict[str, Prometheus], expression: str) -> None:
    # As Grafana would with the shipped interval of fifteen seconds.
    asked = expression.replace("$__rate_interval", "1m").replace("$instance", ".*")
    eventually(lambda: watched["healthy"].query(asked), "the panel has data", patience=60.0, step=STEP)
