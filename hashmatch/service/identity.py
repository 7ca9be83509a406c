"""Who calls, and what they may call.

Over mutual TLS a caller is the one URI in the subject alternative name of its certificate, for example a SPIFFE id:
never the common name, never anything in the request. A certificate with no URI, or with several, names nobody.

Without TLS, which the configuration allows on loopback and unix sockets only, nobody is authenticated. See
`LoopbackIdentity` for what the names are worth there.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

import grpc
from cryptography import x509

from hashmatch.model.clock import Clock
from hashmatch.model.errors import ErrorReason, HashmatchError

ANONYMOUS = "loopback:anonymous"
OPERATOR_METADATA = "hashmatch-operator"

# A caller's name goes into logs and into the audit log, so that its form is bounded.
_MAXIMUM_NAME = 256
# No name has room for a digest.
_OPERATOR_NAME = re.compile(r"(?![a-z0-9._-]*[0-9a-f]{32})[a-z0-9._-]{1,63}")
# Certificates seen lately. Each connection asks on every call, and parsing takes far longer than the rest of the guard.
_REMEMBERED_CERTIFICATES = 1_024

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls. `authenticated` is False where the name is only what the caller says of itself.

    `expires_at`, in seconds since 1970, is when it is no longer the caller's.
    """

    name: str
    authenticated: bool
    expires_at: float = field(default=math.inf, compare=False)

    def check(self, now: float) -> None:
        """Raise `HashmatchError` IDENTITY_MISSING if it has expired."""
        if now >= self.expires_at:
            raise _missing("the client certificate has expired; connect anew with a valid one")


_ANYBODY = Caller(ANONYMOUS, authenticated=False)


class IdentitySource(Protocol):
    """How a listener knows its callers."""

    def caller(self, context: Context) -> Caller:
        """Who makes this call. Raises `HashmatchError` IDENTITY_MISSING."""
        ...


class CertificateIdentity:
    """Identity from the client's certificate, which gRPC verified in the handshake.

    A connection may outlive the certificate that opened it, and so may a stream: from the moment it expires calls are
    refused, and the guard ends streams.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._known: dict[bytes, Caller] = {}

    def caller(self, context: Context) -> Caller:
        """Who makes this call. Raises `HashmatchError` IDENTITY_MISSING."""
        # auth_context lists the alternative names too, but without their types: a DNS name would pass for a URI.
        pem = b"".join(context.auth_context().get("x509_pem_cert", ()))
        known = self._known.get(pem)
        if known is None:
            known = caller_in_certificate(pem)
            while len(self._known) >= _REMEMBERED_CERTIFICATES:
                del self._known[next(iter(self._known))]
            self._known[pem] = known
        known.check(self._clock.now())
        return known


class LoopbackIdentity:
    """Names for trying things out on one machine. This is a convenience and never authentication.

    Everybody who can reach the listener can take any name: `loopback:anonymous`, or `loopback:NAME` by sending NAME in
    the metadata `hashmatch-operator`. It lets one person play two approvers in a demonstration, and proves nothing.
    """

    def caller(self, context: Context) -> Caller:
        """Who makes this call, by its own word. Raises `HashmatchError` IDENTITY_MISSING for a malformed name."""
        for key, value in context.invocation_metadata() or ():
            if key == OPERATOR_METADATA:
                if not isinstance(value, str) or not _OPERATOR_NAME.fullmatch(value):
                    raise _missing(f"{OPERATOR_METADATA} must have 1 to 63 characters of a-z 0-9 . _ -")
                return Caller(f"loopback:{value}", authenticated=False)
        return _ANYBODY


def caller_in_certificate(pem: bytes) -> Caller:
    """The caller that a certificate names. Raises `HashmatchError` IDENTITY_MISSING."""
    if not pem:
        raise _missing("the connection has no client certificate")
    try:
        certificate = x509.load_pem_x509_certificate(pem)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        raise _missing("the client certificate has no subject alternative name") from None
    except ValueError:
        raise _missing("the client certificate cannot be read") from None
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    if len(uris) != 1:
        raise _missing(f"the client certificate must have exactly one URI as alternative name and has {len(uris)}")
    name = uris[0]
    if not name or len(name) > _MAXIMUM_NAME or not (name.isascii() and name.isprintable()) or " " in name:
        raise _missing("the URI in the client certificate is malformed")
    return Caller(name, authenticated=True, expires_at=certificate.not_valid_after_utc.timestamp())


class AccessRules:
    """Which callers may call what on one listener. `names` empty admits everybody whom the listener knows."""

    def __init__(self, services: Collection[str], names: Collection[str] = ()) -> None:
        self._services = frozenset(services)
        self._names = frozenset(names)

    def check(self, caller: Caller, service: str) -> None:
        """Raise `HashmatchError` NOT_PERMITTED unless `caller` may call `service`.

        A service that is registered but not named here is refused: forgetting a rule must not open a door.
        """
        if service in self._services and (not self._names or (caller.authenticated and caller.name in self._names)):
            return
        raise HashmatchError(
            ErrorReason.NOT_PERMITTED, f"this identity may not call {service}", metadata={"service": service}
        )


def _missing(message: str) -> HashmatchError:
    return HashmatchError(ErrorReason.IDENTITY_MISSING, message)
