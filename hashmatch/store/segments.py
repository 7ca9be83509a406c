"""Segments: immutable sealed sets of rows, each the base of a generation or a delta upon one."""

from __future__ import annotations

import secrets
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import msgspec
import numpy as np
import numpy.typing as npt

from hashmatch.columns.placement import Digests, PlacementSecret, placements_of
from hashmatch.columns.rows import SOURCE_KEY_DIGEST_SIZE, SOURCE_KEYS, Rows, joined_payloads
from hashmatch.model.algorithms import Algorithm
from hashmatch.model.opinions import Statement, StatementSet
from hashmatch.store.archive import Archive, ArchiveWriter
from hashmatch.store.blocks import BlockError, PlainBlocks, block_count, pack
from hashmatch.store.connection import Connection
from hashmatch.store.keys import Keys
from hashmatch.trust.batch_opening import Opened
from hashmatch.trust.sealing import NONCE_SIZE, Sealer, SealingError, SealingKey

# How many blocks travel in one command: about 1 MB.
BLOCKS_PER_COMMAND = 1_024
# The nonce of the statement sets; block numbers stay below it.
_SETS_NUMBER = (1 << 32) - 1


class StoreDamagedError(Exception):
    """The store lacks something that the manifest names, or it does not verify."""


class SegmentInfo(msgspec.Struct, frozen=True):
    """What the manifest says of a segment. `kind` is the number of an algorithm, or SOURCE_KEYS."""

    segment_id: str
    salt: bytes
    kind: int
    rows: int
    live_rows: int
    blocks: int
    sealed_bytes: int

    @property
    def digest_size(self) -> int:
        """The size of a digest of this kind, in bytes."""
        return digest_size_of(self.kind)


def digest_size_of(kind: int) -> int:
    """The size in bytes of the digests of rows of `kind`."""
    return SOURCE_KEY_DIGEST_SIZE if kind == SOURCE_KEYS else Algorithm(kind).digest_size


class _Seal:
    """Seals the parts of one segment: the number of a part is its nonce, its place is authenticated."""

    def __init__(self, key: SealingKey, salt: bytes, segment_id: str, blocks: int) -> None:
        self._sealer: Sealer = key.sealer(salt, b"segment")
        self._context = f"{segment_id}/{blocks}/".encode()

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
        seal = _Seal(self._sealing_key, salt, segment_id, blocks)
        live_rows = int(np.count_nonzero(rows.live))
        info = SegmentInfo(segment_id, salt, rows.kind, len(rows), live_rows, blocks, 0)
        note_pending(info)
        batches = self._sealed(seal, rows, info)
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
        """Write batches, the next being sealed while one is on its way. Returns the bytes of the values."""
        size = 0
        with ThreadPoolExecutor(1, thread_name_prefix="segment-writer") as sender:
            on_its_way: Future[None] | None = None
            for batch in batches:
                if on_its_way is not None:
                    on_its_way.result()
                on_its_way = sender.submit(self._put, batch, copy)
                size += sum(map(len, batch.values()))
            if on_its_way is not None:
                on_its_way.result()
        return size

    def _put(self, values: dict[bytes, bytes], copy: ArchiveWriter | None) -> None:
        self.connection.set_many(values)
        if copy is not None:
            copy.add(values)

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
        """A reader of a segment; reads nothing yet."""
        return SegmentReader(self.connection, self.keys, self._sealing_key, info)

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
        self._seal = _Seal(sealing_key, info.salt, info.segment_id, info.blocks)
        self._sets: tuple[StatementSet, ...] | None = None

    @property
    def sets(self) -> tuple[StatementSet, ...]:
        """The statement sets that the refs of this segment's rows point into."""
        if self._sets is None:
            sealed = self._connection.get(self._sets_key)
            if sealed is None:
                raise StoreDamagedError(f"segment {self.info.segment_id} lacks its statement sets")
            try:
                plain = zlib.decompress(self._seal.open(_SETS_NUMBER, sealed))
                self._sets = msgspec.msgpack.decode(plain, type=tuple[tuple[Statement, ...], ...])
            except (SealingError, zlib.error, msgspec.MsgspecError) as error:
                raise StoreDamagedError(f"segment {self.info.segment_id}: its statement sets do not verify") from error
        return self._sets

    def fetch(self, numbers: Sequence[int]) -> Opened:
        """The plain blocks of these numbers; one that is missing or does not verify is not good.

        Raises `StoreUnavailableError` if the store does not answer.
        """
        sealed: list[bytes | None] = []
        for low in range(0, len(numbers), BLOCKS_PER_COMMAND):
            part = numbers[low : low + BLOCKS_PER_COMMAND]
            sealed += self._connection.get_many([b"%b%d" % (self._prefix, number) for number in part])
        return self._seal.open_blocks(numbers, sealed)

    def read(self) -> Iterator[PlainBlocks]:
        """Every block in order, a few thousand at a time, each verified."""
        for low in range(0, self.info.blocks, BLOCKS_PER_COMMAND):
            numbers = range(low, min(low + BLOCKS_PER_COMMAND, self.info.blocks))
            opened = self.fetch(numbers)
            if not opened.good.all():
                bad = low + int(np.argmin(opened.good))
                raise StoreDamagedError(f"segment {self.info.segment_id}: block {bad} is missing or does not verify")
            yield PlainBlocks(opened.data, opened.starts, self.info.digest_size)

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
                raise StoreDamagedError(f"segment {self.info.segment_id}: {error}") from error
            rows += len(refs)
            if len(refs) and int(refs.max()) >= len(self.sets):
                raise StoreDamagedError(f"segment {self.info.segment_id} refers to statements that it lacks")
            yield digests, refs, blocks
        if rows != self.info.rows:
            raise StoreDamagedError(f"segment {self.info.segment_id} has {rows} rows, not {self.info.rows}")

    def rows(self, secret: PlacementSecret) -> Rows:
        """The whole segment as rows."""
        parts = list(self.checked_columns(self.read()))
        digests = np.concatenate([digests for digests, _, _ in parts])
        refs = np.concatenate([refs for _, refs, _ in parts])
        try:
            payloads = [(blocks.payloads(), len(refs)) for _, refs, blocks in parts]
        except BlockError as error:
            raise StoreDamagedError(f"segment {self.info.segment_id}: {error}") from error
        joined = joined_payloads(payloads) if any(each is not None for each, _ in payloads) else None
        return Rows(self.info.kind, digests, placements_of(self.info.kind, digests, secret), refs, self.sets, joined)
