"""Where daily counts are kept: for a while in the store, where every server puts its own, and for years in files.

In the store a day is a hash with a sealed field for each run. A run replaces nothing but its own field, with its whole
day so far: putting it again after a lost reply counts nothing twice. A server with administration copies the days to
its disk, one file each, so that a store that is lost takes at most what was counted since the last copy.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from hashmatch.model.counts import Counts, Runs, merged
from hashmatch.model.decoding import UNREADABLE
from hashmatch.store.connection import Connection
from hashmatch.store.keys import Keys
from hashmatch.trust.durable_files import owners_alone
from hashmatch.trust.sealing import SealingError, SealingKey

_RUNS_READER = msgspec.json.Decoder(Runs)

_COUNTS_READER = msgspec.msgpack.Decoder(Counts)

KEPT_DAYS = 40
"""How long, in days, the store keeps a day after it was last written to."""

_DAY_SECONDS = 86_400
_FILE_NAME = re.compile(r"(\d{4}-\d\d-\d\d)\.json")


class CountError(Exception):
    """A file of counts cannot be read or written."""


class CountStore:
    """The days in the store. Methods raise `StoreUnavailableError`."""

    def __init__(self, connection: Connection, keys: Keys, sealing_key: SealingKey) -> None:
        self._connection = connection
        self._keys = keys
        self._sealer = sealing_key.sealer(b"", b"counts")

    def put(self, day: str, run: str, counts: Counts) -> None:
        """Replace what a run counted on a day."""
        sealed = self._sealer.seal_with_random_nonce(msgspec.msgpack.encode(counts), _context(day, run))
        key = self._keys.counts(day)
        self._connection.hash_set(key, run, sealed)
        self._connection.expire(key, KEPT_DAYS * _DAY_SECONDS)

    def runs(self, day: str) -> Runs:
        """What every run counted on a day. One that does not verify is passed over: it is nobody's count."""
        found: Runs = {}
        for field, sealed in self._connection.hash_all(self._keys.counts(day)).items():
            run = field.decode("ascii", "replace")
            try:
                found[run] = _COUNTS_READER.decode(self._sealer.open_with_nonce(sealed, _context(day, run)))
            except (SealingError, msgspec.MsgspecError):
                continue
        return found


class CountFiles:
    """The days in a directory, a file each. Methods raise `CountError`."""

    def __init__(self, directory: Path) -> None:
        """The directory is made with the first file."""
        self._directory = directory

    def days(self) -> Iterator[str]:
        """The days that there are, in order."""
        names = sorted(path.name for path in self._directory.iterdir()) if self._directory.is_dir() else ()
        for name in names:
            if found := _FILE_NAME.fullmatch(name):
                yield found[1]

    def runs(self, day: str) -> Runs:
        """What every run counted on a day; empty if nothing is known of it."""
        path = self._path(day)
        try:
            return _RUNS_READER.decode(path.read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, *UNREADABLE) as error:
            raise CountError(f"cannot read {path}") from error

    def merge(self, day: str, runs: Mapping[str, Counts]) -> None:
        """Add what is newer than what is known."""
        known = self.runs(day)
        result = merged(known, runs)
        if result == known:
            return
        path = self._path(day)
        scratch = path.with_suffix(".new")
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            with open(scratch, "wb", opener=owners_alone) as file:
                file.write(msgspec.json.encode(result, order="sorted") + b"\n")
                file.flush()
                os.fsync(file.fileno())
            scratch.replace(path)
        except OSError as error:
            raise CountError(f"cannot write {path}: {error.strerror}") from error

    def delete_before(self, day: str) -> None:
        """Delete the days before `day`."""
        for known in list(self.days()):
            if known < day:
                self._path(known).unlink(missing_ok=True)

    def _path(self, day: str) -> Path:
        return self._directory / f"{day}.json"


def _context(day: str, run: str) -> bytes:
    return f"{day}/{run}".encode()
