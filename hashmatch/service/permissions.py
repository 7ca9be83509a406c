"""What each caller may see of what is served: the policy in force, applied before anything is asked.

Without a policy a caller over TLS may see nothing. On loopback without TLS, where nobody's name is proven, there need
not be a policy; where there is one it goes by the names that callers give themselves, for trying it out.
"""

from __future__ import annotations

from hashmatch.index.refresher import Served
from hashmatch.index.snapshot import Snapshot
from hashmatch.matching.scope import Scope
from hashmatch.matching.visibility import Visibility, visibility
from hashmatch.model.access import UNRESTRICTED, Client, Permission
from hashmatch.model.clock import Clock
from hashmatch.model.errors import ErrorReason, HashmatchError, invalid_field
from hashmatch.service.identity import Caller
from hashmatch.trust.policy import is_purpose

# How many permissions are kept worked out for a snapshot: there is one for each client of a policy.
_MAXIMUM_VISIBILITIES = 1_000
# One message whatever the cause: whether an identity is known is nobody's business who has another.
_REFUSED = "the policy in force does not let this identity ask"


class Permissions:
    """Looks callers up in the policy of what is served. Used from the event loop alone."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._snapshot: Snapshot | None = None
        self._visibilities: dict[Permission, Visibility] = {}

    def client(self, served: Served, caller: Caller) -> Client | None:
        """The client that a caller is; None on loopback where no policy was ever activated.

        Raises `HashmatchError` NOT_PERMITTED for a caller who is in no policy, or not at this time.
        """
        policy = served.snapshot.policy
        if policy is None:
            if caller.authenticated:
                raise HashmatchError(ErrorReason.NOT_PERMITTED, "no policy is in force: nobody may ask until one is")
            return None
        client = policy.by_identity.get(caller.name)
        if client is None or not client.is_valid(self._clock.now()):
            raise HashmatchError(ErrorReason.NOT_PERMITTED, _REFUSED)
        return client

    def visible(self, served: Served, caller: Caller) -> Visibility:
        """What a caller may know of what is served. Raises `HashmatchError` NOT_PERMITTED."""
        client = self.client(served, caller)
        return self.visibility(served.snapshot, UNRESTRICTED if client is None else client.permission)

    def visibility(self, snapshot: Snapshot, permission: Permission) -> Visibility:
        """A permission upon a snapshot, worked out once for each of them."""
        if self._snapshot is not snapshot:
            self._snapshot, self._visibilities = snapshot, {}
        known = self._visibilities.get(permission)
        if known is None:
            if len(self._visibilities) >= _MAXIMUM_VISIBILITIES:
                self._visibilities.clear()
            known = self._visibilities[permission] = visibility(snapshot, permission)
        return known


def narrowed(scope: Scope, purpose: str, client: Client | None) -> Scope:
    """What a client asks for, within what it may ask. Raises `HashmatchError` NOT_PERMITTED and INVALID_FIELD.

    A purpose goes into the log of answers: where no policy names those that may be stated, it has their form at least.
    """
    if client is None:
        if purpose and not is_purpose(purpose):
            raise invalid_field("scope.purpose", "1 to 63 characters of a-z 0-9 . _ -, and no digest")
        return scope
    permission = client.permission
    if scope.max_distance is not None and not permission.distances:
        raise HashmatchError(
            ErrorReason.NOT_PERMITTED,
            "this identity is not told distances, and so may not choose scope.max_distance: leave it out",
            fields={"scope.max_distance": "not permitted"},
        )
    # Where there is one purpose, it need not be said; where there are several, it must be.
    if (purpose or len(client.purposes) > 1) and purpose not in client.purposes:
        stated = ", ".join(sorted(client.purposes))
        raise HashmatchError(
            ErrorReason.NOT_PERMITTED,
            f"scope.purpose must be one of: {stated}" if stated else "this identity has no purposes to state",
            fields={"scope.purpose": "not permitted"},
        )
    return scope._replace(permission=permission)
