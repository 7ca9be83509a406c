"""A trial's public key infrastructure on a disk: where its authorities and certificates lie."""

from __future__ import annotations

import datetime
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hashmatch.trust.pki import Authority, Credentials, PkiError

# An authority outlives what it issues, but not by much: this is for trials.
_AUTHORITY_LIFETIME = datetime.timedelta(days=730)
_CLIENTS = ("uploads",)
_OPERATORS = ("importer", "ann", "bob")
_FOLDERS = {"server": "servers", "client": "clients", "operator": "operators"}
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_DOMAIN = re.compile(r"[a-z0-9][a-z0-9.-]{0,200}")

__all__ = ["IssuedFiles", "PkiError", "TrialPki"]


@dataclass(frozen=True, slots=True)
class IssuedFiles:
    """Where a certificate and its key are, and the URI of the caller that it names; empty for a server."""

    certificate: Path
    key: Path
    uri: str = ""


class TrialPki:
    """One authority each for servers, clients and operators, in one directory. Methods raise `PkiError` and `OSError`.

    The authorities' keys lie in the folder `authorities`, whose reader can be anybody; every key has mode 0600.
    """

    def __init__(self, directory: Path, *, now: datetime.datetime, lifetime: datetime.timedelta) -> None:
        """What is issued is good for `lifetime` from `now`."""
        self.directory = directory
        self._home = directory / "authorities"
        self._now = now
        self._lifetime = lifetime

    def authority_file(self, kind: str) -> Path:
        """The certificate of the authority for a kind: server, client or operator."""
        return self.directory / f"{_FOLDERS[kind]}-ca.pem"

    def make(self, domain: str, hosts: Sequence[str]) -> tuple[IssuedFiles, list[IssuedFiles]]:
        """Make the authorities, the server's certificate and those of the first callers."""
        if not _DOMAIN.fullmatch(domain):
            raise PkiError("a domain is written a-z 0-9 . - and starts with a letter or digit")
        made = {
            kind: Authority.create(f"hashmatch trial: {folder}", now=self._now, lifetime=_AUTHORITY_LIFETIME)
            for kind, folder in _FOLDERS.items()
        }
        server = made["server"].issue_to_server(hosts, now=self._now, lifetime=self._lifetime)
        try:
            self._home.mkdir(mode=0o700, parents=True)
        except FileExistsError:
            raise PkiError(
                f"{self.directory} has authorities already; `pki issue` makes one more certificate"
            ) from None
        _write(self._home / "domain", domain.encode() + b"\n")
        for kind, authority in made.items():
            _write_credentials(self._home / _FOLDERS[kind], authority.credentials)
            # Apart from its key, because this is what others need.
            _write(self.authority_file(kind), authority.certificate, mode=0o644)
        first = [("client", name) for name in _CLIENTS] + [("operator", name) for name in _OPERATORS]
        return (
            _write_credentials(self.directory / "server", server),
            [self.issue_to_caller(kind, name) for kind, name in first],
        )

    def issue_to_server(self, name: str, hosts: Sequence[str]) -> IssuedFiles:
        """One more server's certificate, in files of this name."""
        stem = self._new(name, "server")
        return _write_credentials(
            stem, self._authority("server").issue_to_server(hosts or [name], now=self._now, lifetime=self._lifetime)
        )

    def issue_to_caller(self, kind: str, name: str, uri: str = "") -> IssuedFiles:
        """One more client's or operator's certificate; without a URI it is the usual one of this name."""
        stem = self._new(name, kind)
        authority = self._authority(kind)
        if not uri:
            domain = (self._home / "domain").read_text("ascii").strip()
            uri = f"spiffe://{domain}/{_FOLDERS[kind]}/{name}"
        return _write_credentials(stem, authority.issue_to_caller(uri, now=self._now, lifetime=self._lifetime), uri)

    def _authority(self, kind: str) -> Authority:
        stem = self._home / _FOLDERS[kind]
        return Authority.load(Credentials(_with(stem, ".pem").read_bytes(), _with(stem, ".key").read_bytes()))

    def _new(self, name: str, kind: str) -> Path:
        if not _NAME.fullmatch(name):
            raise PkiError("a name is written a-z 0-9 . _ - and starts with a letter or digit")
        stem = self.directory / _FOLDERS[kind] / name
        for file in (_with(stem, ".pem"), _with(stem, ".key")):
            if file.exists():
                raise PkiError(f"{file} exists; remove it to issue another")
        return stem


def _with(stem: Path, suffix: str) -> Path:
    # Not `with_suffix`, which would take what follows the last dot of a name for one.
    return stem.parent / (stem.name + suffix)


def _write_credentials(stem: Path, credentials: Credentials, uri: str = "") -> IssuedFiles:
    stem.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    files = IssuedFiles(_with(stem, ".pem"), _with(stem, ".key"), uri)
    _write(files.key, credentials.key)
    _write(files.certificate, credentials.certificate, mode=0o644)
    return files


def _write(path: Path, content: bytes, *, mode: int = 0o600) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
