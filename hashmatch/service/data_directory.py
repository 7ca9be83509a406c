"""The data directory: made where it is missing, and refused where a restore into it did not come to its end."""

from __future__ import annotations

from pathlib import Path

from hashmatch.service.config import Config

RESTORING = "restoring.new"
"""Where a restore writes before anything gets its place."""


class DataDirectoryError(Exception):
    """A data directory that must not be served from."""


def data_directory(config: Config) -> Path:
    """The directory, which is there now. Raises `DataDirectoryError` and `OSError`."""
    directory = Path(config.server.data_dir).absolute()
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if (directory / RESTORING).exists():
        raise DataDirectoryError(
            f"{directory}: a restore did not come to its end; do it again with `hashmatch-admin restore --force`"
        )
    return directory
