"""What is kept on the disk of a server is its owner's alone, whatever the mask that the server was started with."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from hashmatch.columns.placement import PlacementSecret
from hashmatch.model.counts import Counts
from hashmatch.store.archive import Archive
from hashmatch.store.counts import CountFiles
from hashmatch.store.floor import EpochFloor
from hashmatch.store.manifest import Manifest, SealedManifest


@pytest.fixture(autouse=True)
def _mask() -> Iterator[None]:
    """One that takes nothing away."""
    before = os.umask(0)
    yield
    os.umask(before)


def modes(directory: Path) -> dict[str, int]:
    return {file.name: file.stat().st_mode & 0o777 for file in directory.iterdir()}


def test_the_archive_is_its_owners_alone(tmp_path: Path) -> None:
    archive = Archive(tmp_path / "archive")
    with archive.writer("0" * 16) as file:
        file.add({b"key": b"value"})
        assert modes(tmp_path / "archive") == {f"{'0' * 16}.partial": 0o600}
    assert modes(tmp_path / "archive") == {f"{'0' * 16}.sealed": 0o600}
    assert modes(tmp_path) == {"archive": 0o700}


def test_an_archive_that_was_open_to_others_is_closed(tmp_path: Path) -> None:
    (tmp_path / "archive").mkdir(mode=0o755)
    Archive(tmp_path / "archive")
    assert modes(tmp_path) == {"archive": 0o700}


def test_the_floor_is_its_owners_alone(tmp_path: Path) -> None:
    manifest = Manifest(
        store_id="store",
        epoch=1,
        published_at=1.0,
        expires_at=2.0,
        placement=PlacementSecret(1, 2),
        approvals_required=2,
    )
    EpochFloor(tmp_path / "epoch.json").raise_to(SealedManifest(b"raw", manifest))
    assert modes(tmp_path) == {"epoch.json": 0o600, "epoch.manifest": 0o600}


def test_daily_counts_are_their_owners_alone(tmp_path: Path) -> None:
    CountFiles(tmp_path / "counts").merge("2027-01-15", {"run": Counts()})
    assert modes(tmp_path / "counts") == {"2027-01-15.json": 0o600}
    assert modes(tmp_path) == {"counts": 0o700}
