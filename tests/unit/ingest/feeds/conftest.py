"""A simulated body, the feed that reads it, and pauses that are recorded in the place of being made."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from hashmatch.ingest.feeds.definition import FeedDefinition, load_definitions
from tests.support.simulators.body import Body
from tests.support.simulators.office import write_feed


class Pauses(list[float]):
    """The pauses that were asked for."""

    async def __call__(self, seconds: float) -> None:
        self.append(seconds)


@pytest.fixture
def pauses() -> Pauses:
    return Pauses()


@pytest.fixture
def simulate() -> Iterator[Callable[..., Body]]:
    with ExitStack() as stack:

        def start(kind: type[Body], **settings: Any) -> Body:
            body = kind(**settings)
            stack.callback(body.stop)
            return body

        yield start


@pytest.fixture
def define(tmp_path: Path) -> Callable[..., FeedDefinition]:
    """The definition of a feed that reads a body, read from its file."""

    def make(body: Body, **settings: object) -> FeedDefinition:
        (feed,) = load_definitions(write_feed(tmp_path, body, **settings))
        return feed

    return make
