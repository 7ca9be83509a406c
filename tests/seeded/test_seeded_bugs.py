"""The suite bites: every seeded bug makes a scenario fail that passes without it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration import scenarios
from tests.integration.scenarios import Scenario
from tests.integration.serving import Background
from tests.integration.world import World, small_limits
from tests.seeded import bugs
from tests.seeded.bugs import BUGS, Bug

# What catches each. That these scenarios pass without the bug is what tests/integration/test_scenarios.py says.
CAUGHT_BY: dict[Bug, Scenario] = {
    bugs.skip_the_confirmation: scenarios.only_what_is_listed_matches,
    bugs.swap_before_verify: scenarios.nothing_is_published_that_cannot_be_read_back,
    bugs.accept_an_older_manifest: scenarios.a_store_that_went_back_is_not_followed,
    bugs.treat_a_missing_block_as_empty: scenarios.a_missing_block_is_no_empty_block,
    bugs.ignore_suppressions: scenarios.what_is_suppressed_is_left_out,
    bugs.forget_what_was_lifted: scenarios.what_is_suppressed_is_left_out,
    bugs.drop_the_overlay: scenarios.what_came_with_a_delta_is_found,
    bugs.let_an_old_list_give_negatives: scenarios.an_old_list_gives_no_negatives,
    bugs.let_the_oldest_segment_win: scenarios.what_came_last_holds,
    bugs.count_a_roll_back_as_old: scenarios.what_a_roll_back_brings_counts_as_new,
    bugs.ask_for_no_approvals: scenarios.nobody_publishes_alone,
    bugs.take_what_came_for_all: scenarios.what_broke_off_is_no_delivery,
    bugs.take_near_values_unconfirmed: scenarios.near_values_are_those_that_are_listed_now,
    bugs.reach_one_bit_too_far: scenarios.near_values_are_those_that_are_listed_now,
    bugs.cut_a_search_in_silence: scenarios.what_was_not_searched_is_said,
    bugs.tell_one_opinion_alone: scenarios.keys_name_entries,
}


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.__name__)
def test_a_seeded_bug_is_caught(
    bug: Bug, background: Background, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with small_limits():
        world = World(background, scratch)
        try:
            bug(monkeypatch)
            with pytest.raises((AssertionError, pytest.fail.Exception)):
                CAUGHT_BY[bug](world)
        finally:
            monkeypatch.undo()
            world.close()
