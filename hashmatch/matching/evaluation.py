"""From what the lists hold of a hash to its verdict. The rules stand here and nowhere else.

1. An opinion counts if the hash is not suppressed for its list and the opinion is newer than the epoch asked for.
2. MATCH if opinions of at least `min_sources` bodies count.
3. Otherwise NOT_DETERMINED if lists that could not be read might make up the difference.
4. Otherwise NO_KNOWN_MATCH, which the doubts about the whole column may still turn into NOT_DETERMINED.

A MATCH names the natures of the lists that it rests on: a test list's match must not be taken for a finding.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from hashmatch.matching.findings import Finding, Holding
from hashmatch.matching.scope import View
from hashmatch.model.lists import ListNature
from hashmatch.model.opinions import Opinion, agreement_of
from hashmatch.model.verdicts import Cause, Verdict
from hashmatch.store.suppressions import Suppression


def evaluate(view: View, holdings: Sequence[Holding], suppression: Suppression | None) -> Finding:
    """The finding for a hash that lists in scope may have."""
    scope = view.scope
    opinions = []
    suppressed = False
    for holding in holdings:
        if holding.unread is not None or not holding.statements:
            continue
        lifted = 0
        if suppression is not None:
            if suppression.active and suppression.covers(holding.list_id):
                suppressed = True
                continue
            lifted = suppression.seen_again_since(holding.list_id)
        loaded = view.lists[holding.list_id]
        for position, statement in enumerate(holding.statements):
            since = max(loaded.state.epoch_of(statement.since_generation), lifted, scope.permission.since_epoch)
            if since > scope.newer_than_epoch:
                opinions.append(Opinion(holding.list_id, loaded.generation.number, statement, since, position))
    unread = tuple(holding.unread for holding in holdings if holding.unread is not None)
    return conclude(view, opinions, unread, suppressed=suppressed)


def conclude(view: View, opinions: Sequence[Opinion], unread: tuple[Cause, ...], *, suppressed: bool) -> Finding:
    """The finding for a hash of which these opinions count, where lists could not be read for the causes `unread`."""
    scope = view.scope
    body_of = {list_id: loaded.state.definition.body for list_id, loaded in view.lists.items()}
    bodies = {body_of[opinion.list_id] for opinion in opinions}
    possible = bodies | {body_of[cause.list_id] for cause in unread}
    if len(bodies) >= scope.min_sources and bodies:
        verdict = Verdict.MATCH
    elif len(possible) >= scope.min_sources and unread:
        verdict = Verdict.NOT_DETERMINED
    else:
        verdict = Verdict.NO_KNOWN_MATCH
    said = ((body_of[each.list_id], each.statement.scheme, each.statement.label) for each in opinions)
    return Finding(
        verdict,
        tuple(opinions),
        agreement_of(said),
        unread if verdict is not Verdict.NO_KNOWN_MATCH else (),
        suppressed,
        below_min_sources=bool(bodies) and len(bodies) < scope.min_sources,
        natures=_natures(view, opinions) if verdict is Verdict.MATCH else (),
    )


def _natures(view: View, opinions: Iterable[Opinion]) -> tuple[ListNature, ...]:
    return tuple(sorted({view.lists[opinion.list_id].state.definition.nature for opinion in opinions}))
