"""Commands that work on the server's own machine, with its configuration, instead of asking a server."""

from __future__ import annotations

import importlib
from types import ModuleType

from hashmatch_client import ConfigurationError


def operations(name: str) -> ModuleType:
    """A module of `hashmatch.operations`. Raises `ConfigurationError` where only the client was installed."""
    try:
        return importlib.import_module(f"hashmatch.operations.{name}")
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"this works on a server's own machine, and lacks {error.name}: pip install 'hashmatch[server]'"
        ) from None
