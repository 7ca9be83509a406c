"""Channels and what goes with each call. Nothing here knows what is asked."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import grpc
import grpc.aio

from hashmatch_client._errors import ConfigurationError
from hashmatch_client._options import Limits, Retry, TLSOptions

Metadata = tuple[tuple[str, str], ...]

# A server takes it for abuse when it is asked more often than every 10 seconds.
KEEPALIVE_MS = 20_000
KEEPALIVE_TIMEOUT_MS = 10_000

_SERVICES = ("hashmatch.v1.MatchService", "hashmatch.v1.ListService")


def open_channel(target: str, tls: TLSOptions | None, limits: Limits, retry: Retry) -> grpc.Channel:
    """A channel for the synchronous client."""
    _check(target)
    options = _channel_options(target, limits, retry)
    if tls is None:
        return grpc.insecure_channel(target, options)
    return grpc.secure_channel(target, _credentials(tls), options)


def open_async_channel(target: str, tls: TLSOptions | None, limits: Limits, retry: Retry) -> grpc.aio.Channel:
    """A channel for the asynchronous client."""
    _check(target)
    options = _channel_options(target, limits, retry)
    if tls is None:
        return grpc.aio.insecure_channel(target, options)
    return grpc.aio.secure_channel(target, _credentials(tls), options)


def new_request_id() -> str:
    """An id that nothing else has, by which the server's log knows a call."""
    return uuid.uuid4().hex


def metadata(request_id: str) -> Metadata:
    """What goes with a call beside its request."""
    return (("x-request-id", request_id),)


def service_config(target: str, retry: Retry) -> str:
    """The gRPC service config: retries, and for network targets load balancing over the servers that are healthy.

    It holds no `timeout`: grpcio fails calls at once when one of about a second stands there. Deadlines are given call
    by call.
    """
    method: dict[str, object] = {"name": [{"service": service} for service in _SERVICES]}
    if retry.attempts > 1:
        method["retryPolicy"] = {
            "maxAttempts": retry.attempts,
            "initialBackoff": f"{retry.initial_backoff:.3f}s",
            "maxBackoff": f"{retry.max_backoff:.3f}s",
            "backoffMultiplier": retry.multiplier,
            "retryableStatusCodes": ["UNAVAILABLE"],
        }
    config: dict[str, object] = {"methodConfig": [method]}
    if not target.startswith("unix"):
        # A name may stand for several servers. One socket is one server: there is nothing to choose.
        config["loadBalancingConfig"] = [{"round_robin": {}}]
        # The service rather than the server as a whole: one whose store is away still answers, and says what it cannot.
        config["healthCheckConfig"] = {"serviceName": "hashmatch.v1.MatchService"}
    return json.dumps(config)


def _channel_options(target: str, limits: Limits, retry: Retry) -> list[tuple[str, str | int]]:
    return [
        ("grpc.service_config", service_config(target, retry)),
        # Retries and balancing are the caller's to set, not a TXT record's.
        ("grpc.service_config_disable_resolution", 1),
        ("grpc.max_receive_message_length", limits.receive_bytes),
        # A server whose machine is gone, or a connection that a router forgot, says nothing: without asking, calls
        # would go there and time out until the system gives the connection up, which takes a quarter of an hour.
        ("grpc.keepalive_time_ms", KEEPALIVE_MS),
        ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MS),
        ("grpc.http2.ping_timeout_ms", KEEPALIVE_TIMEOUT_MS),
        ("grpc.http2.max_pings_without_data", 0),
    ]


def _check(target: str) -> None:
    if not target or any(character.isspace() for character in target):
        raise ConfigurationError("a target is written host:port or unix:path")


def _credentials(tls: TLSOptions) -> grpc.ChannelCredentials:
    return grpc.ssl_channel_credentials(
        root_certificates=_read(tls.ca_file), private_key=_read(tls.key_file), certificate_chain=_read(tls.cert_file)
    )


def _read(path: object) -> bytes | None:
    if path is None:
        return None
    try:
        return Path(str(path)).read_bytes()
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror}") from error
