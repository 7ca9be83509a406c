"""Private keys of people, in files on their own machines: PEM (PKCS#8), encrypted where there is a passphrase."""

from __future__ import annotations

import os
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)


class KeyFileError(Exception):
    """A file that holds no usable key."""


def write_private_key(path: Path, key: Ed25519PrivateKey, passphrase: bytes | None) -> None:
    """Write a key that only its owner can read. Raises `KeyFileError` if the file exists or cannot be made."""
    encryption: KeySerializationEncryption = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(pem)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise KeyFileError(f"cannot make {path}: {error.strerror}") from error


def read_private_key(path: Path, passphrase: bytes | None) -> Ed25519PrivateKey:
    """Read a key. Raises `KeyFileError`, also for a file without passphrase that others may read."""
    try:
        pem = path.read_bytes()
        open_to_others = path.stat().st_mode & 0o077
    except OSError as error:
        raise KeyFileError(f"cannot read {path}: {error.strerror}") from error
    if open_to_others and passphrase is None:
        raise KeyFileError(f"{path} is open to others; chmod it to 600")
    try:
        key = load_pem_private_key(pem, passphrase)
    except TypeError as error:
        wrong = (
            "is encrypted: give --passphrase-file" if passphrase is None else "is not encrypted: it takes no passphrase"
        )
        raise KeyFileError(f"{path} {wrong}") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise KeyFileError(f"{path} holds no key, or the passphrase is wrong") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyFileError(f"{path} holds a key of another kind than Ed25519")
    return key


def write_public_key(path: Path, key: Ed25519PublicKey) -> None:
    """Write what others need to verify with. Raises `KeyFileError` if the file exists or cannot be made."""
    try:
        with path.open("xb") as file:
            file.write(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    except OSError as error:
        raise KeyFileError(f"cannot make {path}: {error.strerror}") from error


def read_public_key(path: Path) -> Ed25519PublicKey:
    """Read what to verify with. Raises `KeyFileError`."""
    try:
        key = load_pem_public_key(path.read_bytes())
    except OSError as error:
        raise KeyFileError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise KeyFileError(f"{path} holds no public key") from error
    if not isinstance(key, Ed25519PublicKey):
        raise KeyFileError(f"{path} holds a key of another kind than Ed25519")
    return key


def read_passphrase(file: Path | None) -> bytes | None:
    """The first line of a file, None without one. Raises `KeyFileError`."""
    if file is None:
        return None
    try:
        lines = file.read_bytes().splitlines()
    except OSError as error:
        raise KeyFileError(f"cannot read {file}: {error.strerror}") from error
    if not lines or not lines[0]:
        raise KeyFileError(f"{file} holds no passphrase")
    return lines[0]
