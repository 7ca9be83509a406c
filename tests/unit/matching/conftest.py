"""Views without a store: lists whose holdings a test states."""

from __future__ import annotations

import pytest

from hashmatch.columns.placement import PlacementSecret
from hashmatch.index.snapshot import LoadedList, Snapshot
from hashmatch.matching.scope import EVERYTHING, Scope, View, view
from hashmatch.model.algorithms import Algorithm
from hashmatch.model.lists import ListDefinition, ListNature
from hashmatch.model.verdicts import Cause
from hashmatch.store.manifest import Generation, ListState, Manifest

NOW = 1_000.0
MAX_AGE = 100.0


def _state(
    list_id: str,
    body: str = "",
    *,
    carries: tuple[Algorithm, ...] = (Algorithm.MD5,),
    age: float = 0.0,
    served: bool = True,
    epochs: tuple[tuple[int, int], ...] = ((1, 10), (2, 20), (3, 30)),
) -> ListState:
    definition = ListDefinition(list_id=list_id, body=body or list_id, nature=ListNature.TEST, max_age=MAX_AGE)
    generation = Generation(
        number=3,
        epoch=30,
        published_at=NOW,
        as_of=NOW - age,
        segments=(),
        counts=dict.fromkeys(map(int, carries), 1),
        approvals=2,
        approvals_required=2,
    )
    return ListState(definition=definition, generation=generation if served else None, last_number=3, epochs=epochs)


@pytest.fixture
def state():
    """The state of a list: its body, what it carries, how old it is, whether it serves anything."""
    return _state


@pytest.fixture
def view_of():
    """A view upon lists of these states."""

    def view_of(*states: ListState, scope: Scope = EVERYTHING, doubts: tuple[Cause, ...] = ()) -> View:
        manifest = Manifest(
            store_id="store",
            epoch=30,
            published_at=NOW,
            expires_at=NOW,
            placement=PlacementSecret(1, 2),
            approvals_required=2,
            lists={each.definition.list_id: each for each in states},
        )
        lists = {each.definition.list_id: LoadedList(each, each.generation, {}) for each in states if each.generation}
        return view(Snapshot(manifest, lists, {}), scope, now=NOW, doubts=doubts)

    return view_of
