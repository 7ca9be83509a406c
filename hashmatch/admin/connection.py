"""Calls to the server, in the operator's name."""

from __future__ import annotations

import os
from argparse import ArgumentTypeError, Namespace
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import grpc
from hashmatch_client import ConfigurationError, DeadlineExceededError, TLSOptions, UnavailableError
from hashmatch_client._status import api_error
from hashmatch_client._transport import new_request_id

from hashmatch.admin.values import operator_name
from hashmatch.v1 import list_admin_service_pb2 as pb
from hashmatch.v1 import list_admin_service_pb2_grpc

Q = TypeVar("Q")
A = TypeVar("A")

_TARGET = "127.0.0.1:50052"
_MATCH_TARGET = "127.0.0.1:50051"
_OPERATOR_METADATA = "hashmatch-operator"
_LARGEST_ANSWER = 64 * 1024 * 1024

_MAYBE_DONE = "it may have taken effect all the same: look at `hashmatch-admin history` before doing it again"


class AdminClient:
    """ListAdminService.

    Calls raise the exceptions of `hashmatch_client`; none that may have reached the server is made again.
    """

    def __init__(self, channel: grpc.Channel, *, operator: str, timeout: float) -> None:
        self.channel = channel
        self.service = list_admin_service_pb2_grpc.ListAdminServiceStub(channel)
        self._identity = ((_OPERATOR_METADATA, operator),) if operator else ()
        self._timeout = timeout

    def ask(self, method: grpc.UnaryUnaryMultiCallable[Q, A], request: Q) -> A:
        """The answer to a call that changes nothing."""
        request_id = new_request_id()
        try:
            return method(request, timeout=self._timeout, metadata=self._metadata(request_id))
        except grpc.RpcError as failure:
            raise api_error(failure, request_id) from failure

    def act(self, method: grpc.UnaryUnaryMultiCallable[Q, A], request: Q) -> A:
        """The answer to a call that takes effect, unless it says validate_only."""
        try:
            return self.ask(method, request)
        except (DeadlineExceededError, UnavailableError) as error:
            if not getattr(request, "validate_only", False):
                error.add_note(_MAYBE_DONE)
            raise

    def stage(self, requests: Iterator[pb.StageRequest]) -> Staged:
        """Begins to send a delivery. `requests` is drawn from in another thread, and must not raise."""
        request_id = new_request_id()
        call = self.service.Stage.future(requests, timeout=self._timeout, metadata=self._metadata(request_id))
        return Staged(call, request_id)

    def _metadata(self, request_id: str) -> tuple[tuple[str, str], ...]:
        return (("x-request-id", request_id), *self._identity)


class Staged:
    """A delivery on its way."""

    def __init__(self, call: Any, request_id: str) -> None:
        self._call = call
        self.request_id = request_id

    def cancel(self) -> None:
        """Ends the call: the server must not take what it has so far for the whole. Any thread may do it."""
        self._call.cancel()

    def result(self) -> pb.StageResponse | None:
        """Waits for the server's answer; None if the call was cancelled. Interrupted, it cancels the call."""
        try:
            response: pb.StageResponse = self._call.result()
        except grpc.FutureCancelledError:
            return None
        except grpc.RpcError as failure:
            raise api_error(failure, self.request_id) from failure
        except BaseException:
            self.cancel()
            raise
        return response


@contextmanager
def connect(arguments: Namespace) -> Iterator[AdminClient]:
    """The connection that the command line and the environment describe; an option goes before its variable."""
    operator = arguments.operator or os.environ.get("HASHMATCH_OPERATOR", "")
    try:
        operator = operator and operator_name(operator)
    except ArgumentTypeError as error:
        raise ConfigurationError(f"HASHMATCH_OPERATOR {error}") from None
    target = arguments.target or os.environ.get("HASHMATCH_ADMIN_TARGET") or _TARGET
    with open_channel(target, _tls(arguments, os.environ)) as channel:
        yield AdminClient(channel, operator=operator, timeout=arguments.timeout)


@contextmanager
def connect_to_lists(arguments: Namespace) -> Iterator[grpc.Channel]:
    """A channel to where the server answers about lists."""
    target = arguments.match_target or os.environ.get("HASHMATCH_TARGET") or _MATCH_TARGET
    with open_channel(target, _tls(arguments, os.environ)) as channel:
        yield channel


def open_channel(target: str, tls: TLSOptions | None) -> grpc.Channel:
    """A channel to one server.

    Unlike that of the client it does not ask whether the server is ready: one that serves nothing yet is not, and must
    be administered all the same.
    """
    if not target or any(character.isspace() for character in target):
        raise ConfigurationError("a target is written host:port or unix:path")
    options = [
        ("grpc.service_config_disable_resolution", 1),
        ("grpc.max_receive_message_length", _LARGEST_ANSWER),
    ]
    if tls is None:
        return grpc.insecure_channel(target, options)
    credentials = grpc.ssl_channel_credentials(
        root_certificates=_read(tls.ca_file), private_key=_read(tls.key_file), certificate_chain=_read(tls.cert_file)
    )
    return grpc.secure_channel(target, credentials, options)


def _tls(arguments: Namespace, environ: Mapping[str, str]) -> TLSOptions | None:
    ca_file = arguments.ca_file or environ.get("HASHMATCH_CA_FILE") or None
    cert_file = arguments.cert_file or environ.get("HASHMATCH_CERT_FILE") or None
    key_file = arguments.key_file or environ.get("HASHMATCH_KEY_FILE") or None
    return TLSOptions(ca_file, cert_file, key_file) if ca_file or cert_file or key_file else None


def _read(path: object) -> bytes | None:
    if path is None:
        return None
    try:
        return Path(str(path)).read_bytes()
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror}") from error
