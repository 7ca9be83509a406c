"""Segments: immutable sealed sets of rows, each the base of a generation or a delta upon one."""

from __future__ import annotations

import contextlib
import secrets
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import zip_longest

import msgspec
import numpy as np
import numpy.typing as npt

from hashmatch.columns.placement import Digests, PlacementSecret, placements_of
from hashmatch.columns.rows import SOURCE_KEY_DIGEST_SIZE, SOURCE_KEYS, Rows, joined_payloads
from hashmatch.model.algorithms import Algorithm
from hashmatch.model.opinions import Statement, StatementSet
from hashmatch.store.archive import Archive, ArchiveError, ArchiveWriter
from hashmatch.store.blocks import BlockError, PlainBlocks, block_count, pack
from hashmatch.store.connection import Connection
from hashmatch.store.keys import Keys
from hashmatch.trust.batch_opening import Opened
from hashmatch.trust.sealing import NONCE_SIZE, Sealer, SealingError, SealingKey, SealingKeyError

_SETS_READER = msgspec.msgpack.Decoder(tuple[tuple[Statement, ...], ...])

# How many blocks travel in one command: about 1 MB.
BLOCKS_PER_COMMAND = 1_024
# While the store takes one in, the next is sent.
_BATCHES_ON_THEIR_WAY = 2
# The nonce of the statement sets; block numbers stay below it.
_SETS_NUMBER = (1 << 32) - 1


class StoreDamagedError(Exception):
    """The store lacks something that the manifest names, or it does not verify.

    `segment_id` is the segment that is meant; empty if it is something else.
    """

    def __init__(self, message: str, segment_id: str = "") -> None:
        super().__init__(message)
        self.segment_id = segment_id


class SegmentInfo(msgspec.Struct, frozen=True):
    """What the manifest says of a segment. `kind` is the number of an algorithm, or SOURCE_KEYS."""

    segment_id: str
    salt: bytes
    kind: int
    rows: int
    live_rows: int
    blocks: int
    sealed_bytes: int
    # Of the key that it is sealed under.
    key_id: str

    @property
    def digest_size(self) -> int:
        """The size of a digest of this kind, in bytes."""
        return digest_size_of(self.kind)


def digest_size_of(kind: int) -> int:
    """The size in bytes of the digests of rows of `kind`."""
    return SOURCE_KEY_DIGEST_SIZE if kind == SOURCE_KEYS else Algorithm(kind).digest_size


class _Seal:
    """Seals the parts of one segment: the number of a part is its nonce, its place is authenticated."""

    def __init__(self, key: SealingKey, info: SegmentInfo) -> None:
        """Raises `SealingKeyError` if the segment is under none of the keys."""
        self._sealer: Sealer = key.sealer_under(info.key_id, info.salt, b"segment")
        self._context = f"{info.segment_id}/{info.blocks}/".encode()

    def seal(self, number: int, plaintext: bytes) -> bytes:
        return self._sealer.seal(number.to_bytes(NONCE_SIZE, "big"), plaintext, self._context)

    def open_blocks(self, numbers: Sequence[int], sealed: Sequence[bytes | None]) -> Opened:
        """The parts in plain; one that is missing or does not verify is not good."""
        return self._sealer.open_many(numbers, sealed, self._context)

    def open(self, number: int, sealed: bytes) -> bytes:
        return self._sealer.open(number.to_bytes(NONCE_SIZE, "big"), sealed, self._context)


