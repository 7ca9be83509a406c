"""Whatever is done to the lists, the store and the server, in whatever order: every answer is that of the model."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.integration.model import Delivery, Record
from tests.integration.serving import Background
from tests.integration.universe import LISTED, Place
from tests.integration.world import LIST_IDS, Staged, World, small_limits

LABELS = ("", "A", "B")
KEYS = ("k1", "k2", "k3")

list_ids = st.sampled_from(LIST_IDS)
places = st.lists(st.sampled_from(LISTED), min_size=1, max_size=3, unique=True)
# A record has one column for each algorithm.
record_places = st.lists(st.sampled_from(LISTED), min_size=1, max_size=3, unique_by=lambda place: place[0]).map(tuple)
labels = st.sampled_from(LABELS)


@st.composite
def deliveries(draw: st.DrawFn) -> Delivery:
    """A delivery of any kind."""
    full, keyed = draw(st.booleans()), draw(st.booleans())
    if not keyed and draw(st.booleans()):
        label = draw(labels)
        records = [Record((place,), label=label) for place in draw(places)]
    else:
        one = st.builds(
            Record,
            places=record_places,
            key=st.sampled_from(KEYS) if keyed else st.just(""),
            label=labels,
            removed=st.sampled_from((False, False, True)),
        )
        records = draw(st.lists(one, min_size=1, max_size=4))
    # Without the padding a full delivery is a new base; with it, most often, a delta.
    return Delivery(tuple(records), full, keyed, padded=full and draw(st.booleans()))


class Machine(RuleBasedStateMachine):
    """Everything that people and accidents do."""

    def __init__(self, background: Background) -> None:
        super().__init__()
        self._directory = Path(tempfile.mkdtemp(prefix="hm-"))
        self.world = World(background, self._directory)
        self.staged: list[Staged] = []

    def teardown(self) -> None:
        self.world.close()
        shutil.rmtree(self._directory)

    @initialize(same_body=st.booleans())
    def define_lists(self, same_body: bool) -> None:
        for list_id in LIST_IDS:
            self.world.define(list_id, body="one body" if same_body and list_id != "alpha" else "")

    @rule(list_id=list_ids, delivery=deliveries())
    def deliver(self, list_id: str, delivery: Delivery) -> None:
        self.world.deliver(list_id, delivery)

    @rule(list_id=list_ids, delivery=deliveries())
    def stage(self, list_id: str, delivery: Delivery) -> None:
        self.staged.append(self.world.stage(list_id, delivery))

    @precondition(lambda self: self.staged)
    @rule(data=st.data())
    def publish(self, data: st.DataObject) -> None:
        chosen = data.draw(st.integers(0, len(self.staged) - 1))
        self.world.publish(self.staged.pop(chosen), hurried=True)

    @rule(list_id=list_ids, steps=st.integers(0, 2))
    def roll_back(self, list_id: str, steps: int) -> None:
        self.world.roll_back(list_id, steps)

    @rule(places=places, scope=st.lists(list_ids, max_size=1))
    def suppress(self, places: list[Place], scope: list[str]) -> None:
        self.world.suppress(places, scope)

    @precondition(lambda self: self.world.state.suppressed)
    @rule(places=places)
    def lift(self, places: list[Place]) -> None:
        self.world.lift([*places, *list(self.world.state.suppressed)[:1]])

    @rule(list_id=list_ids, places=places)
    def withdraw_by_hash(self, list_id: str, places: list[Place]) -> None:
        self.world.withdraw_entries(list_id, places)

    @rule(list_id=list_ids, keys=st.lists(st.sampled_from(KEYS), min_size=1, max_size=2, unique=True))
    def withdraw_by_key(self, list_id: str, keys: list[str]) -> None:
        self.world.withdraw_entries(list_id, keys=keys)

    @rule(list_id=list_ids)
    def withdraw_list(self, list_id: str) -> None:
        self.world.withdraw_list(list_id)

    @rule(list_id=list_ids, body=st.sampled_from(("one body", "")), scheme=st.sampled_from(("scheme", "other")))
    def define(self, list_id: str, body: str, scheme: str) -> None:
        self.world.define(list_id, body=body, scheme=scheme)

    @rule()
    def advance(self) -> None:
        self.world.advance()

    @rule()
    def restart_server(self) -> None:
        self.world.restart_server()

    @rule(crash=st.booleans())
    def restart_store(self, crash: bool) -> None:
        self.world.restart_store(crash=crash)

    @rule()
    def tidy(self) -> None:
        self.world.compact()
        self.world.collect()

    @invariant()
    def every_answer_is_that_of_the_model(self) -> None:
        self.world.check()


def _run(background: Background, examples: int, steps: int, *, derandomize: bool) -> None:
    profile = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        derandomize=derandomize,
        database=None,
        # Shrinking a failure takes many minutes: every attempt starts a store and a server.
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )
    with small_limits():
        run_state_machine_as_test(lambda: Machine(background), settings=profile)


def test_every_answer_agrees_with_the_model(background: Background) -> None:
    _run(background, examples=8, steps=14, derandomize=True)


@pytest.mark.long
def test_every_answer_agrees_with_the_model_in_long_runs(background: Background) -> None:
    _run(background, examples=100, steps=50, derandomize=False)
