"""The formats `nsrl-csv` and `nsrl-sqlite`: NIST's reference data sets of known software, versions 2 and 3.

They hold **known good** files: a corpus that deliveries are vetted against, never a list of illegal content. Entries
have no keys and carry what the importer states. Only the digests are read: whose software it is does not matter here.

How version 2 is read: a row is a line, and begins with the quoted SHA-1 and MD5, as the header says. Names of files
behind them are not read, whatever their encoding and quotation.

How version 3 is read: SQLite needs a file, so the delivery is written to one in the directory for temporary files, up
to a cap. The file loses its name as soon as it is open, so that nothing stays behind. It is opened read-only; only
reading from tables and views is permitted, and a query that takes more steps than a file of its size could need is
ended.
"""

from __future__ import annotations

import binascii
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np

from hashmatch.formats._text import Blocks, head_text
from hashmatch.formats._values import Refused, digest_of
from hashmatch.formats.delivery import Chunk, Column, DeliveryError, ParserOptions, Tally
from hashmatch.model.algorithms import EMPTY_FILE_DIGESTS, Algorithm
from hashmatch.model.opinions import Statement

LONGEST_LINE = 65_536
# The complete set of version 3 took some 200 GB in 2024.
LARGEST_DATABASE = 1 << 40

_HEADER_V2 = b'"SHA-1","MD5"'
_MAGIC_V3 = b"SQLite format 3\0"
# Where the header says which kind of journal is needed to read and to write.
_JOURNAL_VERSIONS = 18
_COLUMNS_V3 = {"sha1": Algorithm.SHA1, "sha256": Algorithm.SHA256, "md5": Algorithm.MD5}
# `FILE` is a table, in some editions a view.
_TABLE_V3 = "FILE"
# A text of so many bytes is no digest, whatever white space stands around it. SQLite cuts longer ones: a view makes a
# megabyte of nothing, and many rows are held at once.
_TOO_LONG = 128
_ROWS_AT_ONCE = 4_096
_PERMITTED = frozenset({sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION})
# Steps of SQLite's machine: some ten a row, and a row takes some hundred bytes.
_STEPS_PER_CALL = 100_000
_STEPS_BY_BYTE = 4
_FREE_STEPS = 10_000_000
_LONGEST_VALUE = 1_000_000


def recognises_csv(head: bytes) -> bool:
    """Whether a delivery that begins with `head` is of version 2."""
    return head_text(head)[: len(_HEADER_V2)].encode() == _HEADER_V2


def recognises_sqlite(head: bytes) -> bool:
    """Whether a delivery that begins with `head` is of version 3, as far as that shows."""
    return head.startswith(_MAGIC_V3)


class _KnownGood:
    """What both versions share: digests of several columns, all with the one statement of the importer."""

    def __init__(self, options: ParserOptions) -> None:
        self.statements = [Statement(options.label, options.scheme, options.jurisdiction)]
        self.tally = Tally()
        # Records and reasons, of columns one after the other.
        self._refused: list[tuple[int, str]] = []

    def _count_refused(self) -> None:
        """Quarantine what was refused, in the order of records: wherever the delivery was cut, the first are named."""
        for record, reason in sorted(self._refused):
            self.tally.quarantine(reason, record)
        self._refused.clear()

    def _column(self, algorithm: Algorithm, texts: Sequence[bytes], records: Sequence[int]) -> Column | None:
        """The digests of texts, of which those that cannot be read are refused; None if there are none."""
        self.tally.read += len(texts)
        size = algorithm.digest_size
        try:
            digests = np.frombuffer(_unhexlified(texts, 2 * size), np.uint8).reshape(-1, size)
        except ValueError:
            digests = None
        if digests is None or _any_unsound(algorithm, digests):
            digests = np.frombuffer(b"".join(self._one_by_one(algorithm, texts, records)), np.uint8).reshape(-1, size)
        return Column(algorithm, digests.copy(), statements=0) if len(digests) else None

    def _one_by_one(self, algorithm: Algorithm, texts: Sequence[bytes], records: Sequence[int]) -> Iterator[bytes]:
        for text, record in zip(texts, records, strict=True):
            try:
                yield digest_of(algorithm, _as_text(text), "hex")
            except Refused as refused:
                self._refused.append((record, refused.reason))


