"""Sealing: AES-256-GCM under keys that are derived, each for one purpose, from one secret file.

A segment has a key of its own, derived with a fresh random salt, so that the block number can be the nonce and no nonce
is ever used twice under one key. The segment's id, the block's number and the number of blocks are authenticated with
the block: a missing, swapped, truncated or edited block cannot pass for another.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Sequence
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from hashmatch.trust.batch_opening import Opened, open_batch
from hashmatch.trust.openssl_kernels import NONCE_SIZE as NONCE_SIZE
from hashmatch.trust.openssl_kernels import TAG_SIZE as TAG_SIZE

KEY_SIZE = 32
# Ids are for telling keys apart, not for proving anything.
KEY_ID_SIZE = 4


class SealingError(Exception):
    """Something sealed does not verify: it was changed, misplaced, cut short, or sealed under another key."""


class SealingKeyError(Exception):
    """A sealing key is not here, or its file is missing, unreadable, too open or of the wrong size."""


class Sealer:
    """Seals and opens under one derived key, and opens what `others` sealed."""

    def __init__(self, key: bytes, key_id: str = "", others: Sequence[Sealer] = ()) -> None:
        """`key_id` is the id of the secret that the key was derived from."""
        self.key_id = key_id
        self._key = key
        self._cipher = AESGCM(key)
        self._others = tuple(others)

    def seal(self, nonce: bytes, plaintext: bytes, context: bytes) -> bytes:
        """The ciphertext with its tag. The caller never repeats a nonce."""
        return self._cipher.encrypt(nonce, plaintext, context)

    def open(self, nonce: bytes, sealed: bytes, context: bytes) -> bytes:
        """The plaintext. Raises `SealingError` if anything differs from what was sealed."""
        return self._opened(nonce, sealed, context)[0]

    def open_many(self, numbers: Sequence[int], sealed: Sequence[bytes | None], context: bytes) -> Opened:
        """The plaintexts of values whose nonces are `numbers`, big-endian; None stands for one that is missing.

        They are opened under the one key: what `others` sealed is not good here.
        """
        return open_batch(self._key, numbers, sealed, context)

    def key_of(self, sealed: bytes, context: bytes) -> str:
        """The id of the key that `seal_with_random_nonce` sealed this under. Raises `SealingError`."""
        return self._opened(sealed[:NONCE_SIZE], sealed[NONCE_SIZE:], context)[1]

    def _opened(self, nonce: bytes, sealed: bytes, context: bytes) -> tuple[bytes, str]:
        for sealer in (self, *self._others):
            with contextlib.suppress(InvalidTag, ValueError):
                return sealer._cipher.decrypt(nonce, sealed, context), sealer.key_id
        raise SealingError("a sealed value does not verify")

    def seal_with_random_nonce(self, plaintext: bytes, context: bytes) -> bytes:
        """Nonce, ciphertext and tag; for values sealed far fewer than 2^32 times under this key."""
        nonce = secrets.token_bytes(NONCE_SIZE)
        return nonce + self.seal(nonce, plaintext, context)

    def open_with_nonce(self, sealed: bytes, context: bytes) -> bytes:
        """The plaintext of `seal_with_random_nonce`. Raises `SealingError`."""
        if len(sealed) < NONCE_SIZE + TAG_SIZE:
            raise SealingError("a sealed value is cut short")
        return self.open(sealed[:NONCE_SIZE], sealed[NONCE_SIZE:], context)


class SealingKey:
    """The secret from which every sealing key is derived. Its `repr` shows only the key's id.

    While keys are rotated there are several. This one seals; what was sealed under `others` opens as well. Those in
    `retired` are to be done without: what is sealed under them is to be sealed anew.
    """

    def __init__(self, secret: bytes, *, upcoming: Sequence[bytes] = (), retired: Sequence[bytes] = ()) -> None:
        """`upcoming` are secrets that other servers seal with already. Raises `SealingKeyError`."""
        if len(secret) != KEY_SIZE:
            raise SealingKeyError(f"a sealing key has {KEY_SIZE} bytes")
        self._secret = secret
        self.key_id = self.derive(b"", b"key id")[:KEY_ID_SIZE].hex()
        old = [SealingKey(each) for each in retired]
        self.others = (*(SealingKey(each) for each in upcoming), *old)
        self.retired = frozenset(each.key_id for each in old) - {self.key_id}

    def derive(self, salt: bytes, purpose: bytes) -> bytes:
        """A 32-byte key for one purpose (HKDF-SHA-256, RFC 5869)."""
        return HKDF(SHA256(), KEY_SIZE, salt, b"hashmatch v1 " + purpose).derive(self._secret)

    def sealer_under(self, key_id: str, salt: bytes, purpose: bytes) -> Sealer:
        """A sealer for one purpose under the one of the keys that has this id. Raises `SealingKeyError`."""
        for key in (self, *self.others):
            if key.key_id == key_id:
                return Sealer(key.derive(salt, purpose), key_id)
        raise SealingKeyError(
            f"is sealed under key {key_id}, which is none of sealing.key_file, next_key_file and old_key_files here"
        )

    def sealer(self, salt: bytes, purpose: bytes) -> Sealer:
        """A sealer for one purpose, which seals under this key and opens what any of them sealed."""
        others = [Sealer(key.derive(salt, purpose), key.key_id) for key in self.others]
        return Sealer(self.derive(salt, purpose), self.key_id, others)

    def __repr__(self) -> str:
        return f"SealingKey(id={self.key_id})"


class SealingSecrets(msgspec.Struct, frozen=True, kw_only=True):
    """The secrets of a server: the one that seals, and those that only open. The `repr` shows none."""

    current: bytes
    upcoming: tuple[bytes, ...] = ()
    retired: tuple[bytes, ...] = ()

    def key(self) -> SealingKey:
        """The sealing key that they are. Raises `SealingKeyError`."""
        return SealingKey(self.current, upcoming=self.upcoming, retired=self.retired)

    def __repr__(self) -> str:
        return "SealingSecrets(***)"


def generate_key_file(path: Path) -> None:
    """Write a fresh secret that only its owner can read. Raises `SealingKeyError` if the file exists."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise SealingKeyError(f"cannot make {path}: {error.strerror}") from error
    with os.fdopen(descriptor, "wb") as file:
        file.write(secrets.token_bytes(KEY_SIZE).hex().encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def read_secret(path: Path) -> bytes:
    """Read a secret of 64 hex digits. Raises `SealingKeyError`, also if others than the owner may read or change it."""
    try:
        if path.stat().st_mode & 0o037:
            raise SealingKeyError(f"{path} is open to others; chmod it to 600")
        secret = bytes.fromhex(path.read_text("ascii").strip())
    except OSError as error:
        raise SealingKeyError(f"cannot read {path}: {error.strerror}") from error
    except ValueError:
        raise SealingKeyError(f"{path} does not hold {KEY_SIZE * 2} hex digits") from None
    if len(secret) != KEY_SIZE:
        raise SealingKeyError(f"{path} does not hold {KEY_SIZE * 2} hex digits")
    return secret


def load_key_file(path: Path) -> SealingKey:
    """The sealing key of a file. Raises `SealingKeyError`."""
    return SealingKey(read_secret(path))
