"""What of a snapshot a caller may know of, and the epoch that its answers name.

The epoch counts changes of everything. A caller that sees some lists is told the epoch of the last change that it could
see, so that what happens to the others moves nothing in its answers. The number never goes back: a list stays with the
nature and the jurisdiction that it was published under, and a permission that changes has an epoch of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from hashmatch.index.snapshot import LoadedList, Snapshot
from hashmatch.model.access import Permission
from hashmatch.store.manifest import UNSEEN_ACTS, HistoryRecord, ListState, list_not_found


@dataclass(frozen=True, slots=True)
class Visibility:
    """A permission upon a snapshot.

    `lists` are those that answers may come from, `states` all that may be known of, both by id; `epoch` and
    `published_at` tell when the last of what may be seen changed.
    """

    snapshot: Snapshot
    permission: Permission
    lists: Mapping[str, LoadedList]
    states: Mapping[str, ListState]
    epoch: int
    published_at: float

    def state(self, list_id: str) -> ListState:
        """The state of a list. Raises `HashmatchError` LIST_NOT_FOUND, whether it is hidden or does not exist."""
        state = self.states.get(list_id)
        if state is None:
            raise list_not_found(list_id)
        return state

    def history(self) -> Iterator[HistoryRecord]:
        """What was done to what may be seen, oldest first; compaction changes no answer and is left out."""
        since = self.permission.since_epoch
        for record in self.snapshot.manifest.history:
            if record.act in UNSEEN_ACTS or record.epoch < since or not self._concerns(record):
                continue
            yield record

    def _concerns(self, record: HistoryRecord) -> bool:
        permission = self.permission
        if record.act == "activate-policy":
            return permission.is_unrestricted or record.epoch == permission.since_epoch
        if record.list_id:
            state = self.states.get(record.list_id)
            return state is not None and state.definition.nature.is_served
        return record.only_lists is None or not self.states.keys().isdisjoint(record.only_lists)


def visibility(snapshot: Snapshot, permission: Permission) -> Visibility:
    """Put a permission upon a snapshot."""
    manifest = snapshot.manifest
    if permission.is_unrestricted:
        return Visibility(snapshot, permission, snapshot.lists, manifest.lists, manifest.epoch, manifest.published_at)
    states = {list_id: state for list_id, state in manifest.lists.items() if permission.sees(state.definition)}
    lists = {list_id: snapshot.lists[list_id] for list_id in states if list_id in snapshot.lists}
    changes = [(state.changed_epoch, state.changed_at) for state in states.values() if state.last_number]
    if manifest.policy is not None and permission.since_epoch:
        changes.append((permission.since_epoch, _moment(snapshot, permission.since_epoch)))
    suppressed = max((each.changed_for(states.keys()) for each in snapshot.suppressions.values()), default=0)
    if suppressed:
        changes.append((suppressed, _moment(snapshot, suppressed)))
    epoch, published_at = max(changes, default=(0, 0.0))
    return Visibility(snapshot, permission, lists, states, epoch, published_at)


def _moment(snapshot: Snapshot, epoch: int) -> float:
    """When an epoch was published, as far as the history tells; 0 if it no longer does."""
    return next((record.at for record in snapshot.manifest.history if record.epoch == epoch), 0.0)
