"""The manifest: what is published now, in one sealed value that is replaced as a whole.

Its header is readable, so that a poll costs a few bytes, and authenticated with the rest. The epoch grows with every
change of what is served. `renewals` grows when the same epoch is vouched for again with a later expiry: whoever could
keep servers on an old manifest can do so only until it expires.
"""

from __future__ import annotations

import contextlib
import struct
import zlib
from typing import NamedTuple

import msgspec

from hashmatch.columns.placement import PlacementSecret
from hashmatch.model.approvals import Approver
from hashmatch.model.errors import ErrorReason, HashmatchError
from hashmatch.model.feeds import FeedCheckpoint
from hashmatch.model.lists import ListDefinition
from hashmatch.store.connection import Connection, StoreUnavailableError
from hashmatch.store.keys import Keys
from hashmatch.store.segments import SegmentInfo, StoreDamagedError
from hashmatch.trust.sealing import KEY_ID_SIZE, NONCE_SIZE, SealingError, SealingKey, SealingKeyError

MAXIMUM_HISTORY = 500
# Acts that change how things lie in the store, and nothing that anybody can see.
UNSEEN_ACTS = frozenset({"compact", "reseal"})
# Epochs of old generations are kept for entries that have not changed since; beyond this many the oldest are joined.
MAXIMUM_GENERATION_EPOCHS = 1_000

_MAGIC = b"HMM2"
_MAGIC_FAMILY = _MAGIC[:3]
_PURPOSE = b"manifest"
_HEADER = struct.Struct(f">4sQQ{KEY_ID_SIZE}s")


class ManifestConflictError(Exception):
    """Somebody else replaced the manifest in between."""


class ManifestSpoiltError(StoreDamagedError):
    """What lies under the manifest's key is nothing that anybody sealed with this key: `raw`."""

    def __init__(self, message: str, raw: bytes) -> None:
        super().__init__(message)
        self.raw = raw


class Generation(msgspec.Struct, frozen=True, kw_only=True):
    """A published state of a list. Times are seconds since 1970; `counts` maps algorithm numbers to distinct hashes.

    `checkpoint` says up to where it holds what a feed's body publishes; None if it did not come from a feed.
    """

    number: int
    epoch: int
    published_at: float
    as_of: float
    segments: tuple[SegmentInfo, ...]
    counts: dict[int, int]
    approvals: int
    approvals_required: int
    delivery_sha256: bytes = b""
    staging_id: str = ""
    checkpoint: FeedCheckpoint | None = None


class ListState(msgspec.Struct, frozen=True, kw_only=True):
    """A list in the manifest.

    `retained` are the generations that can be rolled back to, newest first. `epochs` gives, ascending, the epoch of
    each generation number; `visible_since` is the epoch below which nothing of the list counts as old, because a roll
    back or a return after a withdrawal made entries visible again that an earlier epoch lacked. `withdrawn` has, for
    each kind of rows, one segment of what was withdrawn at the body's word; it outlives generations. `changed_epoch`
    and `changed_at` tell when what can be seen of the list last changed.
    """

    definition: ListDefinition
    generation: Generation | None = None
    retained: tuple[Generation, ...] = ()
    last_number: int = 0
    epochs: tuple[tuple[int, int], ...] = ()
    visible_since: int = 0
    withdrawn: tuple[SegmentInfo, ...] = ()
    changed_epoch: int = 0
    changed_at: float = 0.0

    def epoch_of(self, number: int) -> int:
        """The epoch from which an entry that first appeared in generation `number` counts as visible."""
        epoch = 0
        for known, known_epoch in self.epochs:
            # An old generation whose own epoch is no longer kept counts as the next kept one: never as older.
            if known >= number:
                epoch = known_epoch
                break
        return max(epoch, self.visible_since)


class HistoryRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Something that was done. `only_lists` are those for which a suppression changed something; None for all.

    `act_id` is the act's own, by which whoever did it finds it again where the store's word was lost.
    """

    epoch: int
    at: float
    act: str
    list_id: str = ""
    only_lists: tuple[str, ...] | None = None
    generation: int = 0
    actor: str = ""
    approvers: tuple[str, ...] = ()
    reason: str = ""
    added: int = 0
    removed: int = 0
    act_id: str = ""


class SuppressionsInfo(msgspec.Struct, frozen=True):
    """Which version of the suppressions is in force."""

    blob_id: str
    count: int


class PolicyRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The policy in force: the document, its version, and who activated it in which epoch.

    `since_epochs` has, for each client, the epoch in which what it may see last changed. `approvers` agreed to it.
    """

    document: str
    version: int
    epoch: int
    activated_at: float
    activated_by: str
    since_epochs: dict[str, int]
    approvers: tuple[str, ...] = ()


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What is published now."""

    store_id: str
    epoch: int
    published_at: float
    expires_at: float
    placement: PlacementSecret
    approvals_required: int
    renewals: int = 0
    lists: dict[str, ListState] = {}
    suppressions: SuppressionsInfo | None = None
    policy: PolicyRecord | None = None
    history: tuple[HistoryRecord, ...] = ()
    approvals_signed: bool = False
    approvers: tuple[Approver, ...] = ()
    # The proposals that took effect, with when they would have expired: none takes effect twice.
    spent: dict[str, int] = {}

    def segments(self) -> dict[str, SegmentInfo]:
        """Every segment that is served, retained or a record of what was withdrawn, by id."""
        return {
            info.segment_id: info
            for state in self.lists.values()
            for segments in (
                *(generation.segments for generation in (state.generation, *state.retained) if generation is not None),
                state.withdrawn,
            )
            for info in segments
        }

    def served(self) -> dict[str, ListState]:
        """The lists that answers are given from: those with a generation whose nature is served, by id."""
        return {
            list_id: state
            for list_id, state in self.lists.items()
            if state.generation is not None and state.definition.nature.is_served
        }

    def state(self, list_id: str) -> ListState:
        """The state of a list. Raises `HashmatchError` LIST_NOT_FOUND."""
        state = self.lists.get(list_id)
        if state is None:
            raise list_not_found(list_id)
        return state


_MANIFEST_READER = msgspec.msgpack.Decoder(Manifest)


def list_not_found(list_id: str) -> HashmatchError:
    """The error for a list that does not exist, or that the caller may not know of: they look the same."""
    return HashmatchError(ErrorReason.LIST_NOT_FOUND, "there is no such list", metadata={"list_id": list_id[:63]})


class ManifestHeader(NamedTuple):
    """What can be read of a manifest without its key.

    `nonce` is drawn afresh whenever a manifest is sealed: two manifests of one epoch, such as a failover that lost
    writes can leave behind, differ in it. `key_id` is the id of the key that it is sealed under.
    """

    epoch: int
    renewals: int
    key_id: str
    nonce: bytes


class SealedManifest(NamedTuple):
    """A manifest as it lies in the store, with what it says."""

    raw: bytes
    manifest: Manifest


class ManifestStore:
    """Reads and replaces the manifest. Methods raise `StoreUnavailableError`."""

    def __init__(self, connection: Connection, keys: Keys, sealing_key: SealingKey) -> None:
        self._connection = connection
        self._key = keys.manifest
        self._channel = keys.changed
        self._mark = keys.mark
        self._sealing_key = sealing_key

    def header(self) -> ManifestHeader | None:
        """The header alone, unverified: enough to see that nothing changed. None if there is no manifest."""
        raw = self._connection.get_range(self._key, 0, _HEADER.size + NONCE_SIZE - 1)
        return parse_header(raw) if raw else None

    def load(self) -> SealedManifest | None:
        """The current manifest, verified; None if there is none. Raises `StoreDamagedError`."""
        raw = self._connection.get(self._key)
        return SealedManifest(raw, self.open(raw)) if raw else None

    def open(self, raw: bytes) -> Manifest:
        """Verify a sealed manifest. Raises `StoreDamagedError`, and `ManifestSpoiltError` if nobody sealed it so.

        One under a key that is not here is not taken for spoilt: others, who are further in a rotation, have that key.
        """
        header = parse_header(raw)
        try:
            sealer = self._sealing_key.sealer_under(header.key_id, b"", _PURPOSE)
            compressed = sealer.open_with_nonce(raw[_HEADER.size :], raw[: _HEADER.size])
        except SealingKeyError as error:
            raise StoreDamagedError(f"the manifest {error}") from error
        except SealingError as error:
            raise ManifestSpoiltError("the manifest does not verify under its sealing key", raw) from error
        try:
            manifest = _MANIFEST_READER.decode(zlib.decompress(compressed))
        except (zlib.error, msgspec.MsgspecError) as error:
            # Whoever has the key wrote it: a later version.
            raise StoreDamagedError("the manifest was written by another version") from error
        if (manifest.epoch, manifest.renewals) != (header.epoch, header.renewals):
            raise StoreDamagedError("the manifest contradicts its header")
        return manifest

    def replace(self, expected: bytes, manifest: Manifest) -> SealedManifest:
        """Put `manifest` where `expected` (b"" for none) lies, in one step, and tell the servers; see `put`.

        Raises `ManifestConflictError` if something else lies there by now.
        """
        key = self._sealing_key
        header = _HEADER.pack(_MAGIC, manifest.epoch, manifest.renewals, bytes.fromhex(key.key_id))
        plain = zlib.compress(msgspec.msgpack.encode(manifest))
        raw = header + key.sealer_under(key.key_id, b"", _PURPOSE).seal_with_random_nonce(plain, header)
        self.put(expected, raw)
        return SealedManifest(raw, manifest)

    def put(self, expected: bytes, raw: bytes) -> None:
        """Put an already sealed manifest, and wait for the disk. Raises `ManifestConflictError`."""
        if not self._connection.compare_and_set(self._key, expected, raw):
            raise ManifestConflictError("the manifest was changed by somebody else")
        # It is in effect: whatever fails from here on must not be told as if it were not. Servers look by themselves.
        with contextlib.suppress(StoreUnavailableError):
            self._connection.wait_for_disk(self._mark)
        with contextlib.suppress(StoreUnavailableError):
            self._connection.publish(self._channel, b"")


def parse_header(raw: bytes) -> ManifestHeader:
    """The header of a sealed manifest, unverified. Raises `StoreDamagedError`."""
    if len(raw) < _HEADER.size + NONCE_SIZE:
        raise ManifestSpoiltError("the manifest is cut short", raw)
    magic, epoch, renewals, key_id = _HEADER.unpack_from(raw)
    if magic != _MAGIC:
        if magic.startswith(_MAGIC_FAMILY):
            raise StoreDamagedError("the manifest was written by another version")
        raise ManifestSpoiltError("the key of the manifest holds something else", raw)
    return ManifestHeader(epoch, renewals, key_id.hex(), raw[_HEADER.size : _HEADER.size + NONCE_SIZE])
