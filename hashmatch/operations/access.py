"""The parts of a server that is not ours to start: its configuration, its data directory and its store, to look at."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from hashmatch.service import secrets
from hashmatch.service.config import Config
from hashmatch.service.config_loader import ConfigurationError as ConfigurationError
from hashmatch.service.config_loader import LoadedConfig, flag, load
from hashmatch.service.store_access import store_access
from hashmatch.store.embedded import EmbeddedValkey
from hashmatch.store.store import Store


def load_config(file: str | None, settings: Iterable[str]) -> LoadedConfig:
    """The configuration that a server with the same file, environment and `--set` has. Raises `ConfigurationError`."""
    flags = [flag(text) for text in settings]
    return load(file=None if file is None else Path(file), environ=os.environ, flags=flags)


def data_directory(config: Config) -> Path:
    """Where the server keeps its own files. It is not made here."""
    return Path(config.server.data_dir).absolute()


def sealing_key_file(config: Config) -> Path:
    """Where the sealing key is, or will be."""
    return secrets.sealing_key_file(config, data_directory(config))


def open_store(config: Config) -> Store | None:
    """The store, as the server reaches it; None for an embedded one that never ran. Nothing is asked of it yet.

    Raises `SealingKeyError` and `SecretError`.
    """
    url = EmbeddedValkey.url_in(data_directory(config)) if config.store.embedded else config.store.url
    if not url:
        return None
    return store_access(config, url, secrets.known_secrets(config, data_directory(config))).open()
