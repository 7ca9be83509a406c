"""Suppressions: leaving hashes out of every answer, at once and also after later deliveries."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from hashmatch.ingest.acts import Acts, with_record
from hashmatch.ingest.approvals import Approved, state_digest
from hashmatch.ingest.entry_hashes import EntryHash
from hashmatch.ingest.staging import write_suppressions
from hashmatch.model.errors import invalid_field
from hashmatch.model.lists import check_reason
from hashmatch.store.manifest import Manifest
from hashmatch.store.suppressions import EVERY_LIST, MAXIMUM_SUPPRESSIONS, Suppression


class Suppressor:
    """Suppresses hashes and lifts suppressions; raises what `Acts` raises."""

    def __init__(self, acts: Acts) -> None:
        self._acts = acts
        self._store = acts.store
        self._clock = acts.clock

    def suppress(
        self,
        hashes: Sequence[EntryHash],
        list_ids: Sequence[str],
        actor: str,
        reason: str,
        *,
        validate_only: bool = False,
        approved: Approved | None = None,
    ) -> tuple[int, int]:
        """Leave hashes out of every answer. Returns the epoch and how many were not left out so before."""
        check_reason(reason)
        fresh = 0

        def change(suppressions: dict[EntryHash, Suppression], manifest: Manifest, epoch: int) -> None:
            nonlocal fresh
            fresh = 0
            for list_id in list_ids:
                manifest.state(list_id)
            for algorithm, digest in dict.fromkeys(hashes):
                before = suppressions.get((algorithm, digest))
                lists = tuple(sorted(set(list_ids)))
                if before is not None and before.active:
                    # A suppression everywhere stays one; otherwise the lists add up.
                    lists = () if not lists or not before.list_ids else tuple(sorted({*lists, *before.list_ids}))
                    if lists == before.list_ids:
                        continue
                fresh += 1
                already = set(before.list_ids or (EVERY_LIST,)) if before is not None and before.active else set()
                moved = dict.fromkeys(set(lists or (EVERY_LIST,)) - already, epoch)
                suppressions[algorithm, digest] = Suppression(
                    algorithm=algorithm,
                    digest=digest,
                    list_ids=lists,
                    reason=reason,
                    actor=actor,
                    changed=moved if before is None else before.changed | moved,
                    lifted={} if before is None else before.lifted,
                )

        epoch = self._change_suppressions("suppress", change, len(hashes), actor, reason, validate_only, approved)
        return epoch, fresh

    def lift_suppression(
        self,
        hashes: Sequence[EntryHash],
        actor: str,
        reason: str,
        *,
        validate_only: bool = False,
        approved: Approved | None = None,
    ) -> tuple[int, int]:
        """End suppressions. Returns the epoch and how many of the hashes were suppressed."""
        check_reason(reason)
        lifted = 0

        def change(suppressions: dict[EntryHash, Suppression], _: Manifest, epoch: int) -> None:
            nonlocal lifted
            lifted = 0
            for place in dict.fromkeys(hashes):
                before = suppressions.get(place)
                if before is not None and before.active:
                    moved = dict.fromkeys(before.list_ids or (EVERY_LIST,), epoch)
                    suppressions[place] = msgspec.structs.replace(
                        before, changed=before.changed | moved, lifted=before.lifted | moved, active=False
                    )
                    lifted += 1

        epoch = self._change_suppressions(
            "lift-suppression", change, len(hashes), actor, reason, validate_only, approved
        )
        return epoch, lifted

    def base(self, hashes: Sequence[EntryHash], manifest: Manifest) -> bytes:
        """The digest of how these hashes are suppressed under a manifest."""
        known = {(each.algorithm, each.digest): each for each in self._store.suppressions.read(manifest.suppressions)}
        found = [known.get(place) for place in sorted(set(hashes))]
        held = [None if each is None or not each.active else each.list_ids for each in found]
        return state_digest(manifest, "suppressions", held)

    def _change_suppressions(
        self,
        act: str,
        edit: Callable[[dict[EntryHash, Suppression], Manifest, int], None],
        count: int,
        actor: str,
        reason: str,
        validate_only: bool,
        approved: Approved | None,
    ) -> int:
        if not count:
            raise invalid_field("hashes", "at least one")

        def change(manifest: Manifest, epoch: int) -> Manifest:
            suppressions = {
                (each.algorithm, each.digest): each for each in self._store.suppressions.read(manifest.suppressions)
            }
            edit(suppressions, manifest, epoch)
            if len(suppressions) > MAXIMUM_SUPPRESSIONS:
                raise invalid_field("hashes", f"more than {MAXIMUM_SUPPRESSIONS} suppressions")
            info = manifest.suppressions
            if not validate_only:
                info = write_suppressions(self._store, self._clock, suppressions.values())
            record = self._acts.record(epoch, act, actor, reason=reason, only_lists=_concerned(suppressions, epoch))
            return with_record(msgspec.structs.replace(manifest, suppressions=info), record)

        return self._acts.apply(change, act, actor, validate_only, approved=approved, hashes=count, reason=reason).epoch


def _concerned(suppressions: dict[EntryHash, Suppression], epoch: int) -> tuple[str, ...] | None:
    """The lists for which something changed in `epoch`; None if it did for all."""
    scopes = {scope for each in suppressions.values() for scope, changed in each.changed.items() if changed == epoch}
    return None if EVERY_LIST in scopes else tuple(sorted(scopes))
