"""Activating a policy: one act like any other, in force on every server at once or not at all."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import msgspec

from hashmatch.ingest.acts import Acts, with_record
from hashmatch.ingest.approvals import Approved, state_digest
from hashmatch.model.access import Policy
from hashmatch.model.errors import ErrorReason, HashmatchError
from hashmatch.model.lists import check_reason
from hashmatch.store.manifest import Manifest, PolicyRecord
from hashmatch.trust.policy import PolicyError, parse_policy


class PolicyChange(NamedTuple):
    """What a policy changes for its clients, by name, ascending. `epoch` is the one in which it is in force."""

    version: int
    epoch: int
    added: tuple[str, ...]
    changed: tuple[str, ...]
    removed: tuple[str, ...]
    unknown_lists: tuple[str, ...]


class Policies:
    """Activates policies and reads the one in force; raises what `Acts` raises."""

    def __init__(self, acts: Acts) -> None:
        self._acts = acts

    def activate(
        self, document: str, actor: str, reason: str, *, validate_only: bool = False, approved: Approved | None = None
    ) -> PolicyChange:
        """Put a document in force. Raises `HashmatchError` INVALID_POLICY, and POLICY_OUTDATED for an old version."""
        check_reason(reason)
        try:
            policy = parse_policy(document)
        except PolicyError as error:
            fields = {f"document[{number}]": problem for number, problem in enumerate(error.problems)}
            raise HashmatchError(ErrorReason.INVALID_POLICY, "the document is no policy", fields=fields) from error
        found = PolicyChange(policy.version, 0, (), (), (), ())

        def change(manifest: Manifest, epoch: int) -> Manifest:
            nonlocal found
            before = manifest.policy
            if before is not None and policy.version <= before.version:
                raise HashmatchError(
                    ErrorReason.POLICY_OUTDATED,
                    f"version {before.version} is in force; the next one needs a greater number",
                    metadata={"version": str(before.version)},
                )
            earlier = None if before is None else parse_policy(before.document)
            found = _compare(earlier, policy, manifest)._replace(epoch=epoch)
            since = {} if before is None else before.since_epochs
            moved = {*found.added, *found.changed}
            record = PolicyRecord(
                document=document,
                version=policy.version,
                epoch=epoch,
                activated_at=self._acts.clock.now(),
                activated_by=actor,
                since_epochs={name: epoch if name in moved else since[name] for name in policy.clients},
            )
            history = self._acts.record(epoch, "activate-policy", actor, reason=reason)
            return with_record(msgspec.structs.replace(manifest, policy=record), history)

        digest = hashlib.sha256(document.encode()).hexdigest()
        manifest = self._acts.apply(
            change,
            "activate-policy",
            actor,
            validate_only,
            create=True,
            approved=approved,
            version=policy.version,
            document_sha256=digest,
            reason=reason,
        )
        return found._replace(epoch=found.epoch if validate_only else manifest.epoch)

    def in_force(self) -> PolicyRecord | None:
        """The policy in force, None if none ever was. Raises `StoreUnavailableError` and `StoreDamagedError`."""
        sealed = self._acts.store.manifests.load()
        return None if sealed is None else sealed.manifest.policy


def policy_base(manifest: Manifest) -> bytes:
    """The digest of which policy is in force."""
    return state_digest(manifest, "policy", 0 if manifest.policy is None else manifest.policy.version)


def _compare(before: Policy | None, after: Policy, manifest: Manifest) -> PolicyChange:
    """What `after` changes. A client has changed if it may see more, less or something else than before."""
    known = {} if before is None else before.clients
    named = {list_id for client in after.clients.values() for list_id in client.permission.lists or ()}
    return PolicyChange(
        version=after.version,
        epoch=0,
        added=tuple(sorted(after.clients.keys() - known.keys())),
        changed=tuple(
            sorted(
                name
                for name, client in after.clients.items()
                if name in known and client.permission != known[name].permission
            )
        ),
        removed=tuple(sorted(known.keys() - after.clients.keys())),
        unknown_lists=tuple(sorted(named - manifest.lists.keys())),
    )
