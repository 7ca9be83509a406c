"""How the configuration says that the store is reached."""

from __future__ import annotations

from hashmatch.ingest.worker import StoreAccess
from hashmatch.service.config import Config
from hashmatch.service.secrets import read_password
from hashmatch.trust.sealing import SealingSecrets


def store_access(config: Config, url: str, sealing: SealingSecrets, archive: str = "") -> StoreAccess:
    """Access to the store at `url`, as the configured user. Raises `SecretError`."""
    store = config.store
    return StoreAccess(
        url=url,
        namespace=store.namespace,
        sealing=sealing,
        connect_timeout=store.connect_timeout,
        operation_timeout=store.operation_timeout,
        username=store.username or None,
        password=read_password(store.password_file),
        archive=archive,
    )
