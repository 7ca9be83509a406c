"""A server's own machine, on which nothing runs but the store: configuration, data directory, keys."""

from __future__ import annotations

from pathlib import Path

import pytest

from hashmatch.store.embedded import EmbeddedValkey
from hashmatch.trust.sealing import KEY_SIZE


class Machine:
    """Writes a server's files, and says with which settings it would run."""

    def __init__(self, directory: Path, url: str) -> None:
        self.directory = directory
        self.data_dir = directory / "data"
        self.data_dir.mkdir(mode=0o700)
        self.key_file = directory / "sealing.key"
        # The key of the fixture `sealing_key`.
        self.write(self.key_file, bytes(range(KEY_SIZE)).hex())
        self.config_file = directory / "hashmatch.toml"
        self.write(
            self.config_file,
            f'[server]\ndata_dir = "{self.data_dir}"\n[store]\nurl = "{url}"\narchive = false\n'
            f'[sealing]\nkey_file = "{self.key_file}"\n',
        )

    @staticmethod
    def write(path: Path, content: str | bytes, mode: int = 0o600) -> Path:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        path.chmod(mode)
        return path


@pytest.fixture
def machine(tmp_path: Path, valkey_url: str) -> Machine:
    """A machine that is as it should be, with the empty store of the tests."""
    return Machine(tmp_path, valkey_url)


@pytest.fixture
def bad_valkey(tmp_path_factory: pytest.TempPathFactory):
    """A Valkey whose settings a test may spoil."""
    with EmbeddedValkey(tmp_path_factory.mktemp("bad")) as valkey:
        yield valkey
