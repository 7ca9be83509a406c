"""Whether this server's user of the store may do more than it needs, looked at once."""

from __future__ import annotations

from prometheus_client import Gauge
from structlog.typing import FilteringBoundLogger

from hashmatch.model.errors import ErrorReason, HashmatchError
from hashmatch.service.config import Config
from hashmatch.service.logs import Event
from hashmatch.store.connection import StoreUnavailableError
from hashmatch.store.rights import excessive_rights
from hashmatch.store.store import Store


class StoreRights:
    """Looks at the rights as soon as the store answers: at the start, or later, when the server is not ready then."""

    def __init__(self, config: Config, store: Store, gauge: Gauge, logger: FilteringBoundLogger) -> None:
        self._store = store
        self._writes = bool(config.server.admin_listen)
        self._refuses = config.refuses_excessive_rights
        self._gauge = gauge
        self._logger = logger
        # An embedded store has nobody but this server.
        self._found: tuple[str, ...] | None = () if config.store.embedded else None

    def check_at_start(self) -> None:
        """Raise `HashmatchError` STORE_MISCONFIGURED if the server must not start. One that is away is not asked."""
        try:
            problem = self.problem()
        except StoreUnavailableError:
            return
        if problem:
            raise HashmatchError(ErrorReason.STORE_MISCONFIGURED, problem)

    def problem(self) -> str:
        """Why the server must not serve; empty if it may. Raises `StoreUnavailableError`."""
        if self._found is None:
            self._found = tuple(excessive_rights(self._store.connection, self._store.keys, writes=self._writes))
            self._gauge.set(bool(self._found))
            if self._found and not self._refuses:
                self._logger.warning(Event.STORE_RIGHTS, why=said_of(self._found))
        return said_of(self._found) if self._found and self._refuses else ""


def said_of(rights: tuple[str, ...]) -> str:
    """What is wrong with a user that has these rights."""
    return (
        f"the store's user may {', '.join(rights)}, which this server has no use for: give it a user as in "
        'deploy/valkey/users.acl, or set store.excessive_rights to "allow"'
    )
