"""What the seeded bugs share with the tests over the wire."""

from __future__ import annotations

from tests.integration.conftest import background, scratch

__all__ = ["background", "scratch"]
