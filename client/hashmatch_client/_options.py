"""How the client reaches a server: time, limits, retries, identity, and what the environment says of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike

from hashmatch_client._errors import ConfigurationError

ENVIRONMENT = (
    "HASHMATCH_TARGET",
    "HASHMATCH_CA_FILE",
    "HASHMATCH_CERT_FILE",
    "HASHMATCH_KEY_FILE",
    "HASHMATCH_TIMEOUT",
    "HASHMATCH_PURPOSE",
)


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ConfigurationError(message)


@dataclass(frozen=True, slots=True)
class Timeout:
    """How long a call may take, in seconds. There is always a limit: a server refuses calls without a deadline.

    `call` holds for every call that has one answer. `stream` is the deadline of one bulk or watch stream; a run that
    lasts longer is carried over several streams, so it bounds how long a silent server is waited for, not the run.
    """

    call: float = 5.0
    stream: float = 120.0

    def __post_init__(self) -> None:
        for name, seconds in (("call", self.call), ("stream", self.stream)):
            _require(math.isfinite(seconds) and seconds > 0, f"the {name} timeout is a positive number of seconds")


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is asked at a time.

    `batch_items` is the most items that one BatchMatch carries (the server takes 1,000), `bulk_digests` the most
    digests in one message of a BulkMatch (the server takes 100,000), and `in_flight` how many of either are sent ahead
    of their answers. `receive_bytes` is the largest answer that is accepted.
    """

    batch_items: int = 1_000
    bulk_digests: int = 10_000
    in_flight: int = 8
    receive_bytes: int = 64 * 1024 * 1024

    def __post_init__(self) -> None:
        _require(1 <= self.batch_items <= 1_000, "batch_items lies between 1 and 1,000")
        _require(1 <= self.bulk_digests <= 100_000, "bulk_digests lies between 1 and 100,000")
        _require(self.in_flight >= 1, "in_flight is at least 1")
        _require(self.receive_bytes >= 1, "receive_bytes is at least 1")


@dataclass(frozen=True, slots=True)
class Retry:
    """How often and at what pace a call is tried while the server is UNAVAILABLE; no other failure is tried again.

    gRPC does it, within the deadline of the call. `attempts` counts the first one and is at most 5; 1 means no retry.
    """

    attempts: int = 4
    initial_backoff: float = 0.1
    max_backoff: float = 2.0
    multiplier: float = 2.0

    def __post_init__(self) -> None:
        _require(1 <= self.attempts <= 5, "attempts lies between 1 and 5")
        _require(0 < self.initial_backoff <= self.max_backoff, "initial_backoff lies between 0 and max_backoff")
        _require(self.multiplier > 0, "multiplier is positive")


DEFAULT_TIMEOUT = Timeout()
DEFAULT_LIMITS = Limits()
DEFAULT_RETRY = Retry()


@dataclass(frozen=True, slots=True)
class TLSOptions:
    """PEM files for TLS. Without `ca_file` the system's roots decide; certificate and key are the caller's identity."""

    ca_file: str | PathLike[str] | None = None
    cert_file: str | PathLike[str] | None = None
    key_file: str | PathLike[str] | None = None

    def __post_init__(self) -> None:
        _require((self.cert_file is None) == (self.key_file is None), "a certificate and its key come together")


@dataclass(frozen=True, slots=True)
class Connection:
    """Where the server is and how to reach it, as the environment tells it."""

    target: str
    tls: TLSOptions | None = None
    timeout: Timeout = DEFAULT_TIMEOUT
    purpose: str = ""

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Connection:
        """What the variables named in `ENVIRONMENT` say; an empty variable counts as absent.

        Only HASHMATCH_TARGET is required. Any of the three files turns TLS on.
        """
        target, ca_file, cert_file, key_file, seconds, purpose = (environ.get(name) or None for name in ENVIRONMENT)
        if target is None:
            raise ConfigurationError("HASHMATCH_TARGET is not set: it names the server, for example localhost:50051")
        tls = TLSOptions(ca_file, cert_file, key_file) if ca_file or cert_file or key_file else None
        timeout = DEFAULT_TIMEOUT if seconds is None else Timeout(call=parse_seconds(seconds))
        return cls(target, tls, timeout, purpose or "")


def parse_seconds(text: str) -> float:
    """The positive number of seconds in `text`."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    _require(math.isfinite(seconds) and seconds > 0, "a timeout is a positive number of seconds")
    return seconds