class SegmentStore:
    """Writes and opens the segments of one namespace."""

    def __init__(
        self, connection: Connection, keys: Keys, sealing_key: SealingKey, archive: Archive | None = None
    ) -> None:
        """What is written is copied to `archive` where there is one."""
        self.connection = connection
        self.keys = keys
        self._sealing_key = sealing_key
        self._archive = archive

    def write(self, rows: Rows, *, note_pending: Callable[[SegmentInfo], None]) -> SegmentInfo:
        """Seal and write rows as a new segment that nothing refers to yet.

        `note_pending` is called before the first write, so that a segment whose writer dies can be collected. Raises
        `StoreUnavailableError`.
        """
        segment_id, salt = secrets.token_hex(8), secrets.token_bytes(16)
        blocks = block_count(len(rows))
        live_rows = int(np.count_nonzero(rows.live))
        info = SegmentInfo(segment_id, salt, rows.kind, len(rows), live_rows, blocks, 0, self._sealing_key.key_id)
        note_pending(info)
        batches = self._sealed(_Seal(self._sealing_key, info), rows, info)
        if self._archive is None:
            sealed_bytes = self._put_all(batches, None)
        else:
            with self._archive.writer(segment_id) as copy:
                sealed_bytes = self._put_all(batches, copy)
        return msgspec.structs.replace(info, sealed_bytes=sealed_bytes)

    def _sealed(self, seal: _Seal, rows: Rows, info: SegmentInfo) -> Iterator[dict[bytes, bytes]]:
        sets = zlib.compress(msgspec.msgpack.encode(rows.sets))
        yield {self.keys.sets(info.segment_id): seal.seal(_SETS_NUMBER, sets)}
        prefix = self.keys.block_prefix(info.segment_id)
        for first, parts in pack(rows, info.blocks):
            for low in range(0, len(parts), BLOCKS_PER_COMMAND):
                numbers = range(first + low, first + min(low + BLOCKS_PER_COMMAND, len(parts)))
                yield {b"%b%d" % (prefix, number): seal.seal(number, parts[number - first]) for number in numbers}

    def _put_all(self, batches: Iterable[dict[bytes, bytes]], copy: ArchiveWriter | None) -> int:
        """Write batches, the next being sealed while others are on their way. Returns the bytes of the values."""
        size = 0
        on_their_way: deque[Future[None]] = deque()
        with ThreadPoolExecutor(_BATCHES_ON_THEIR_WAY, thread_name_prefix="segment-writer") as senders:
            for batch in batches:
                if len(on_their_way) == _BATCHES_ON_THEIR_WAY:
                    on_their_way.popleft().result()
                on_their_way.append(senders.submit(self.connection.set_many, batch))
                if copy is not None:
                    copy.add(batch)
                size += sum(map(len, batch.values()))
            for each in on_their_way:
                each.result()
        return size

    def is_whole(self, info: SegmentInfo) -> bool:
        """Whether the store has every key of a segment; what lies under them is not looked at."""
        keys = self._all_keys(info)
        return all(
            self.connection.count_existing(part) == len(part)
            for low in range(0, len(keys), BLOCKS_PER_COMMAND)
            if (part := keys[low : low + BLOCKS_PER_COMMAND])
        )

    def _all_keys(self, info: SegmentInfo) -> list[bytes]:
        prefix = self.keys.block_prefix(info.segment_id)
        return [self.keys.sets(info.segment_id), *(b"%b%d" % (prefix, number) for number in range(info.blocks))]

    def open(self, info: SegmentInfo) -> SegmentReader:
        """A reader of a segment; reads nothing yet. Raises `StoreDamagedError` if its key is not here."""
        return SegmentReader(self.connection, self.keys, self._sealing_key, info)

    def restore(self, info: SegmentInfo, archive: Archive) -> None:
        """Put a segment back from an archive, as far as it verifies there.

        Raises `ArchiveError`, when that is done, if it is not all of it, and `StoreUnavailableError`.
        """
        try:
            reader = self.open(info)
        except StoreDamagedError as error:
            # Nobody can tell here whether it is what it should be.
            raise ArchiveError(f"the archive of {info.segment_id} cannot be verified: {error}") from error
        archive.restore(info.segment_id, self.connection, reader.sound, info.blocks + 1)

    def delete(self, info: SegmentInfo) -> None:
        """Delete a segment. Raises `StoreUnavailableError`."""
        keys = self._all_keys(info)
        for low in range(0, len(keys), BLOCKS_PER_COMMAND):
            self.connection.delete(keys[low : low + BLOCKS_PER_COMMAND])
        if self._archive is not None:
            self._archive.delete(info.segment_id)


