"""Pulls a list from another instance's repository: the client workflow of The Update Framework (TUF).

Every attack has its own word. A repository that was set back to an earlier state is a rollback, one that stands still
beyond its expiry a freeze, metadata of different states side by side mix-and-match; what has too few valid signatures,
was changed or was cut short is refused as that. What was verified before a failure is remembered all the same: it can
only be newer.

https://theupdateframework.github.io/specification/latest/ describes the workflow; `tuf` carries it out.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, unquote

from tuf.api.exceptions import (
    BadVersionNumberError,
    DownloadError,
    DownloadHTTPError,
    DownloadLengthMismatchError,
    ExpiredMetadataError,
    LengthOrHashMismatchError,
    RepositoryError,
    UnsignedMetadataError,
)
from tuf.api.metadata import TargetFile
from tuf.ngclient import FetcherInterface, Updater, UpdaterConfig

from hashmatch.trust.trust_state import ROOT, ExchangeError, ExchangeFailure, TrustState

METADATA = "metadata/"
TARGETS = "targets/"
_NOT_FOUND = 404
_VERSIONED = re.compile(r"(\d+)\.(.+)\.json")

# What lies under a path of the repository; None if nothing does. What it raises comes out as it is.
Fetch = Callable[[str], bytes | None]


class Pulled(NamedTuple):
    """A list's bundle, and the versions of the roles that vouch for it."""

    bundle: bytes
    versions: Mapping[str, int]


def pull(state: TrustState, fetch: Fetch, target: str, *, at_least: Mapping[str, int] | None = None) -> Pulled:
    """The target as the repository has it now, verified. Raises `ExchangeError`, `OSError` and what `fetch` raises.

    `at_least` are versions that are known to have been seen, whatever the trust state remembers.
    """
    before = state.versions
    for role, version in (at_least or {}).items():
        if before.get(role, 0) < version:
            raise ExchangeError(
                ExchangeFailure.STATE_OUTDATED,
                f"the trust state knows {role} {before.get(role, 0)}, and {version} was seen: it was set back",
            )
    fetcher = _Fetcher(fetch)
    with tempfile.TemporaryDirectory(prefix="hashmatch-exchange-") as scratch:
        for role, content in state.metadata.items():
            (Path(scratch) / f"{quote(role, '')}.json").write_bytes(content)
        try:
            updater = Updater(
                scratch,
                METADATA,
                fetcher=fetcher,
                config=UpdaterConfig(app_user_agent="hashmatch"),
                # The root that a person trusted, or what it led to since.
                bootstrap=None,
            )
            found = updater.get_targetinfo(target)
        except (RepositoryError, DownloadError) as error:
            raise _refusal(error, fetcher) from error
        finally:
            state.replace(_verified(Path(scratch)))
    if found is None:
        raise ExchangeError(ExchangeFailure.NOT_PUBLISHED, f"the repository has no {target}")
    return Pulled(_bundle(found, fetcher), state.versions)


def from_directory(directory: Path) -> Fetch:
    """Reads a repository that is mounted here, or was carried over. Raises `ExchangeError` UNREACHABLE without one."""

    def fetch(path: str) -> bytes | None:
        if not (directory / METADATA).is_dir():
            raise ExchangeError(ExchangeFailure.UNREACHABLE, f"{directory} is no repository")
        try:
            return (directory / path).read_bytes()
        except FileNotFoundError:
            return None

    return fetch


def position_of(versions: Mapping[str, int]) -> str:
    """The versions as a checkpoint holds them."""
    return json.dumps(dict(sorted(versions.items())))


def versions_in(position: str) -> dict[str, int]:
    """The versions in a checkpoint. Raises `ExchangeError` STATE_DAMAGED."""
    try:
        return {str(role): int(version) for role, version in json.loads(position).items()}
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ExchangeError(ExchangeFailure.STATE_DAMAGED, "the checkpoint names no versions") from error


