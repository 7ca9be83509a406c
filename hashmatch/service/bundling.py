"""`hashmatch-server bundle export`: writes a list to a file, on the host that has the sealing key.

It is a command of the server and no call: whoever may ask must not be able to read a list out. It only reads the store.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path

from hashmatch.ingest.bundling import bundle_of
from hashmatch.service.config import Config
from hashmatch.service.secrets import sealing_secrets
from hashmatch.service.store_access import store_access
from hashmatch.store.embedded import EmbeddedValkey


def export_bundle(config: Config, list_id: str, target: Path) -> int:
    """Write a list to `target`, which must not exist, readable for its owner alone; returns how many bytes.

    With the embedded store, the server must not be running. Raises `HashmatchError`, the store's errors, `OSError` and
    what opening the store raises; then there is no file.
    """
    data_dir = Path(config.server.data_dir).absolute()
    with ExitStack() as ending:
        url = config.store.url
        if config.store.embedded:
            valkey = EmbeddedValkey(data_dir)
            ending.callback(valkey.stop)
            url = valkey.start()
        store = store_access(config, url, sealing_secrets(config, data_dir)).open()
        ending.callback(store.close)
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor with a mode of its own
                file.writelines(bundle_of(store, list_id))
                file.flush()
                os.fsync(descriptor)
                return file.tell()
        except BaseException:
            target.unlink()
            raise