class SegmentReader:
    """Reads one segment; thread-safe. Methods raise `StoreUnavailableError` and `StoreDamagedError`."""

    def __init__(self, connection: Connection, keys: Keys, sealing_key: SealingKey, info: SegmentInfo) -> None:
        self.info = info
        self._connection = connection
        self._sets_key = keys.sets(info.segment_id)
        self._prefix = keys.block_prefix(info.segment_id)
        try:
            self._seal = _Seal(sealing_key, info)
        except SealingKeyError as error:
            raise StoreDamagedError(f"segment {info.segment_id} {error}", info.segment_id) from error
        self._sets: tuple[StatementSet, ...] | None = None

    @property
    def sets(self) -> tuple[StatementSet, ...]:
        """The statement sets that the refs of this segment's rows point into."""
        if self._sets is None:
            sealed = self._connection.get(self._sets_key)
            if sealed is None:
                raise self._damaged("lacks its statement sets")
            try:
                plain = zlib.decompress(self._seal.open(_SETS_NUMBER, sealed))
                self._sets = _SETS_READER.decode(plain)
            except (SealingError, zlib.error, msgspec.MsgspecError) as error:
                raise self._damaged("has statement sets that do not verify") from error
        return self._sets

    def fetch(self, numbers: Sequence[int]) -> Opened:
        """The plain blocks of these numbers; one that is missing or does not verify is not good.

        Raises `StoreUnavailableError` if the store does not answer.
        """
        sealed: list[bytes | None] = []
        for low in range(0, len(numbers), BLOCKS_PER_COMMAND):
            sealed += self._sealed_blocks(numbers[low : low + BLOCKS_PER_COMMAND])
        return self.opened(numbers, sealed)

    def opened(self, numbers: Sequence[int], sealed: Sequence[bytes | None]) -> Opened:
        """The plain blocks of these numbers, as `fetch`, from what the store has under `block_keys`."""
        return self._seal.open_blocks(numbers, sealed)

    def block_keys(self, numbers: Sequence[int]) -> list[bytes]:
        """Where blocks lie in the store."""
        return [b"%b%d" % (self._prefix, number) for number in numbers]

    def sound(self, values: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
        """Those of some keys with their sealed values that are parts of this segment and verify."""
        found = {}
        sets = values.get(self._sets_key)
        if sets is not None:
            with contextlib.suppress(SealingError):
                self._seal.open(_SETS_NUMBER, sets)
                found[self._sets_key] = sets
        numbers = [number for key in values if (number := self._number_of(key)) is not None]
        keys = self.block_keys(numbers)
        opened = self._seal.open_blocks(numbers, [values[key] for key in keys])
        return found | {key: values[key] for key, good in zip(keys, opened.good.tolist(), strict=True) if good}

    def _number_of(self, key: bytes) -> int | None:
        """The number of the block that lies under a key; None if none of this segment does."""
        told = key.removeprefix(self._prefix)
        # No longer than the number of any block: it may be anything.
        if told == key or len(told) > len(str(self.info.blocks)) or not told.isdigit():
            return None
        number = int(told)
        return number if number < self.info.blocks and told == b"%d" % number else None

    def _sealed_blocks(self, numbers: Sequence[int]) -> list[bytes | None]:
        return self._connection.get_many(self.block_keys(numbers))

    def read(self) -> Iterator[PlainBlocks]:
        """Every block in order, a few thousand at a time, each verified."""
        parts = [
            range(low, min(low + BLOCKS_PER_COMMAND, self.info.blocks))
            for low in range(0, self.info.blocks, BLOCKS_PER_COMMAND)
        ]
        with ThreadPoolExecutor(1, thread_name_prefix="segment-reader") as receiver:
            coming: Future[list[bytes | None]] | None = None
            for numbers, following in zip_longest(parts, parts[1:]):
                sealed = self._sealed_blocks(numbers) if coming is None else coming.result()
                # On their way while these are opened, and while whoever reads does something with them.
                coming = None if following is None else receiver.submit(self._sealed_blocks, following)
                opened = self._seal.open_blocks(numbers, sealed)
                if not opened.good.all():
                    bad = numbers[int(np.argmin(opened.good))]
                    raise self._damaged(f"lacks block {bad}, or it does not verify")
                yield PlainBlocks(opened.data, opened.starts, self.info.digest_size)

    def _damaged(self, how: str) -> StoreDamagedError:
        return StoreDamagedError(f"segment {self.info.segment_id} {how}", self.info.segment_id)

    def verify(self) -> None:
        """Read everything back. Returns only if the whole segment is there, verifies and has the rows it should."""
        for _ in self.checked_columns(self.read()):
            pass

    def checked_columns(
        self, parts: Iterable[PlainBlocks]
    ) -> Iterator[tuple[Digests, npt.NDArray[np.uint32], PlainBlocks]]:
        """The columns of each of `parts`, which must be the whole segment.

        Raises `StoreDamagedError`, at the latest at the end, if the rows are not those that the manifest counts.
        """
        rows = 0
        for blocks in parts:
            try:
                digests, refs = blocks.columns()
            except BlockError as error:
                raise self._damaged(f"has a block that cannot be read: {error}") from error
            rows += len(refs)
            if len(refs) and int(refs.max()) >= len(self.sets):
                raise self._damaged("refers to statements that it lacks")
            yield digests, refs, blocks
        if rows != self.info.rows:
            raise self._damaged(f"has {rows} rows, not {self.info.rows}")

    def rows(self, secret: PlacementSecret) -> Rows:
        """The whole segment as rows."""
        parts = list(self.checked_columns(self.read()))
        digests = np.concatenate([digests for digests, _, _ in parts])
        refs = np.concatenate([refs for _, refs, _ in parts])
        try:
            payloads = [(blocks.payloads(), len(refs)) for _, refs, blocks in parts]
        except BlockError as error:
            raise self._damaged(f"has a block that cannot be read: {error}") from error
        joined = joined_payloads(payloads) if any(each is not None for each, _ in payloads) else None
        return Rows(self.info.kind, digests, placements_of(self.info.kind, digests, secret), refs, self.sets, joined)
