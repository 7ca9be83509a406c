"""Secrets: read from files alone, and never shown."""

from __future__ import annotations

from pathlib import Path

from hashmatch.service.config import Config
from hashmatch.trust.checkpoints import NoteError, NoteSigner
from hashmatch.trust.key_files import KeyFileError, read_private_key
from hashmatch.trust.sealing import SealingSecrets, generate_key_file, read_secret


class SecretError(Exception):
    """A file with a secret cannot be used."""


def sealing_secrets(config: Config, data_dir: Path) -> SealingSecrets:
    """The sealing secrets; with the embedded store and no file named, one is made in the data directory.

    Raises `SealingKeyError`.
    """
    path = sealing_key_file(config, data_dir)
    if not config.sealing.key_file and not path.exists():
        generate_key_file(path)
    return known_secrets(config, data_dir)


def known_secrets(config: Config, data_dir: Path) -> SealingSecrets:
    """The same without making one. Raises `SealingKeyError`."""
    sealing = config.sealing
    return SealingSecrets(
        current=read_secret(sealing_key_file(config, data_dir)),
        upcoming=(read_secret(Path(sealing.next_key_file)),) if sealing.next_key_file else (),
        retired=tuple(read_secret(Path(file)) for file in sealing.old_key_files),
    )


def sealing_key_file(config: Config, data_dir: Path) -> Path:
    """Where the key is, or will be, that seals."""
    return Path(config.sealing.key_file) if config.sealing.key_file else data_dir / "sealing.key"


def proof_signer(config: Config) -> NoteSigner | None:
    """What receipts and checkpoints are signed with; None if nothing is. Raises `SecretError`."""
    if not config.proof.key_file:
        return None
    try:
        return NoteSigner(config.proof.name, read_private_key(Path(config.proof.key_file), None))
    except (KeyFileError, NoteError) as error:
        raise SecretError(f"proof.key_file: {error}") from error


def read_password(file: str) -> str | None:
    """The first line of a file, None without one. Raises `SecretError`."""
    if not file:
        return None
    try:
        return Path(file).read_text("utf-8").splitlines()[0]
    except (OSError, UnicodeDecodeError, IndexError) as error:
        raise SecretError(f"cannot read a password from {file}") from error
