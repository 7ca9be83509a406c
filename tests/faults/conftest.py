"""What the faults share with the tests over the wire, and servers whose lists lie in the store as large ones do."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.conftest import background, make_server, own_valkey, scratch
from tests.integration.world import small_limits

__all__ = ["background", "make_server", "own_valkey", "scratch"]


@pytest.fixture(autouse=True)
def _small_limits() -> Iterator[None]:
    with small_limits():
        yield
