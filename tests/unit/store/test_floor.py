"""P6: what was once served is the least that is served, also by a server that was restarted since."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import msgspec
import pytest

from hashmatch.columns.placement import PlacementSecret
from hashmatch.store import floor
from hashmatch.store.floor import EpochFloor, FloorError, ManifestRefusedError
from hashmatch.store.manifest import Manifest, SealedManifest


def sealed(epoch: int, *, store_id: str = "store", raw: bytes = b"raw", **changes: object) -> SealedManifest:
    manifest = Manifest(
        store_id=store_id,
        epoch=epoch,
        published_at=1.0,
        expires_at=2.0,
        placement=PlacementSecret(1, 2),
        approvals_required=2,
    )
    return SealedManifest(raw, msgspec.structs.replace(manifest, **changes))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "epoch"


def refusal(kept: EpochFloor, given: SealedManifest) -> str:
    with pytest.raises(ManifestRefusedError) as checked:
        kept.check(given.manifest)
    with pytest.raises(ManifestRefusedError) as raised:
        kept.raise_to(given)
    assert checked.value.reason == raised.value.reason
    return checked.value.reason


@pytest.mark.parametrize("restarted", [False, True])
def test_nothing_below_what_was_served_is_served(path: Path, restarted: bool):
    kept = EpochFloor(path)
    assert kept.highest() == 0
    kept.raise_to(sealed(7))
    kept.raise_to(sealed(9, raw=b"nine"))
    if restarted:
        kept = EpochFloor(path)
    assert kept.highest() == 9
    assert refusal(kept, sealed(8)) == "older-epoch"
    assert refusal(kept, sealed(10, store_id="another")) == "other-store"
    assert refusal(kept, sealed(9, approvals_required=0)) == "fork"
    assert kept.highest() == 9
    assert kept.sealed_manifest() == b"nine"
    kept.raise_to(sealed(10))


def test_the_same_epoch_vouched_for_again_is_no_fork(path: Path):
    kept = EpochFloor(path)
    kept.raise_to(sealed(7))
    kept.raise_to(sealed(7, renewals=3, expires_at=99.0))


def test_a_floor_in_memory_holds_as_long_as_the_process(tmp_path: Path):
    kept = EpochFloor(None)
    kept.raise_to(sealed(7))
    assert refusal(kept, sealed(6)) == "older-epoch"
    assert kept.sealed_manifest() is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "content", [b"", b"{", b"{}", b'{"store_id":"\xff"}', b'{"store_id":"x","epoch":"7","content":""}']
)
def test_a_floor_that_cannot_be_read_is_never_begun_anew(path: Path, content: bytes):
    path.write_bytes(content)
    with pytest.raises(FloorError, match="cannot be read"):
        EpochFloor(path)


def test_a_floor_that_cannot_be_written_is_not_raised(path: Path, monkeypatch: pytest.MonkeyPatch):
    def no_space(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    kept = EpochFloor(path)
    kept.raise_to(sealed(7))
    with monkeypatch.context() as patch:
        patch.setattr(floor.os, "fsync", no_space)
        with pytest.raises(FloorError, match="No space left"):
            kept.raise_to(sealed(8))
    assert kept.highest() == EpochFloor(path).highest() == 7
    kept.raise_to(sealed(8))
    assert EpochFloor(path).highest() == 8


def test_a_crash_while_it_is_written_leaves_the_old_or_the_new(path: Path, monkeypatch: pytest.MonkeyPatch):
    EpochFloor(path).raise_to(sealed(7))

    def crash(self: Path, target: Path) -> Path:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", crash)
        with pytest.raises(KeyboardInterrupt):
            EpochFloor(path).raise_to(sealed(8))
    assert EpochFloor(path).highest() == 7
