"""The two gRPC listeners: one for matching, one for administration, with different callers and nothing in common."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc
from structlog.typing import FilteringBoundLogger

from hashmatch.model.clock import Clock
from hashmatch.service.addresses import parse_address
from hashmatch.service.admin_servicer import ListAdminServicer
from hashmatch.service.admission import ListenerAdmission
from hashmatch.service.approval_servicer import ApprovalServicer
from hashmatch.service.batch_request import decode_batch_request
from hashmatch.service.bulk_request import decode_bulk_request
from hashmatch.service.certificate_rotation import CertificateFiles, Certificates
from hashmatch.service.certificates import CertificateError
from hashmatch.service.config import Config
from hashmatch.service.feedback_servicer import FeedbackAdminServicer
from hashmatch.service.flood_servicer import FloodAdminServicer
from hashmatch.service.guard import HEALTH_SERVICE, Guard
from hashmatch.service.health import Health, HealthServicer
from hashmatch.service.identity import AccessRules, CertificateIdentity, LoopbackIdentity
from hashmatch.service.list_servicer import ListServicer
from hashmatch.service.match_servicer import MatchServicer
from hashmatch.service.metrics import Metrics
from hashmatch.service.policy_servicer import PolicyAdminServicer
from hashmatch.v1 import (
    approval_service_pb2,
    approval_service_pb2_grpc,
    feedback_admin_service_pb2,
    feedback_admin_service_pb2_grpc,
    flood_admin_service_pb2,
    flood_admin_service_pb2_grpc,
    list_admin_service_pb2,
    list_admin_service_pb2_grpc,
    list_service_pb2,
    list_service_pb2_grpc,
    match_service_pb2,
    match_service_pb2_grpc,
    policy_admin_service_pb2,
    policy_admin_service_pb2_grpc,
)

MATCH_SERVICE = match_service_pb2.DESCRIPTOR.services_by_name["MatchService"].full_name
LIST_SERVICE = list_service_pb2.DESCRIPTOR.services_by_name["ListService"].full_name
ADMIN_SERVICE = list_admin_service_pb2.DESCRIPTOR.services_by_name["ListAdminService"].full_name
POLICY_SERVICE = policy_admin_service_pb2.DESCRIPTOR.services_by_name["PolicyAdminService"].full_name
APPROVAL_SERVICE = approval_service_pb2.DESCRIPTOR.services_by_name["ApprovalService"].full_name
FEEDBACK_SERVICE = feedback_admin_service_pb2.DESCRIPTOR.services_by_name["FeedbackAdminService"].full_name
FLOOD_SERVICE = flood_admin_service_pb2.DESCRIPTOR.services_by_name["FloodAdminService"].full_name

# gRPC's own default of two minutes lets a silent peer hold a connection for that long.
_HANDSHAKE_TIMEOUT_MS = 10_000
# In seconds.
_LONGEST_KEEPALIVE_TIMEOUT = 20.0
# Clients that ask more often are cut off.
_SHORTEST_KEEPALIVE_OF_CLIENTS_MS = 10_000


class ListenError(Exception):
    """An address that cannot be listened on, or certificates that cannot be read."""


@dataclass(frozen=True, slots=True)
class Listener:
    """A running listener and where it listens."""

    server: grpc.aio.Server
    address: str


class Listeners:
    """Starts the listeners of one server and stops them together."""

    def __init__(
        self, config: Config, health: Health, metrics: Metrics, clock: Clock, logger: FilteringBoundLogger
    ) -> None:
        self._config = config
        self._health = health
        self._metrics = metrics
        self._clock = clock
        self._logger = logger
        self._running: list[Listener] = []

    async def start_matching(
        self, matching: MatchServicer, lists: ListServicer, *, shared_port: bool = False
    ) -> Listener:
        """Serve MatchService and ListService, with `shared_port` beside other processes. Raises `ListenError`."""

        def register(server: grpc.aio.Server) -> None:
            match_service_pb2_grpc.add_MatchServiceServicer_to_server(matching, server)
            list_service_pb2_grpc.add_ListServiceServicer_to_server(lists, server)

        config = self._config
        return await self._start(
            "matching",
            config.server.listen,
            (MATCH_SERVICE, LIST_SERVICE),
            config.access.matching,
            config.tls.client_ca_file,
            register,
            shared_port=shared_port,
        )

    async def start_administration(
        self,
        administration: ListAdminServicer,
        policies: PolicyAdminServicer,
        approvals: ApprovalServicer,
        feedback: FeedbackAdminServicer,
        floods: FloodAdminServicer,
    ) -> Listener:
        """Serve the five services of administration. Raises `ListenError`."""

        def register(server: grpc.aio.Server) -> None:
            list_admin_service_pb2_grpc.add_ListAdminServiceServicer_to_server(administration, server)
            policy_admin_service_pb2_grpc.add_PolicyAdminServiceServicer_to_server(policies, server)
            approval_service_pb2_grpc.add_ApprovalServiceServicer_to_server(approvals, server)
            feedback_admin_service_pb2_grpc.add_FeedbackAdminServiceServicer_to_server(feedback, server)
            flood_admin_service_pb2_grpc.add_FloodAdminServiceServicer_to_server(floods, server)

        config = self._config
        return await self._start(
            "administration",
            config.server.admin_listen,
            (ADMIN_SERVICE, POLICY_SERVICE, APPROVAL_SERVICE, FEEDBACK_SERVICE, FLOOD_SERVICE),
            config.access.administration,
            config.tls.admin_client_ca_file or config.tls.client_ca_file,
            register,
        )

    async def stop(self) -> None:
        """Take no more calls and let those in progress finish, within the configured grace."""
        grace = self._config.server.grace_seconds
        await asyncio.gather(*(listener.server.stop(grace) for listener in self._running))

    async def _start(
        self,
        name: str,
        listen: str,
        services: Sequence[str],
        callers: Sequence[str],
        client_ca_file: str,
        register: Callable[[grpc.aio.Server], None],
        *,
        shared_port: bool = False,
    ) -> Listener:
        config = self._config
        plaintext = not config.tls.certificate_file
        open_services = [HEALTH_SERVICE]
        if config.server.reflection:
            open_services.append(reflection.SERVICE_NAME)
        guard = Guard(
            identity=LoopbackIdentity() if plaintext else CertificateIdentity(self._clock),
            access=AccessRules(services, callers),
            admission=ListenerAdmission(name, config.server, self._metrics),
            metrics=self._metrics,
            logger=self._logger,
            clock=self._clock,
            require_deadline=config.server.require_deadline,
            open_services=open_services,
            decoders={
                f"/{MATCH_SERVICE}/BatchMatch": decode_batch_request,
                f"/{MATCH_SERVICE}/BulkMatch": decode_bulk_request,
            },
            encoders={f"/{MATCH_SERVICE}/BatchMatch": bytes, f"/{MATCH_SERVICE}/BulkMatch": bytes},
        )
        largest = config.server.maximum_message_bytes
        server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", largest),
                ("grpc.max_send_message_length", -1),
                ("grpc.max_concurrent_streams", config.server.maximum_calls_per_connection),
                # It counts calls that have ended and are not yet cleared away, and with many at a time refuses new ones
                # of a client that keeps to the limit, with UNAVAILABLE. Admission is what protects from too many.
                ("grpc.http.overload_protection", 0),
                ("grpc.server_handshake_timeout_ms", _HANDSHAKE_TIMEOUT_MS),
                *_keepalive(config.server.keepalive_seconds),
                # By default a second server would silently share the port.
                ("grpc.so_reuseport", int(shared_port)),
            ],
        )
        guarded = guard.over(server)
        register(guarded)
        health_pb2_grpc.add_HealthServicer_to_server(HealthServicer(self._health), guarded)
        if config.server.reflection:
            described = reflection.aio.ReflectionServicer((*services, HEALTH_SERVICE, reflection.SERVICE_NAME))
            reflection_pb2_grpc.add_ServerReflectionServicer_to_server(described, guarded)
        address = parse_address(listen)
        try:
            if plaintext:
                port = server.add_insecure_port(str(address))
            else:
                port = server.add_secure_port(str(address), self._credentials(name, client_ca_file))
        except (RuntimeError, OSError) as error:
            raise ListenError(f"cannot listen on {listen} for {name}") from error
        await server.start()
        bound = listen if address.is_unix else str(parse_address(f"{listen.rpartition(':')[0]}:{port}"))
        listener = Listener(server, bound)
        self._running.append(listener)
        return listener

    def _credentials(self, listener: str, client_ca_file: str) -> grpc.ServerCredentials:
        tls = self._config.tls
        files = CertificateFiles(Path(tls.certificate_file), Path(tls.key_file), Path(client_ca_file))
        try:
            certificates = Certificates(files, listener, self._metrics, self._clock, self._logger)
        except CertificateError as error:
            raise ListenError(str(error)) from error
        return certificates.credentials()


def _keepalive(seconds: float) -> list[tuple[str, int]]:
    """The options by which clients that are gone are noticed, and clients may notice that the server is.

    Without them a client whose machine lost its power, or whose connection a router forgot, keeps its streams, and with
    them its places among `server.maximum_concurrent_streams`, for hours.
    """
    timeout = int(min(seconds, _LONGEST_KEEPALIVE_TIMEOUT) * 1_000)
    return [
        ("grpc.keepalive_time_ms", int(seconds * 1_000)),
        ("grpc.keepalive_timeout_ms", timeout),
        # A minute by default, and then the one above changes nothing.
        ("grpc.http2.ping_timeout_ms", timeout),
        # Subscriptions are silent for as long as nothing is published.
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", _SHORTEST_KEEPALIVE_OF_CLIENTS_MS),
    ]