class NsrlCsvParser(_KnownGood):
    """Reads one delivery of version 2. Records are numbered by their lines."""

    def __init__(self, options: ParserOptions) -> None:
        super().__init__(options)
        self._blocks = Blocks()
        self._unfinished = b""
        self._line = 0
        self._skipping = False

    def feed(self, data: bytes) -> Iterator[Chunk]:
        """Take the next bytes, of any number, cut anywhere."""
        if block := self._blocks.add(data):
            yield from self._read(block)

    def finish(self) -> Iterator[Chunk]:
        """Take the end of the delivery. Raises `DeliveryError` if it ends within the hashes of a row."""
        yield from self._read(self._blocks.rest())
        if self._unfinished:
            if self._line and _hashes_of(self._unfinished) is None:
                raise DeliveryError("truncated: the last line is not whole", record=self._line + 1)
            yield from self._read(b"\n")
        if not self._line:
            raise DeliveryError("truncated: there is no header")

    def _read(self, block: bytes) -> Iterator[Chunk]:
        *lines, self._unfinished = (self._unfinished + block).split(b"\n")
        if self._skipping and lines:
            self._skipping = False
            lines[0] = b""
        if len(self._unfinished) > LONGEST_LINE:
            if not self._skipping:
                self._refuse("line-too-long", self._line + len(lines) + 1)
            self._skipping = True
        if self._skipping:
            self._unfinished = b""
        if not self._line and lines:
            if not recognises_csv(lines.pop(0)):
                raise DeliveryError("the header is not that of NSRL's version 2", record=1)
            self._line = 1
        if lines:
            yield from self._take(lines)
        self._count_refused()

    def _take(self, lines: Sequence[bytes]) -> Iterator[Chunk]:
        sha1, md5, records = [], [], []
        for record, line in enumerate(lines, self._line + 1):
            if not line or line == b"\r":
                continue
            # Looked at first, because a part of such a line may have been refused before the rest of it came.
            if len(line) > LONGEST_LINE:
                self._refuse("line-too-long", record)
                continue
            hashes = _hashes_of(line)
            if hashes is None:
                self._refuse("not-hex", record)
                continue
            sha1.append(hashes[0])
            md5.append(hashes[1])
            records.append(record)
        self._line += len(lines)
        self.tally.records += len(records)
        found = (self._column(Algorithm.SHA1, sha1, records), self._column(Algorithm.MD5, md5, records))
        if columns := tuple(column for column in found if column is not None):
            yield Chunk(columns)

    def _refuse(self, reason: str, record: int) -> None:
        self.tally.records += 1
        self.tally.read += 1
        self._refused.append((record, reason))


class NsrlSqliteParser(_KnownGood):
    """Reads one delivery of version 3. Records are numbered by the rows of the query, from 1."""

    def __init__(self, options: ParserOptions, *, largest: int = LARGEST_DATABASE) -> None:
        super().__init__(options)
        self._largest = largest
        self._size = 0
        self._head = b""
        self._file: IO[bytes] | None = None
        self._database: sqlite3.Connection | None = None

    def feed(self, data: bytes) -> Iterator[Chunk]:
        """Take the next bytes. Nothing comes of them before the end."""
        self._size += len(data)
        if self._size > self._largest:
            raise DeliveryError(f"a database of more than {self._largest} bytes")
        if len(self._head) < len(_MAGIC_V3):
            self._head += data[: len(_MAGIC_V3) - len(self._head)]
            if self._head != _MAGIC_V3[: len(self._head)]:
                raise DeliveryError("this is no SQLite database")
        try:
            if self._file is None:
                self._file, self._database = _open_nameless()
            self._file.write(data)
        except OSError:
            raise DeliveryError("there is no room to unpack the database") from None
        yield from ()

    def finish(self) -> Iterator[Chunk]:
        """Take the end of the delivery. Raises `DeliveryError` if the database cannot be read."""
        if self._file is None or self._database is None:
            raise DeliveryError("truncated: there is no database")
        try:
            self._file.seek(_JOURNAL_VERSIONS)
            # A database that was written with a write-ahead log says so here, and SQLite would look for the log.
            self._file.write(b"\1\1")
            self._file.flush()
            yield from self._read(self._database)
        except (sqlite3.Error, OverflowError, ValueError):
            raise DeliveryError("the database cannot be read", record=self.tally.records + 1) from None
        except OSError:
            raise DeliveryError("there is no room to unpack the database") from None
        finally:
            self._database.close()
            self._file.close()

    def _read(self, database: sqlite3.Connection) -> Iterator[Chunk]:
        # In this order: only the number of pages makes SQLite read in the file how large they are.
        pages, page_size = (database.execute(f"PRAGMA {each}").fetchone()[0] for each in ("page_count", "page_size"))
        if page_size * pages > self._size:
            raise DeliveryError("truncated: the database has fewer bytes than it says")
        _confine(database, self._size)
        database.text_factory = bytes
        empty = database.execute(f'SELECT * FROM "{_TABLE_V3}" LIMIT 0')  # noqa: S608 - the name is ours
        names = {column[0].lower() for column in empty.description}
        algorithms = [(name, algorithm) for name, algorithm in _COLUMNS_V3.items() if name in names]
        if not algorithms:
            raise DeliveryError(f"the table {_TABLE_V3} has no hashes")
        # Each is named once: what a view computes may be something else each time. As a blob, because a text would end
        # at a NUL; in UTF-16 a character takes two bytes. Then as a text again, which is given as UTF-8.
        cut = f"CAST(substr(CAST({{}} AS BLOB), 1, {2 * _TOO_LONG}) AS TEXT)"
        listed = ", ".join(cut.format(name) for name, _ in algorithms)
        query = f'SELECT {listed} FROM "{_TABLE_V3}"'  # noqa: S608 - the names are ours
        rows = database.execute(query)
        while batch := rows.fetchmany(_ROWS_AT_ONCE):
            first = self.tally.records + 1
            self.tally.records += len(batch)
            columns = []
            for place, (_, algorithm) in enumerate(algorithms):
                held = [(row[place], record) for record, row in enumerate(batch, first) if row[place]]
                column = self._column(algorithm, [text for text, _ in held], [record for _, record in held])
                if column is not None:
                    columns.append(column)
            self._refuse_empty_rows(batch, first)
            self._count_refused()
            if columns:
                yield Chunk(tuple(columns))

    def _refuse_empty_rows(self, batch: Sequence[Sequence[bytes | None]], first: int) -> None:
        for record, row in enumerate(batch, first):
            if not any(row):
                self.tally.read += 1
                self._refused.append((record, "no-fingerprint"))


