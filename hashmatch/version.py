"""The version of this distribution."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

try:
    VERSION = version("hashmatch")
except PackageNotFoundError:
    # Run from a tree that was never installed.
    VERSION = "0+unknown"
