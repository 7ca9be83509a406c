"""The certificates of a listener, read again when their files change.

gRPC asks for them at every handshake. Then the files are looked at, and if they have changed they are read and checked
as a whole: what does not fit together, is expired or cannot be read is refused, and the certificates before stay in
use; what could not be read is tried again at the next handshake. So files may be replaced one after the other, by
whatever tool, and no restart is needed. Connections that are open stay as they are; a caller whose certificate has
expired meanwhile is refused by `identity`.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

import grpc
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from structlog.typing import FilteringBoundLogger

from hashmatch.model.clock import Clock
from hashmatch.service.certificates import CertificateError, certificates_in
from hashmatch.service.logs import Event
from hashmatch.service.metrics import Metrics


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """Where the certificate chain, its key and the authorities of the callers are, all of them PEM."""

    chain: Path
    key: Path
    authorities: Path

    def state(self) -> tuple[tuple[int, ...], ...]:
        """What differs once a file was replaced or written to. Raises `CertificateError`."""
        try:
            found = [file.stat() for file in (self.chain, self.key, self.authorities)]
        except OSError as error:
            raise CertificateError(f"cannot read {error.filename}: {error.strerror}") from error
        # The time of the inode as well: a key that could not be read is mended by a change of its mode alone.
        return tuple((each.st_ino, each.st_mtime_ns, each.st_ctime_ns, each.st_size) for each in found)

    def read(self) -> tuple[bytes, bytes, bytes]:
        """The chain, its key and the authorities. Raises `CertificateError`."""
        return _read(self.chain), _read(self.key), _read(self.authorities)


@dataclass(frozen=True, slots=True)
class Loaded:
    """Certificates that fit together, as bytes, and when the first of them expires, in seconds since 1970."""

    chain: bytes
    key: bytes
    authorities: bytes
    expires_at: float

    def __repr__(self) -> str:
        return f"Loaded(expires_at={self.expires_at})"


class Certificates:
    """The certificates that one listener shows and accepts; thread-safe."""

    def __init__(
        self, files: CertificateFiles, listener: str, metrics: Metrics, clock: Clock, logger: FilteringBoundLogger
    ) -> None:
        """Read them. Raises `CertificateError`."""
        self._files = files
        self._listener = listener
        self._clock = clock
        self._logger = logger
        self._lock = threading.Lock()
        self._reloads = metrics.certificate_reloads
        self._seen = files.state()
        self._unreadable = ""
        self._loaded = checked(files, files.read(), clock.now())
        metrics.certificate_expiry.labels(listener).set_function(lambda: self._loaded.expires_at)

    def credentials(self) -> grpc.ServerCredentials:
        """What a port is opened with: every caller must show a certificate of one of the authorities."""
        # The version of TLS is gRPC's own floor, 1.2; a test holds it.
        return grpc.dynamic_ssl_server_credentials(
            _configuration(self._loaded),
            # None, which says that nothing has changed, is missing in the stubs.
            self._fetch,  # type: ignore[arg-type]
            require_client_authentication=True,
        )

    def _fetch(self) -> grpc.ServerCertificateConfiguration | None:
        """The certificates if they have changed since the last handshake, otherwise None. On a thread of gRPC's."""
        with self._lock:
            try:
                state = self._files.state()
                if state == self._seen:
                    return None
                read = self._files.read()
            except CertificateError as error:
                # Tried again at every handshake, and told once.
                before, self._unreadable = self._unreadable, str(error)
                if self._unreadable != before:
                    self._refuse(self._unreadable)
                return None
            # Remembered also if they are no good: they are looked at again once they change again.
            self._seen, self._unreadable = state, ""
            try:
                self._loaded = checked(self._files, read, self._clock.now())
            except CertificateError as error:
                self._refuse(str(error))
                return None
            self._reloads.labels(self._listener, "loaded").inc()
            self._logger.info(
                Event.CERTIFICATES_LOADED, listener=self._listener, expires_at=round(self._loaded.expires_at)
            )
            return _configuration(self._loaded)

    def _refuse(self, why: str) -> None:
        self._reloads.labels(self._listener, "refused").inc()
        self._logger.error(Event.CERTIFICATES_REFUSED, listener=self._listener, why=why)


def checked(files: CertificateFiles, read: tuple[bytes, bytes, bytes], now: float) -> Loaded:
    """What was read of the files, if it fits together. Raises `CertificateError`."""
    chain, key, authorities = read
    certificates = certificates_in(chain, files.chain)
    certificates_in(authorities, files.authorities)
    try:
        private = serialization.load_pem_private_key(key, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise CertificateError(f"{files.key} holds no unencrypted private key in PEM") from None
    if private.public_key() != certificates[0].public_key():
        raise CertificateError(f"{files.key} is not the key of the first certificate in {files.chain}")
    expires_at = min(each.not_valid_after_utc.timestamp() for each in certificates)
    if expires_at <= now:
        raise CertificateError(f"a certificate in {files.chain} has expired")
    return Loaded(chain, key, authorities, expires_at)


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise CertificateError(f"cannot read {file}: {error.strerror}") from error


def _configuration(loaded: Loaded) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(loaded.key, loaded.chain)], loaded.authorities)
