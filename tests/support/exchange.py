"""A hotline that publishes its lists, and what somebody between it and its subscribers can do."""

from __future__ import annotations

import datetime
import json
import shutil
from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from hashmatch.trust.exchange_repository import ExchangeRepository

BODY, LIST = "hotline", "known"
TARGET = f"{BODY}/{LIST}.bundle"
Keys = list[Ed25519PrivateKey]


def keys(count: int) -> Keys:
    return [Ed25519PrivateKey.generate() for _ in range(count)]


class Hotline:
    """Publishes one list; two of three people sign the root, two of two the targets, one of two for the body."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.root, self.targets, self.body = keys(3), keys(2), keys(2)
        (self.online,) = keys(1)
        self.days = 7
        repository = self.repository()
        repository.create(
            [key.public_key() for key in self.root],
            2,
            [key.public_key() for key in self.targets],
            2,
            self.online.public_key(),
        )
        repository.delegate(BODY, [key.public_key() for key in self.body], 1)
        self.sign(*self.root[:2], *self.targets, self.body[0])
        self.release()

    def repository(self, *, ago: float = 0.0) -> ExchangeRepository:
        """The repository as somebody handles it now, or did some days ago."""
        now = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=ago)
        return ExchangeRepository(self.directory, now)

    def sign(self, *private_keys: Ed25519PrivateKey) -> None:
        for key in private_keys:
            self.repository().sign(key)

    def release(self, *, ago: float = 0.0) -> dict[str, int]:
        return self.repository(ago=ago).release(self.online, self.days)

    def publish(self, bundle: bytes, *, ago: float = 0.0) -> dict[str, int]:
        self.repository(ago=ago).publish(BODY, LIST, bundle)
        self.sign(self.body[0])
        return self.release(ago=ago)

    @property
    def first_root(self) -> bytes:
        return (self.directory / "metadata" / "1.root.json").read_bytes()

    def copy(self, to: Path) -> Path:
        """The repository as it is now, for somebody who serves it later."""
        return Path(shutil.copytree(self.directory, to))

    def fetch(self, path: str) -> bytes | None:
        place = self.directory / path
        return place.read_bytes() if place.exists() else None


def with_changed(fetch: Callable[[str], bytes | None], path: str, change: Callable[[bytes], bytes | None]):
    """A repository in which something else lies under the paths that end so."""

    def changed(asked: str) -> bytes | None:
        content = fetch(asked)
        return change(content) if asked.endswith(path) and content is not None else content

    return changed


def with_signatures(content: bytes, count: int) -> bytes:
    """Metadata with only so many of its signatures."""
    document = json.loads(content)
    document["signatures"] = document["signatures"][:count]
    return json.dumps(document).encode()
