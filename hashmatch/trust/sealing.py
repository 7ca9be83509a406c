"""Sealing: AES-256-GCM under keys that are derived, each for one purpose, from one secret file.

A segment has a key of its own, derived with a fresh random salt, so that the block number can be the nonce and no nonce
is ever used twice under one key. The segment's id, the block's number and the number of blocks are authenticated with
the block: a missing, swapped, truncated or edited block cannot pass for another.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from hashmatch.trust.batch_opening import Opened, open_batch
from hashmatch.trust.openssl_kernels import NONCE_SIZE as NONCE_SIZE
from hashmatch.trust.openssl_kernels import TAG_SIZE as TAG_SIZE

KEY_SIZE = 32


class SealingError(Exception):
    """Something sealed does not verify: it was changed, misplaced, cut short, or sealed under another key."""


class SealingKeyError(Exception):
    """The file of the sealing key is missing, unreadable, too open or of the wrong size."""


class Sealer:
    """Seals and opens under one derived key."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._cipher = AESGCM(key)

    def seal(self, nonce: bytes, plaintext: bytes, context: bytes) -> bytes:
        """The ciphertext with its tag. The caller never repeats a nonce."""
        return self._cipher.encrypt(nonce, plaintext, context)

    def open(self, nonce: bytes, sealed: bytes, context: bytes) -> bytes:
        """The plaintext. Raises `SealingError` if anything differs from what was sealed."""
        try:
            return self._cipher.decrypt(nonce, sealed, context)
        except (InvalidTag, ValueError) as error:
            raise SealingError("a sealed value does not verify") from error

    def open_many(self, numbers: Sequence[int], sealed: Sequence[bytes | None], context: bytes) -> Opened:
        """The plaintexts of values whose nonces are `numbers`, big-endian; None stands for one that is missing."""
        return open_batch(self._key, numbers, sealed, context)

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
    """The secret from which every sealing key is derived. Its `repr` shows only the key's id."""

    def __init__(self, secret: bytes) -> None:
        if len(secret) != KEY_SIZE:
            raise SealingKeyError(f"a sealing key has {KEY_SIZE} bytes")
        self._secret = secret
        self.key_id = self.derive(b"", b"key id")[:4].hex()

    def derive(self, salt: bytes, purpose: bytes) -> bytes:
        """A 32-byte key for one purpose (HKDF-SHA-256, RFC 5869)."""
        return HKDF(SHA256(), KEY_SIZE, salt, b"hashmatch v1 " + purpose).derive(self._secret)

    def sealer(self, salt: bytes, purpose: bytes) -> Sealer:
        """A sealer under the key for one purpose."""
        return Sealer(self.derive(salt, purpose))

    def __repr__(self) -> str:
        return f"SealingKey(id={self.key_id})"


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
