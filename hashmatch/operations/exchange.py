"""Publishing lists to other instances and pulling theirs, on the machine where the keys or the trust state are."""

from __future__ import annotations

import datetime
import os
import ssl
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import httpx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from hashmatch.formats.bundle import recognises
from hashmatch.ingest.feeds.exchange import says_missing
from hashmatch.trust.exchange_client import Fetch, Pulled, from_directory, pull
from hashmatch.trust.exchange_repository import (
    ExchangeRepository,
    PublishingError,
    RoleState,
    public_key_id,
)
from hashmatch.trust.key_files import (
    KeyFileError,
    read_passphrase,
    read_private_key,
    read_public_key,
    write_private_key,
    write_public_key,
)
from hashmatch.trust.trust_state import ExchangeError, ExchangeFailure, begin_trust, open_trust

__all__ = [
    "ExchangeError",
    "ExchangeFolder",
    "KeyFileError",
    "PublishingError",
    "RoleState",
    "begin_trust",
    "make_key",
    "pull_to_file",
]

_SECONDS = 60.0
_LARGEST = 8 << 30


class NewKey(NamedTuple):
    """A key that was made: its files, and the id by which repositories know it."""

    key_file: Path
    public_file: Path
    key_id: str


class ExchangeFolder:
    """A repository in a directory, with keys given as files. Methods raise `PublishingError` and `KeyFileError`."""

    def __init__(self, directory: Path) -> None:
        self._repository = ExchangeRepository(directory, datetime.datetime.now(datetime.UTC))

    def create(
        self,
        root: Iterable[str],
        root_threshold: int,
        targets: Iterable[str],
        targets_threshold: int,
        online: str,
    ) -> None:
        """Begin a repository with these public keys."""
        self._repository.create(
            _public(root), root_threshold, _public(targets), targets_threshold, read_public_key(Path(online))
        )

    def delegate(self, body: str, keys: Iterable[str], threshold: int) -> None:
        """Let keys publish for a body."""
        self._repository.delegate(body, _public(keys), threshold)

    def publish(self, body: str, list_id: str, bundle: Path) -> str:
        """Publish a bundle; returns the path by which others ask for it."""
        content = bundle.read_bytes()
        if not recognises(content):
            raise PublishingError(f"{bundle} is no bundle: make it with `hashmatch-server bundle export`")
        return self._repository.publish(body, list_id, content)

    def withdraw(self, body: str, list_id: str) -> None:
        """Publish a list no longer."""
        self._repository.withdraw(body, list_id)

    def rotate(self, role: str, add: Iterable[str], remove: Iterable[str], threshold: int | None) -> None:
        """Change the keys of a role; those to remove are given by their ids."""
        self._repository.rotate(role, _public(add), list(remove), threshold)

    def sign(self, key_file: Path, passphrase_file: Path | None) -> list[str]:
        """Sign what is staged; returns the roles that were waiting for this key."""
        return self._repository.sign(_private(key_file, passphrase_file))

    def release(self, key_file: Path, passphrase_file: Path | None, days: int) -> dict[str, int]:
        """Put into place what is staged, and vouch for everything; returns the versions."""
        return self._repository.release(_private(key_file, passphrase_file), days)

    def states(self) -> list[RoleState]:
        """How every role stands."""
        return list(self._repository.states())


def make_key(directory: Path, name: str, passphrase_file: Path | None) -> NewKey:
    """Make a key to sign a repository with. Raises `KeyFileError`."""
    if not name or name != Path(name).name:
        raise KeyFileError("a key's name is that of a file")
    private_key = Ed25519PrivateKey.generate()
    key_file, public_file = directory / f"{name}.key", directory / f"{name}.pub"
    write_private_key(key_file, private_key, read_passphrase(passphrase_file))
    write_public_key(public_file, private_key.public_key())
    return NewKey(key_file, public_file, public_key_id(private_key.public_key()))


def pull_to_file(state: Path, source: str, target: str, file: Path, *, ca_file: str | None = None) -> Pulled:
    """Pull a list, verified, to a file that must not exist.

    Raises `ExchangeError` and `OSError`; then there is no file.
    """
    with open_trust(state) as opened:
        pulled = pull(opened, _from(source, ca_file), target)
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as written:
        written.write(pulled.bundle)
    return pulled


def _from(source: str, ca_file: str | None) -> Fetch:
    if source.startswith("https://"):
        return _over_https(source.rstrip("/"), ca_file)
    return from_directory(Path(source))


def _over_https(url: str, ca_file: str | None) -> Fetch:
    # The file is not handed to httpx, which warns of that.
    verify = ssl.create_default_context(cafile=ca_file) if ca_file else httpx.create_ssl_context(trust_env=False)

    def fetch(path: str) -> bytes | None:
        try:
            with httpx.stream("GET", f"{url}/{path}", verify=verify, timeout=_SECONDS, trust_env=False) as response:
                status = response.status_code
                if says_missing(path, status):
                    return None
                if not response.is_success:
                    raise ExchangeError(ExchangeFailure.UNREACHABLE, f"{url}/{path}: HTTP status {status}")
                content = bytearray()
                for part in response.iter_bytes():
                    content += part
                    if len(content) > _LARGEST:
                        raise ExchangeError(ExchangeFailure.UNREACHABLE, f"{url}: an answer of over {_LARGEST} bytes")
                return bytes(content)
        except httpx.HTTPError as error:
            raise ExchangeError(ExchangeFailure.UNREACHABLE, f"{url}: {type(error).__name__}") from error

    return fetch


def _public(files: Iterable[str]) -> list[Ed25519PublicKey]:
    return [read_public_key(Path(file)) for file in files]


def _private(file: Path, passphrase_file: Path | None) -> Ed25519PrivateKey:
    return read_private_key(file, read_passphrase(passphrase_file))
