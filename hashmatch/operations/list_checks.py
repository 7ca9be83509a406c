"""Whether what is published can be served: the manifest, the ages of lists, their blocks and their copies on disk."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from hashmatch_client.cli.text import age, counted

from hashmatch.ingest.resealing import left_under_old_keys
from hashmatch.model.clock import Clock
from hashmatch.operations.access import data_directory
from hashmatch.operations.findings import Area, Finding
from hashmatch.service.config import Config
from hashmatch.store.connection import StoreUnavailableError
from hashmatch.store.floor import EpochFloor, FloorError, ManifestRefusedError
from hashmatch.store.manifest import Manifest
from hashmatch.store.segments import StoreDamagedError
from hashmatch.store.store import Store

_AREA = Area("lists")
_OLD = 0.8
# Of each segment. Eviction and a lost slot of a cluster take blocks everywhere; a single edited one is found by whoever
# asks for it.
_SAMPLE = 64
_PUT_BACK = "a running server with administration puts it back from its archive; otherwise publish the list anew"


def read_floor(data_dir: Path) -> EpochFloor:
    """The highest epoch that the server has served. Raises `FloorError`."""
    return EpochFloor(data_dir / "epoch.json")


def check_lists(config: Config, store: Store, clock: Clock) -> Iterator[Finding]:
    """What is to be said of the lists. Where the store does not answer, of those that the server served last."""
    data_dir = data_directory(config)
    try:
        floor = read_floor(data_dir)
    except (FloorError, OSError) as error:
        yield _AREA.error(str(error), "bring the file back from a backup; begin anew only if you know what was served")
        return
    try:
        sealed = store.manifests.load()
        manifest = None if sealed is None else sealed.manifest
        answers = True
    except StoreDamagedError as error:
        yield _AREA.error(
            str(error),
            "every server must have the key under which it was sealed: bring one that was taken away back",
        )
        return
    except StoreUnavailableError:
        manifest, answers = _last_served(store, floor), False
        if manifest is not None:
            yield _AREA.note(f"as the store does not answer: what was served last, epoch {manifest.epoch}")
    if manifest is None:
        yield _nothing(floor, answers=answers)
        return
    if answers:
        yield from _check_manifest(manifest, floor, clock.now())
    yield from _check_ages(manifest, clock.now())
    if answers:
        yield from _check_old_keys(config, store)
        yield from _check_blocks(store, manifest)
    if config.server.admin_listen and config.store.archive:
        yield from _check_archive(data_dir / "archive", manifest)


def _last_served(store: Store, floor: EpochFloor) -> Manifest | None:
    raw = floor.sealed_manifest()
    try:
        return None if raw is None else store.manifests.open(raw)
    except StoreDamagedError:
        return None


def _nothing(floor: EpochFloor, *, answers: bool) -> Finding:
    if not answers:
        return _AREA.note("nothing can be said of them as long as the store does not answer")
    if floor.highest():
        return _AREA.error(
            f"the manifest is gone: the store was emptied after epoch {floor.highest()}",
            "run a server with administration on the data directory that it always had: it fills the store again",
        )
    return _AREA.note("nothing was ever published", "define a list: docs/guide-operator.md")


def _check_manifest(manifest: Manifest, floor: EpochFloor, now: float) -> Iterator[Finding]:
    try:
        floor.check(manifest)
    except ManifestRefusedError as error:
        yield _AREA.error(f"{error} ({error.reason})", f"see docs/runbook.md#{error.reason}")
    if manifest.expires_at <= now:
        yield _AREA.error(
            f"the manifest expired {age(timedelta(seconds=now - manifest.expires_at))} ago: no server gives negatives",
            "run a server with administration: it renews the manifest",
        )
    else:
        yield _AREA.well(f"epoch {manifest.epoch} is published, with {counted(len(manifest.served()), 'list')}")
    if manifest.approvals_required < 2:
        yield _AREA.note(
            f"the policy in force asks for {counted(manifest.approvals_required, 'approval')}",
            "set vetting.approvals_required to 2, unless this is a trial",
        )
    if not manifest.approvals_signed:
        yield _AREA.note(
            "approvals are not signed: whoever can take others' names can approve in them",
            "use TLS with approvals.signatures as it is by default, unless this is a trial",
        )


def _check_ages(manifest: Manifest, now: float) -> Iterator[Finding]:
    for list_id, state in sorted(manifest.served().items()):
        if state.generation is None:
            continue
        old, limit = max(0.0, now - state.generation.as_of), state.definition.max_age
        what = f"{list_id} is {age(timedelta(seconds=old))} old; it may be {age(timedelta(seconds=limit))}"
        if old > limit:
            yield _AREA.error(f"{what}: it is stale and gives no negatives", "publish a newer delivery")
        elif old > _OLD * limit:
            yield _AREA.warning(what, "get the next delivery before it is stale")
        else:
            yield _AREA.well(what)


def _check_old_keys(config: Config, store: Store) -> Iterator[Finding]:
    if not config.sealing.old_key_files:
        return
    try:
        left = left_under_old_keys(store)
    except (StoreDamagedError, StoreUnavailableError) as error:
        yield _AREA.error(f"{error} while it was looked at what is under old keys", "look at the store")
        return
    if left:
        yield _AREA.note(
            f"{left} of what the store holds is still under the keys in sealing.old_key_files",
            "leave them there: a running server with administration seals it anew",
        )
    else:
        yield _AREA.note(
            "nothing is left under the keys in sealing.old_key_files",
            "take them out on every server an hour after it first was so; then they open nothing",
        )


def _check_blocks(store: Store, manifest: Manifest) -> Iterator[Finding]:
    """Whether the store has the blocks of what is served, by a sample of each segment."""
    looked_at = 0
    sound = True
    for list_id, state in sorted(manifest.served().items()):
        for info in state.generation.segments if state.generation is not None else ():
            numbers = sorted(random.sample(range(info.blocks), min(_SAMPLE, info.blocks)))
            try:
                reader = store.segments.open(info)
                lacking = int((~reader.fetch(numbers).good).sum())
                _ = reader.sets
            except StoreDamagedError as error:
                yield _AREA.error(f"{list_id}: {error}", _PUT_BACK)
                sound = False
                continue
            except StoreUnavailableError as error:
                yield _AREA.error(f"{list_id}: {error} while blocks were looked at", "look at the store")
                return
            looked_at += len(numbers)
            if lacking:
                sound = False
                yield _AREA.error(
                    f"{list_id}: {lacking} of {counted(len(numbers), 'block')} looked at in segment {info.segment_id} "
                    "are missing or do not verify",
                    _PUT_BACK,
                )
    if sound and looked_at:
        yield _AREA.well(f"{counted(looked_at, 'block')} of those served were looked at, and are whole")


def _check_archive(archive: Path, manifest: Manifest) -> Iterator[Finding]:
    wanted = manifest.segments()
    lacking = sum(not (archive / f"{segment_id}.sealed").exists() for segment_id in wanted)
    if lacking:
        yield _AREA.warning(
            f"the archive lacks {lacking} of {counted(len(wanted), 'segment')}: a store that loses data cannot be "
            "filled from this machine alone",
            "another server with administration has what it published; otherwise publish the lists anew",
        )
    elif wanted:
        yield _AREA.well(f"the archive has all {counted(len(wanted), 'segment')}")
