"""Secrets: read from files alone, and never shown."""

from __future__ import annotations

from pathlib import Path

from hashmatch.service.config import Config
from hashmatch.trust.sealing import generate_key_file, read_secret


class SecretError(Exception):
    """A file with a secret cannot be used."""


def sealing_secret(config: Config, data_dir: Path) -> bytes:
    """The sealing secret; with the embedded store and no file named, one is made in the data directory.

    Raises `SealingKeyError`.
    """
    if config.sealing.key_file:
        return read_secret(Path(config.sealing.key_file))
    path = data_dir / "sealing.key"
    if not path.exists():
        generate_key_file(path)
    return read_secret(path)


def read_password(file: str) -> str | None:
    """The first line of a file, None without one. Raises `SecretError`."""
    if not file:
        return None
    try:
        return Path(file).read_text("utf-8").splitlines()[0]
    except (OSError, UnicodeDecodeError, IndexError) as error:
        raise SecretError(f"cannot read a password from {file}") from error
