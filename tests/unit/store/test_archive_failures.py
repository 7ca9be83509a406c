"""What the archive cannot do on the disk, it says as its own error."""

from __future__ import annotations

from pathlib import Path

import pytest

from hashmatch.store.archive import Archive, ArchiveError


def test_a_file_that_cannot_be_deleted_is_an_archive_error(tmp_path: Path) -> None:
    (tmp_path / "one.sealed").mkdir()
    with pytest.raises(ArchiveError, match="cannot be deleted"):
        Archive(tmp_path).delete("one")