def _open_nameless() -> tuple[IO[bytes], sqlite3.Connection]:
    """An empty file that has no name any more, to write to, and a read-only connection to what it will hold."""
    with tempfile.TemporaryDirectory(prefix="hashmatch-") as directory:
        path = Path(directory) / "database"
        file = path.open("xb")
        try:
            # Immutable would be quicker, but then SQLite takes the file to stay as empty as it is now.
            uri = f"{path.as_uri()}?mode=ro"
            return file, sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
        except sqlite3.Error:
            file.close()
            raise OSError from None


def _confine(database: sqlite3.Connection, size: int) -> None:
    """Let a database that somebody else made do nothing but be read, and not for ever."""
    database.execute("PRAGMA trusted_schema = OFF")
    database.execute("PRAGMA cell_size_check = ON")
    database.execute("PRAGMA mmap_size = 0")
    database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LONGEST_VALUE)
    calls = (_FREE_STEPS + _STEPS_BY_BYTE * size) // _STEPS_PER_CALL

    def count() -> int:
        nonlocal calls
        calls -= 1
        return calls < 0

    database.set_progress_handler(count, _STEPS_PER_CALL)
    database.set_authorizer(lambda action, *_: sqlite3.SQLITE_OK if action in _PERMITTED else sqlite3.SQLITE_DENY)


def _hashes_of(line: bytes) -> tuple[bytes, bytes] | None:
    """The texts of the SHA-1 and the MD5 that a row begins with, or None."""
    parts = line[:96].split(b'"', 4)
    if len(parts) < 5 or parts[0] or parts[2] != b",":
        return None
    return parts[1], parts[3]


def _unhexlified(texts: Sequence[bytes], digits: int) -> bytes:
    """The bytes of texts that have so many digits each. Raises `ValueError`."""
    joined = b"".join(texts)
    if len(joined) != digits * len(texts) or any(len(text) != digits for text in texts):
        raise ValueError
    return binascii.unhexlify(joined)


def _any_unsound(algorithm: Algorithm, digests: np.ndarray) -> bool:
    """Whether there may be a digest that is refused: of equal bits, or of the empty file."""
    if not len(digests):
        return False
    empty = np.frombuffer(EMPTY_FILE_DIGESTS[algorithm], np.uint8)
    flat = (digests == digests[:, :1]).all(axis=1)
    return bool(flat.any() or (digests == empty).all(axis=1).any())


def _as_text(value: bytes) -> str:
    if len(value) >= _TOO_LONG:
        raise Refused("bad-value")
    return value.decode("latin-1").strip()
