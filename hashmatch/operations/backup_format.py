"""What a backup is: a tar file, compressed if its name ends in `.zst`, whose last member says what the others must be.

The same files make the same backup, byte for byte: members are in order, without times and owners. Under `data/` is
what was in the data directory, under `configuration/` the files of the settings and, if it lay elsewhere, the sealing
key.
The digests tell a damaged backup from a whole one. They do not tell who made it: keep it where nobody else can write.
"""

from __future__ import annotations

import hashlib
import re
import sys
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, BinaryIO, Literal, cast

import msgspec

from hashmatch.model.decoding import UNREADABLE

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

DATA, CONFIGURATION = "data", "configuration"
CONTENTS = "CONTENTS.json"
SEALING_KEY = "sealing.key"
FORMAT = "hashmatch-backup"
VERSION = 1

_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,254}")
_CHUNK = 1 << 20

# What reading a damaged backup may raise below us.
DAMAGE = (tarfile.TarError, zstd.ZstdError, EOFError, *UNREADABLE)


class BackupError(Exception):
    """A backup that cannot be made, is damaged, or must not be restored there. The message is for the operator."""


class BackupFile(msgspec.Struct, frozen=True):
    """A file in a backup; `name` begins with `data/` or `configuration/`, `mode` has its permissions."""

    name: str
    size: int
    mode: int
    sha256: str
    secret: bool = False


class Contents(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The last member: what the backup holds. `epoch` is the highest that the server had served."""

    format: str
    version: int
    hashmatch: str
    epoch: int
    files: tuple[BackupFile, ...]

    @property
    def has_sealing_key(self) -> bool:
        """Whether whoever has the backup has the lists."""
        return any(file.secret for file in self.files)


def is_permitted(name: str) -> bool:
    """Whether a member of this name may be in a backup: it can lie nowhere but below one of the two directories."""
    first, *rest = name.split("/")
    return first in (DATA, CONFIGURATION) and bool(rest) and all(_PART.fullmatch(part) for part in rest)


@contextmanager
def tar_within(file: BinaryIO, name: str, mode: Literal["rb", "wb"]) -> Iterator[BinaryIO]:
    """The tar in a backup that is open as `file`; its name says whether it is compressed."""
    if not name.endswith(".zst"):
        yield file
        return
    with zstd.ZstdFile(file, mode) as compressed:
        yield cast("BinaryIO", compressed)


class Hashing:
    """Reads a file and knows, once it was read, its size and SHA-256."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self.size = 0

    @property
    def sha256(self) -> str:
        """Of what was read so far, in hexadecimal."""
        return self._digest.hexdigest()

    def read(self, size: int = _CHUNK) -> bytes:
        """The next bytes, at most `size`; empty at the end."""
        data = self._file.read(size)
        self._digest.update(data)
        self.size += len(data)
        return data
