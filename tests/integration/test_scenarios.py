"""The scenarios, each upon a world of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.scenarios import SCENARIOS, Scenario
from tests.integration.serving import Background
from tests.integration.world import World, small_limits


@pytest.fixture
def world(background: Background, scratch: Path) -> Iterator[World]:
    with small_limits():
        world = World(background, scratch)
        yield world
        world.close()


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_it_goes_as_promised(scenario: Scenario, world: World) -> None:
    scenario(world)
