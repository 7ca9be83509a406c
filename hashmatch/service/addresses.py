"""Addresses to listen on, as an operator writes them."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

UNIX_PREFIX = "unix:"


class AddressError(ValueError):
    """A text that is no address; the message says what is wrong."""


@dataclass(frozen=True, slots=True)
class Address:
    """`HOST:PORT`, `[IPV6]:PORT` or `unix:PATH`. A unix address has a path and neither host nor port."""

    host: str = ""
    port: int = 0
    path: str = ""

    @property
    def is_unix(self) -> bool:
        """Whether this is a socket in the file system."""
        return bool(self.path)

    @property
    def is_local(self) -> bool:
        """Whether nobody outside this machine can connect. A name other than `localhost` could be anything."""
        if self.is_unix or self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        if self.is_unix:
            return f"{UNIX_PREFIX}{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """The address that `text` states. Raises `AddressError`."""
    if text.startswith(UNIX_PREFIX):
        # unix:///path is the other spelling that gRPC knows.
        path = text.removeprefix(UNIX_PREFIX)
        path = path.removeprefix("//") if path.startswith("///") else path
        if not path or path.startswith("//"):
            raise AddressError("unix: needs a path, for example unix:/run/hashmatch/server.sock")
        return Address(path=path)
    host, colon, port = text.rpartition(":")
    if not colon or not host:
        raise AddressError("expected HOST:PORT, [IPV6]:PORT or unix:PATH")
    if not (port.isascii() and port.isdigit()) or int(port) > 65_535:
        raise AddressError("the port must be a number from 0 to 65535")
    if host.startswith("[") != host.endswith("]"):
        raise AddressError("an IPv6 address needs both brackets, for example [::1]:50051")
    if host.startswith("["):
        host = host[1:-1]
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            raise AddressError("what stands in brackets must be an IPv6 address") from None
    elif ":" in host or any(c.isspace() or c in "/@[]" for c in host):
        raise AddressError("the host must be a name, an IPv4 address, or an IPv6 address in brackets")
    return Address(host=host, port=int(port))


_USER_PASSWORD = re.compile(r"^([^:/]+://[^:@/?#]*:).+@")
_QUERY_PASSWORD = re.compile(r"(?i)(?<=[?&])(password=)[^&#]+")


def mask_url(text: str) -> str:
    """`text`, with the password replaced by asterisks if it is a URL that has one.

    It reads generously, so that a password with characters that it should have escaped is masked as well.
    """
    return _QUERY_PASSWORD.sub(r"\1***", _USER_PASSWORD.sub(r"\1***@", text))
