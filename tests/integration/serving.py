"""A real server, in this process on an event loop of its own, and clients to it that block."""

from __future__ import annotations

import asyncio
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Coroutine, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import grpc
import msgspec
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from grpc_health.v1 import health_pb2, health_pb2_grpc

from hashmatch.service.config import Config
from hashmatch.service.config_duties import ApprovalsSection, LogsSection, MetricsSection, VettingSection
from hashmatch.service.config_serving import MatchingSection, SealingSection, ServerSection, StoreSection
from hashmatch.service.runner import Addresses, Runner
from hashmatch.trust.sealing import generate_key_file
from hashmatch.v1 import (
    common_pb2,
    list_admin_service_pb2,
    list_admin_service_pb2_grpc,
    list_service_pb2,
    list_service_pb2_grpc,
    match_service_pb2,
    match_service_pb2_grpc,
    policy_admin_service_pb2,
    policy_admin_service_pb2_grpc,
)

T = TypeVar("T")

TIMEOUT = 30.0
CHUNK = 1 << 18
# A server that was away is found again sooner than callers in production need it.
_CHANNEL_OPTIONS = [("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 500)]
IMPORTER = "importer"
APPROVERS = ("ann", "bob")
OPERATOR = "operator"
# Every algorithm that is searched, with the size of its digests.
DIGEST_SIZES = {
    common_pb2.ALGORITHM_MD5: 16,
    common_pb2.ALGORITHM_SHA1: 20,
    common_pb2.ALGORITHM_SHA256: 32,
    common_pb2.ALGORITHM_SHA512: 64,
    # After SHA-256, which is what a digest of this size is taken for where nothing else is said.
    common_pb2.ALGORITHM_PDQ: 32,
}


class ShiftedClock:
    """The machine's clock, moved by hand. It starts in the past, so that it can be advanced without overtaking it.

    Importers are processes of their own and go by the machine's clock; to them nothing lies in the future then.
    """

    def __init__(self, *, shift: float = -60 * 86_400.0) -> None:
        self._shift = shift
        self._advanced = 0.0

    def now(self) -> float:
        return time.time() + self._shift + self._advanced

    def monotonic(self) -> float:
        return time.monotonic() + self._advanced

    def advance(self, seconds: float) -> None:
        self._advanced += seconds


class Background:
    """An event loop in a thread of its own, for servers that tests talk to from outside."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="servers")
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T], timeout: float = TIMEOUT) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(timeout)

    def close(self) -> None:
        self.run(self.loop.shutdown_default_executor())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(TIMEOUT)
        assert not self._thread.is_alive()
        self.loop.close()


def make_config(data_dir: Path, url: str = "", **settings: Any) -> Config:
    """A server on loopback ports of its own that looks at the store often.

    `settings` are of any section, by name. With `url` the sealing key lies beside the data directory, so that servers
    whose directories lie side by side share it, unless `sealing_key_file` names another.
    """
    key_file = Path(settings.pop("sealing_key_file", data_dir.parent / "sealing.key"))
    if url and not key_file.exists():
        generate_key_file(key_file)
    config = Config(
        server=ServerSection(
            listen="127.0.0.1:0", admin_listen="127.0.0.1:0", data_dir=str(data_dir), grace_seconds=2.0
        ),
        # The tests' own store has one user, who may do everything.
        store=StoreSection(url=url, poll_interval=0.05, excessive_rights="allow"),
        sealing=SealingSection(key_file=str(key_file) if url else ""),
        metrics=MetricsSection(listen="127.0.0.1:0"),
        matching=MatchingSection(),
        vetting=VettingSection(),
        # As in a trial, also over TLS; the tests of approvals ask for signatures.
        approvals=ApprovalsSection(signatures="off"),
        logs=LogsSection(),
    )
    for name, value in settings.items():
        section = next(each for each in config.__struct_fields__ if hasattr(getattr(config, each), name))
        changed = msgspec.structs.replace(getattr(config, section), **{name: value})
        config = msgspec.structs.replace(config, **{section: changed})
    return config


class Page(NamedTuple):
    """What an HTTP page answered."""

    status: int
    text: str


class Client:
    """Everything that can be asked of a server at its addresses, by people of any name."""

    def __init__(
        self,
        addresses: Addresses,
        caller: grpc.ChannelCredentials | None = None,
        operator: grpc.ChannelCredentials | None = None,
    ) -> None:
        """Over TLS `caller` asks, and `operator` administers."""
        self.addresses = addresses
        self._channels = [_channel(addresses.matching, caller), _channel(addresses.administration, operator)]
        self.matching = match_service_pb2_grpc.MatchServiceStub(self._channels[0])
        self.lists = list_service_pb2_grpc.ListServiceStub(self._channels[0])
        self.health = health_pb2_grpc.HealthStub(self._channels[0])
        self.administration = list_admin_service_pb2_grpc.ListAdminServiceStub(self._channels[1])
        self.policies = policy_admin_service_pb2_grpc.PolicyAdminServiceStub(self._channels[1])

    @property
    def matching_channel(self) -> grpc.Channel:
        return self._channels[0]

    @property
    def administration_channel(self) -> grpc.Channel:
        return self._channels[1]

    def close(self) -> None:
        for channel in self._channels:
            channel.close()

    def batch(self, *items: Iterable[common_pb2.Hash], **scope: Any) -> match_service_pb2.BatchMatchResponse:
        """Ask about items, each given by its hashes."""
        request = match_service_pb2.BatchMatchRequest(
            items=[match_service_pb2.MatchItem(hashes=hashes) for hashes in items],
            scope=match_service_pb2.MatchScope(**scope),
        )
        return self.matching.BatchMatch(request, timeout=TIMEOUT)

    def ask(self, digest: bytes, **scope: Any) -> match_service_pb2.HashResult:
        """The answer for one digest, whose algorithm its size tells."""
        return self.batch([hash_of(digest)], **scope).results[0].hashes[0]

    def bulk(self, algorithm: int, digests: bytes, **scope: Any) -> match_service_pb2.BulkMatchResponse:
        """Ask about one column."""
        request = match_service_pb2.BulkMatchRequest(
            sequence=7,
            column=match_service_pb2.HashColumn(algorithm=algorithm, digests=digests),
            scope=match_service_pb2.MatchScope(**scope),
        )
        (response,) = self.matching.BulkMatch(iter([request]), timeout=TIMEOUT)
        return response

    def snapshot(self, since_epoch: int = 0) -> match_service_pb2.GetSnapshotResponse:
        return self.matching.GetSnapshot(match_service_pb2.GetSnapshotRequest(since_epoch=since_epoch), timeout=TIMEOUT)

    def epoch(self) -> int:
        """The epoch in use; 0 as long as there is none."""
        try:
            return self.snapshot().snapshot.epoch
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.UNAVAILABLE:
                return 0
            raise

    def page(self, path: str) -> Page:
        try:
            with urllib.request.urlopen(f"http://{self.addresses.metrics}{path}", timeout=TIMEOUT) as answer:
                return Page(answer.status, answer.read().decode())
        except urllib.error.HTTPError as error:
            with error:
                return Page(error.code, error.read().decode())

    def is_ready(self) -> bool:
        """Whether readiness page and health service say so; they must not contradict each other for long."""
        ready = self.page("/readyz").status == 200
        answer = self.health.Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT)
        return ready and answer.status == health_pb2.HealthCheckResponse.SERVING

    def act(self, name: str, request: Any, operator: str = OPERATOR) -> Any:
        """One call of ListAdminService as somebody."""
        method = getattr(self.administration, name)
        return method(request, timeout=TIMEOUT, metadata=(("hashmatch-operator", operator),))

    def define(self, list_id: str = "list", *, max_age: float = 30 * 86_400.0, **rest: Any) -> int:
        """Define a list, of a body of its own unless one is named. Returns the epoch."""
        definition = list_service_pb2.ListDefinition(
            **{
                "list_id": list_id,
                "body": f"body of {list_id}",
                "nature": common_pb2.LIST_NATURE_ILLEGAL,
                "max_age": duration(max_age),
                **rest,
            }
        )
        return self.act("DefineList", list_admin_service_pb2.DefineListRequest(definition=definition)).epoch

    def stage(
        self,
        content: bytes,
        list_id: str = "list",
        *,
        mode: int = list_admin_service_pb2.DELIVERY_MODE_FULL,
        operator: str = IMPORTER,
        **header: Any,
    ) -> list_admin_service_pb2.Staging:
        """Stage a delivery, of hash text unless the header says otherwise."""
        stated = list_admin_service_pb2.StageHeader(
            **{"list_id": list_id, "format": "hash-text", "mode": mode, "request_id": "", **header}
        )
        return self.act("Stage", stage_requests(stated, content), operator).staging

    def approve(self, staging: list_admin_service_pb2.Staging, by: Iterable[str] = APPROVERS) -> None:
        for approver in by:
            self.act(
                "Approve",
                list_admin_service_pb2.ApproveRequest(
                    staging_id=staging.staging_id, approval_digest=staging.approval_digest
                ),
                approver,
            )

    def publish(
        self, staging: list_admin_service_pb2.Staging, *, accept: Iterable[str] = ()
    ) -> list_admin_service_pb2.PublishResponse:
        request = list_admin_service_pb2.PublishRequest(
            staging_id=staging.staging_id, accept_gates=accept, reason="a test"
        )
        return self.act("Publish", request)

    def deliver(self, content: bytes, list_id: str = "list", **header: Any) -> int:
        """Stage, approve and publish, whatever acceptable gates say. Returns the epoch."""
        staging = self.stage(content, list_id, **header)
        self.approve(staging)
        unmet = [gate.name for gate in staging.report.gates if not gate.passed]
        return self.publish(staging, accept=unmet).epoch

    def activate(self, document: str) -> int:
        """Put a policy in force. Returns the epoch."""
        request = policy_admin_service_pb2.ActivatePolicyRequest(document=document, reason="a test")
        return self.policies.ActivatePolicy(request, timeout=TIMEOUT).epoch

    def suppress(self, *digests: bytes, list_ids: Iterable[str] = ()) -> int:
        request = list_admin_service_pb2.SuppressRequest(
            hashes=map(hash_of, digests), list_ids=list_ids, reason="a test"
        )
        return self.act("Suppress", request).epoch


def _channel(address: str, credentials: grpc.ChannelCredentials | None) -> grpc.Channel:
    if credentials is None:
        return grpc.insecure_channel(address, _CHANNEL_OPTIONS)
    # A handshake of its own, whatever other clients to the same address there are.
    return grpc.secure_channel(address, credentials, [*_CHANNEL_OPTIONS, ("grpc.use_local_subchannel_pool", 1)])


class RunningServer:
    """A server that starts and stops as often as a test wants, on the same data directory."""

    def __init__(self, background: Background, config: Config, clock: ShiftedClock | None = None) -> None:
        self.config = config
        self.clock = clock
        self._background = background
        self._runner: Runner | None = None
        self._client: Client | None = None

    @property
    def client(self) -> Client:
        assert self._client is not None
        return self._client

    @property
    def runner(self) -> Runner:
        assert self._runner is not None
        return self._runner

    def start(self) -> Client:
        # The runner makes asyncio's own objects, so that it is made on the loop.
        async def begin() -> Runner:
            runner = Runner(self.config, clock=self.clock)
            await runner.start()
            return runner

        self._runner = self._background.run(begin())
        self._client = Client(self._runner.addresses)
        return self._client

    def stop(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None
        runner, self._runner = self._runner, None
        if runner is not None:
            self._background.run(runner.stop())

    def restart(self) -> Client:
        self.stop()
        return self.start()

    def __enter__(self) -> Client:
        return self.start()

    def __exit__(self, *error: object) -> None:
        self.stop()


def stage_requests(
    header: list_admin_service_pb2.StageHeader, content: bytes
) -> Iterator[list_admin_service_pb2.StageRequest]:
    """A delivery as it is streamed."""
    yield list_admin_service_pb2.StageRequest(header=header)
    for low in range(0, len(content), CHUNK):
        yield list_admin_service_pb2.StageRequest(chunk=content[low : low + CHUNK])
    yield list_admin_service_pb2.StageRequest(end=list_admin_service_pb2.StageEnd())


def hash_text(digests: Iterable[bytes]) -> bytes:
    """One digest a line."""
    return b"".join(digest.hex().encode() + b"\n" for digest in digests)


def algorithm_of(digest: bytes) -> int:
    """The algorithm whose digests have this size."""
    return next(algorithm for algorithm, size in DIGEST_SIZES.items() if size == len(digest))


def hash_of(digest: bytes) -> common_pb2.Hash:
    """A digest as a message."""
    return common_pb2.Hash(algorithm=algorithm_of(digest), value=digest)


def duration(seconds: float) -> Duration:
    return Duration(seconds=int(seconds))


def timestamp(seconds: float) -> Timestamp:
    message = Timestamp()
    message.FromNanoseconds(int(seconds * 1e6) * 1_000)
    return message
