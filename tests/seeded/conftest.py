"""What the seeded bugs share with the tests over the wire."""

from __future__ import annotations

from tests.integration.conftest import background, make_server, scratch

__all__ = ["background", "make_server", "scratch"]