class _Fetcher(FetcherInterface):
    """Hands requests on, and remembers the last answer, which tells what is wrong with it."""

    def __init__(self, fetch: Fetch) -> None:
        self._get = fetch
        self.path = ""
        self.content = b""
        self.failure: Exception | None = None

    def _fetch(self, url: str) -> Iterator[bytes]:
        self.path = url
        try:
            content = self._get(url)
        except Exception as error:
            # The library makes one error of all; what went wrong on the way is for our caller.
            self.failure = error
            raise
        if content is None:
            raise DownloadHTTPError(f"there is no {url}", _NOT_FOUND)
        self.content = content
        return iter((content,))


def _verified(directory: Path) -> dict[str, bytes]:
    """What the library left behind: the newest that verified of each role."""
    return {unquote(path.name.removesuffix(".json")): path.read_bytes() for path in directory.glob("*.json")}


def _bundle(found: TargetFile, fetcher: _Fetcher) -> bytes:
    directory, slash, name = found.path.rpartition("/")
    digest = next(iter(found.hashes.values()))
    try:
        content = b"".join(fetcher.fetch(f"{TARGETS}{directory}{slash}{digest}.{name}"))
        found.verify_length_and_hashes(content)
    except (RepositoryError, DownloadError) as error:
        if not isinstance(error, LengthOrHashMismatchError):
            raise _refusal(error, fetcher) from error
        if len(fetcher.content) < found.length:
            raise ExchangeError(ExchangeFailure.TRUNCATED, f"{found.path} is cut short") from error
        raise ExchangeError(ExchangeFailure.TAMPERED, f"{found.path} is not what was signed") from error
    return content


def _refusal(error: Exception, fetcher: _Fetcher) -> Exception:
    """What keeps the repository from being trusted, in our words."""
    if fetcher.failure is not None:
        return fetcher.failure
    what = fetcher.path.removeprefix(METADATA)
    if isinstance(error, ExpiredMetadataError):
        return ExchangeError(ExchangeFailure.FREEZE, f"the repository is not kept up: {error}")
    if isinstance(error, UnsignedMetadataError):
        return ExchangeError(ExchangeFailure.TOO_FEW_SIGNATURES, f"{what}: {error}")
    if isinstance(error, BadVersionNumberError):
        if _is_of_another_version(what, fetcher.content) or _role(what) not in (ROOT, "timestamp", "snapshot"):
            return ExchangeError(ExchangeFailure.MIX_AND_MATCH, f"{what} is of another state than the rest: {error}")
        return ExchangeError(ExchangeFailure.ROLLBACK, f"{what} is older than what was seen before: {error}")
    if isinstance(error, DownloadHTTPError) and _role(what) == "timestamp":
        # The one role that nothing refers to.
        return ExchangeError(ExchangeFailure.UNREACHABLE, f"there is no {what}: it is no repository, or not released")
    if isinstance(error, DownloadHTTPError):
        return ExchangeError(ExchangeFailure.MIX_AND_MATCH, f"the repository lacks {what}, which it refers to")
    if isinstance(error, DownloadLengthMismatchError):
        return ExchangeError(ExchangeFailure.TAMPERED, f"{what} is longer than it may be")
    if _is_cut_short(fetcher.content):
        return ExchangeError(ExchangeFailure.TRUNCATED, f"{what} is cut short")
    if isinstance(error, LengthOrHashMismatchError) and _is_of_another_version(what, fetcher.content):
        return ExchangeError(ExchangeFailure.MIX_AND_MATCH, f"{what} is of another state than the rest")
    return ExchangeError(ExchangeFailure.TAMPERED, f"{what} is not what was signed")


def _role(name: str) -> str:
    versioned = _VERSIONED.fullmatch(name)
    return versioned[2] if versioned else name.removesuffix(".json")


def _is_of_another_version(name: str, content: bytes) -> bool:
    """Whether what lies under a version's name says that it is another version."""
    versioned = _VERSIONED.fullmatch(name)
    try:
        return versioned is not None and int(json.loads(content)["signed"]["version"]) != int(versioned[1])
    except (ValueError, KeyError, TypeError, RecursionError):
        return False


def _is_cut_short(content: bytes) -> bool:
    """Whether a JSON document ends before its end."""
    try:
        json.loads(content)
    except json.JSONDecodeError as error:
        return error.pos >= len(content.rstrip()) - 1 or error.msg.startswith("Unterminated")
    except (ValueError, RecursionError):
        return False
    return False
