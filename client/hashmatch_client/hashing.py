"""Hashes of local files: found in a fixed order, read once each, several at a time.

Only regular files are read. What cannot be read is handed out as `UnreadableFile` in its place and never left out:
nothing is known of such a file, which is not the same as "on no list". Symbolic links and special files met inside a
folder are no files of that folder; they are counted by the `Walk` and otherwise passed over.

Where `hashmatch[images]` is installed, pictures have PDQ hashes too: `picture_hashes` computes those of one picture,
and `hash_file` and `hash_files` do when `Algorithm.PDQ` is among the algorithms.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import os
import stat
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING, Protocol

from hashmatch_client._errors import ConfigurationError, HashmatchClientError
from hashmatch_client._hashes import Algorithm, Hash

if TYPE_CHECKING:
    from PIL.Image import Image

    from hashmatch_client._pictures import PictureHasher, PictureHashes

DEFAULT_ALGORITHMS = (Algorithm.MD5, Algorithm.SHA1, Algorithm.SHA256)
DIGEST_ALGORITHMS = (*DEFAULT_ALGORITHMS, Algorithm.SHA512)
"""The algorithms that this module computes of any file."""
FILE_ALGORITHMS = (*DIGEST_ALGORITHMS, Algorithm.PDQ)
"""The algorithms that this module computes: those of any file, and PDQ of a picture if `images_available()`."""

_READ_SIZE = 1024 * 1024

# A file system may hand out a FIFO, on which an open would wait for ever, in the place of the file that was listed.
_OPEN_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
_NO_NAME = "no file has a NUL in its name"


class _Hasher(Protocol):
    def update(self, data: memoryview, /) -> None: ...
    def digest(self) -> bytes: ...


@dataclass(frozen=True, slots=True)
class FileHashes:
    """A file that was read, how many bytes it had, and its hashes: digests in the order that was asked for, then PDQ.

    A picture has a PDQ hash, an animated one up to eight, and what is no picture has none. `picture_problem` says why a
    picture has none, or not all of them: it cannot be ruled out then that the file is nearly a known one.
    """

    path: str
    size: int
    hashes: tuple[Hash, ...]
    picture_problem: str = ""


@dataclass(frozen=True, slots=True)
class UnreadableFile:
    """A path that could not be read, and why. Nothing is known of what lies there."""

    path: str
    problem: str


class Stopped(Exception):  # noqa: N818 - an order, not an error
    """Hashing was told to stop."""


class PictureError(HashmatchClientError):
    """A picture whose PDQ cannot be computed, and why."""


def images_available() -> bool:
    """Whether what `hashmatch[images]` installs is there, so that PDQ can be computed. Loads nothing of it."""
    return all(importlib.util.find_spec(name) is not None for name in ("PIL", "numpy"))


def picture_hashes(picture: str | PathLike[str] | Image) -> tuple[Hash, ...]:
    """The PDQ hashes of a picture, which is a file or an image that Pillow has open, with quality and alternates.

    One, as a rule. An animation has up to eight, of frames spread evenly over it; a picture that is partly transparent
    has one as it is stored and one as it looks on white. Hashes of a quality below 50 are left out, unless there is no
    other: then the best of them is handed out. The orientation that EXIF states is honoured; the alternates are the
    codes of the picture turned and mirrored.

    Raises `PictureError` if it is no picture, is too large (more than 89 megapixels) or cannot be decoded to its end,
    `OSError` if the file cannot be read, and `ConfigurationError` without `hashmatch[images]`.
    """
    hasher = _picture_hasher()
    if isinstance(picture, str | PathLike):
        with open(picture, "rb") as file:  # noqa: PTH123 - paths stay as the caller wrote them
            found = hasher.of_file(file)
    else:
        found = hasher.of_image(picture)
    if found.problem or not found.hashes:
        raise PictureError(found.problem or "it is no picture of a kind that is hashed")
    return found.hashes


class Walk:
    """The files at and under some paths, in a fixed order: paths as given, the names in a folder sorted.

    A folder is entered once, however many links lead to it. `skipped` counts the links and special files met so far
    inside folders; a path that was named itself and is one of these comes as `UnreadableFile`.
    """

    def __init__(self, paths: Iterable[str | PathLike[str]], *, follow_symlinks: bool = False) -> None:
        self._paths = [os.fspath(path) for path in paths]
        self._follow = follow_symlinks
        self._entered: set[tuple[int, int]] = set()
        self.skipped = 0

    def __iter__(self) -> Iterator[str | UnreadableFile]:
        self._entered.clear()
        self.skipped = 0
        for path in self._paths:
            if "\0" in path:
                yield UnreadableFile(path, _NO_NAME)
                continue
            try:
                kind = os.stat(path, follow_symlinks=self._follow)  # noqa: PTH116 - paths stay as the caller wrote them
            except OSError as error:
                yield UnreadableFile(path, _problem(error))
                continue
            if stat.S_ISDIR(kind.st_mode):
                yield from self._folder(path)
            elif stat.S_ISREG(kind.st_mode):
                yield path
            elif stat.S_ISLNK(kind.st_mode):
                yield UnreadableFile(path, "is a symbolic link, and links are not followed")
            else:
                yield UnreadableFile(path, "is not a regular file")

    def _folder(self, top: str) -> Iterator[str | UnreadableFile]:
        remaining = [top]
        while remaining:
            path = remaining.pop()
            try:
                kind = os.stat(path, follow_symlinks=self._follow)  # noqa: PTH116
                if stat.S_ISREG(kind.st_mode):
                    yield path
                elif not stat.S_ISDIR(kind.st_mode):
                    self.skipped += 1
                elif (place := (kind.st_dev, kind.st_ino)) not in self._entered:
                    self._entered.add(place)
                    names = sorted(os.listdir(path), reverse=True)  # noqa: PTH208 - as above
                    remaining += [os.path.join(path, name) for name in names]  # noqa: PTH118 - as above
            except OSError as error:
                yield UnreadableFile(path, _problem(error))


def hash_file(
    path: str | PathLike[str],
    algorithms: Sequence[Algorithm] = DEFAULT_ALGORITHMS,
    *,
    follow_symlinks: bool = False,
    stop: threading.Event | None = None,
) -> FileHashes | UnreadableFile:
    """Reads a regular file once and computes all its digests on the way, and once more for PDQ if it is a picture.

    A file that grows or shrinks meanwhile is hashed as it was read. Raises `Stopped` soon after `stop` is set, and
    `ConfigurationError` if PDQ is asked for without `hashmatch[images]`.
    """
    pictures = _picture_hasher() if Algorithm.PDQ in algorithms else None
    return _hash_file(os.fspath(path), _digests(algorithms), pictures, follow_symlinks=follow_symlinks, stop=stop)


def _hash_file(
    name: str,
    algorithms: Sequence[Algorithm],
    pictures: PictureHasher | None,
    *,
    follow_symlinks: bool,
    stop: threading.Event | None,
) -> FileHashes | UnreadableFile:
    if "\0" in name:
        return UnreadableFile(name, _NO_NAME)
    hashers = [_hasher(algorithm) for algorithm in algorithms]
    flags = _OPEN_FLAGS | (0 if follow_symlinks else getattr(os, "O_NOFOLLOW", 0))
    try:
        with os.fdopen(os.open(name, flags), "rb", buffering=0) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return UnreadableFile(name, "is not a regular file")
            size = 0
            buffer = bytearray(_READ_SIZE)
            view = memoryview(buffer)
            while read := file.readinto(buffer):
                if stop is not None and stop.is_set():
                    raise Stopped
                for hasher in hashers:
                    hasher.update(view[:read])
                size += read
            picture = None if pictures is None else _hash_picture(file, pictures, stop)
    except OSError as error:
        return UnreadableFile(name, _problem(error))
    hashes = tuple(Hash(algorithm, hasher.digest()) for algorithm, hasher in zip(algorithms, hashers, strict=True))
    if picture is None:
        return FileHashes(name, size, hashes)
    return FileHashes(name, size, hashes + picture.hashes, picture.problem)


def _hash_picture(file: io.FileIO, pictures: PictureHasher, stop: threading.Event | None) -> PictureHashes:
    file.seek(0)
    buffered = io.BufferedReader(file, _READ_SIZE)
    try:
        picture = pictures.of_file(buffered, stop)
    finally:
        buffered.detach()  # whoever opened the file closes it
    if stop is not None and stop.is_set():
        raise Stopped
    return picture


@contextmanager
def hash_files(
    paths: Iterable[str | UnreadableFile],
    algorithms: Sequence[Algorithm] = DEFAULT_ALGORITHMS,
    *,
    jobs: int | None = None,
    follow_symlinks: bool = False,
) -> Iterator[Iterator[FileHashes | UnreadableFile]]:
    """Hashes the files of a `Walk`, or of any iterable of paths, in `jobs` threads; hands them out in order.

        with hash_files(Walk(["reports"])) as files:
            for file in files: ...

    At most a few files a thread are read ahead of what was taken, and no more pixels are decoded at a time than one
    picture of the greatest size has. Leaving the context stops the reading at once.
    """
    pictures = _picture_hasher() if Algorithm.PDQ in algorithms else None
    digests = _digests(algorithms)
    threads = jobs if jobs is not None else available_cores()
    stop = threading.Event()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="hash")

    def hashed() -> Iterator[FileHashes | UnreadableFile]:
        ahead: deque[Future[FileHashes | UnreadableFile] | UnreadableFile] = deque()
        for path in paths:
            if isinstance(path, UnreadableFile):
                ahead.append(path)
            else:
                ahead.append(
                    pool.submit(_hash_file, path, digests, pictures, follow_symlinks=follow_symlinks, stop=stop)
                )
            if len(ahead) >= 4 * threads:
                yield _result(ahead.popleft())
        while ahead:
            yield _result(ahead.popleft())

    try:
        yield hashed()
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)


def available_cores() -> int:
    """How many cores this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        return os.cpu_count() or 1


def _result(entry: Future[FileHashes | UnreadableFile] | UnreadableFile) -> FileHashes | UnreadableFile:
    return entry if isinstance(entry, UnreadableFile) else entry.result()


def _picture_hasher() -> PictureHasher:
    if not images_available():
        raise ConfigurationError("PDQ of pictures needs Pillow and numpy: pip install 'hashmatch[images]'")
    # Not before it is needed: it takes longer to load than all the rest of the client.
    from hashmatch_client._pictures import PictureHasher

    return PictureHasher()


def _digests(algorithms: Sequence[Algorithm]) -> list[Algorithm]:
    return [algorithm for algorithm in algorithms if algorithm is not Algorithm.PDQ]


def _hasher(algorithm: Algorithm) -> _Hasher:
    if algorithm not in DIGEST_ALGORITHMS:
        raise ValueError(f"{algorithm.title} of a file is not computed here")
    return hashlib.new(algorithm.value, usedforsecurity=False)


def _problem(error: OSError) -> str:
    return error.strerror or type(error).__name__
