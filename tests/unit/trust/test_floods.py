"""What suddenly matches far more is noticed, once a window and by list; what always did, and chance, is not."""

from __future__ import annotations

import numpy as np
import pytest

from hashmatch.trust import floods
from hashmatch.trust.counting import CountingKey
from hashmatch.trust.floods import FloodLimits, FloodSketch
from hashmatch.trust.sealing import KEY_SIZE, SealingKey
from tests.support.clock import ManualClock

KEY = CountingKey(SealingKey(bytes(range(KEY_SIZE))))
WINDOW = 600.0


def values(count: int, seed: int = 1, size: int = 32) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, size), np.uint8)


class Scene:
    """A sketch past its first window."""

    def __init__(self, *, minimum: int = 100, ratio: float = 10.0, learned: bool = True) -> None:
        self.clock = ManualClock()
        self.sketch = FloodSketch(KEY, FloodLimits(WINDOW, minimum, ratio), self.clock)
        if learned:
            self.pass_windows(1)

    def pass_windows(self, count: float) -> None:
        self.clock.advance(count * WINDOW)
        assert self.sketch.is_over
        self.sketch.turn()
        assert not self.sketch.is_over

    def match(self, value: np.ndarray, times: int, *lists: str) -> list[tuple[str, int]]:
        """One value matches so often; returns in which lists that was noticed, and at how many."""
        column = np.repeat(value.reshape(1, -1), times, axis=0)
        found = self.sketch.add(column, np.zeros(times, np.int64), [lists or ("list",)])
        return [(each.list_id, each.matches) for each in found]


@pytest.mark.parametrize("size", [16, 20, 32, 64, 144])
def test_what_suddenly_matches_is_noticed_at_the_minimum_and_once_a_window(size: int) -> None:
    scene = Scene()
    (value,) = values(1, size=size)
    assert scene.match(value, 99) == []
    assert scene.match(value, 5) == [("list", 100)]
    assert scene.match(value, 5_000) == []


def test_each_list_is_judged_by_itself() -> None:
    scene = Scene()
    (value,) = values(1)
    scene.match(value, 60, "first")
    assert scene.match(value, 60, "first", "second") == [("first", 100)]
    assert scene.match(value, 40, "second") == [("second", 100)]


def test_rows_are_told_apart_and_those_without_a_list_do_not_count() -> None:
    scene = Scene()
    one, other = values(2)
    column = np.concatenate([np.repeat(one[None], 150, axis=0), np.repeat(other[None], 150, axis=0)])
    numbers = np.repeat(np.array([0, 1]), 150)
    (found,) = scene.sketch.add(column, numbers, [(), ("list",)])
    assert (column[found.row] == other).all()


def test_in_the_first_window_nothing_is_noticed_and_after_it_what_was_usual_is_not() -> None:
    scene = Scene(learned=False)
    (value,) = values(1)
    assert scene.match(value, 1_000) == []
    scene.pass_windows(1)
    assert scene.match(value, 9_000) == []
    # What is usual fades: the last window's count is a little less than what it was.
    assert [list_id for list_id, _ in scene.match(value, 1_100)] == ["list"]


def test_what_is_usual_outlasts_a_night_and_not_a_week() -> None:
    scene = Scene(learned=False)
    (value,) = values(1)
    scene.match(value, 1_000)
    scene.pass_windows(48)
    assert scene.match(value, 1_000) == []
    scene.pass_windows(7 * 144)
    assert scene.match(value, 1_000) == [("list", 100)]


def test_a_flood_that_goes_on_is_usual_from_then_on() -> None:
    scene = Scene()
    (value,) = values(1)
    assert scene.match(value, 500)
    for _ in range(5):
        scene.pass_windows(1)
        assert scene.match(value, 600) == []


def test_a_whole_list_that_matches_once_floods_nothing_and_hides_no_flood() -> None:
    scene = Scene(minimum=20)
    every = values(2_000_000, size=16)
    assert scene.sketch.add(every, np.zeros(len(every), np.int64), [("list",)]) == []
    assert [list_id for list_id, _ in scene.match(every[0], 2_000)] == ["list"]


def test_more_floods_than_fit_are_noticed_with_the_next_batch() -> None:
    scene = Scene(minimum=2)
    every = values(floods._MOST_AT_ONCE + 10)
    assert scene.sketch.add(every, np.zeros(len(every), np.int64), [("list",)]) == []
    batches = [len(scene.sketch.add(every, np.zeros(len(every), np.int64), [("list",)])) for _ in range(3)]
    assert batches == [floods._MOST_AT_ONCE, 10, 0]


def test_servers_with_other_keys_count_in_other_places() -> None:
    """Whoever does not have the key cannot make values that share the places of another."""
    column, nothing = values(1), np.zeros(1, np.int64)
    places = []
    for secret in (bytes(KEY_SIZE), bytes(range(KEY_SIZE))):
        sketch = FloodSketch(CountingKey(SealingKey(secret)), FloodLimits(WINDOW, 1, 1.0), ManualClock())
        sketch.add(column, nothing, [("list",)])
        places.append(np.argwhere(sketch._counts).tolist())
    assert places[0] != places[1]
