"""What the tests over the wire share: an event loop for servers, a Valkey that may be harmed, and a server on it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from hashmatch.store.embedded import EmbeddedValkey
from tests.integration.serving import Background, Client, RunningServer, make_config


@pytest.fixture(scope="session")
def background() -> Iterator[Background]:
    """Where servers run."""
    background = Background()
    yield background
    background.close()


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A directory whose name is short enough for a socket in it."""
    directory = Path(tempfile.mkdtemp(prefix="hm-"))
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def own_valkey(scratch: Path) -> Iterator[EmbeddedValkey]:
    """A Valkey that the test may stop, kill and empty."""
    with EmbeddedValkey(scratch / "store") as valkey:
        yield valkey


MakeServer = Callable[..., RunningServer]


@pytest.fixture
def make_server(background: Background, scratch: Path) -> Iterator[MakeServer]:
    """Makes servers, which are stopped at the end."""
    with ExitStack() as stack:

        def make(name: str = "data", url: str = "", clock: Any = None, **settings: Any) -> RunningServer:
            server = RunningServer(background, make_config(scratch / name, url, **settings), clock)
            stack.callback(server.stop)
            return server

        yield make


@pytest.fixture
def client(make_server: MakeServer) -> Client:
    """A client to a server with a store of its own."""
    return make_server().start()
