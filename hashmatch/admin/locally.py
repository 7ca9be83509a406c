"""Commands that work on the server's own machine, with its configuration, instead of asking a server."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from types import ModuleType
from typing import Any

from hashmatch_client import ConfigurationError


def operations(name: str) -> ModuleType:
    """A module of `hashmatch.operations`. Raises `ConfigurationError` where only the client was installed."""
    try:
        return importlib.import_module(f"hashmatch.operations.{name}")
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"this works on a server's own machine, and lacks {error.name}: pip install 'hashmatch[server]'"
        ) from None


def server_config(file: str | None, settings: Iterable[str]) -> Any:
    """The server's `Config`. Raises `ConfigurationError`, with every problem on a line of its own."""
    access = operations("access")
    try:
        return access.load_config(file, settings).config
    except access.ConfigurationError as error:
        raise ConfigurationError("; ".join(error.problems)) from None
