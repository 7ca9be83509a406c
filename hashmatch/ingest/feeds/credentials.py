"""What a body knows us by: read from a file anew for every round, and never shown.

The file is TOML with the keys of the feed's kind, readable for its owner only.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

from hashmatch.ingest.feeds.errors import FeedError, FeedFailure
from hashmatch.model.prepared import prepared

_OPEN_TO_OTHERS = 0o037

# What can stand in a header or a form as it is.
Secret = Annotated[str, Meta(min_length=1, max_length=4_096, pattern=r"^[\x21-\x7e]+$")]


class Credentials(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a kind of feed needs. The `repr` shows nothing of it."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}(***)"


@prepared
class UserCredentials(Credentials, frozen=True, kw_only=True):
    """A user and a password: NCMEC, Tech Against Terrorism."""

    username: Secret
    password: Annotated[str, Meta(min_length=1, max_length=4_096)]


@prepared
class StopNciiCredentials(Credentials, frozen=True, kw_only=True):
    """The subscription's key and one for each function; without `feedback_key` no feedback can be sent."""

    subscription_key: Secret
    fetch_key: Secret
    feedback_key: str = ""


@prepared
class TokenCredentials(Credentials, frozen=True, kw_only=True):
    """An app's access token: ThreatExchange."""

    access_token: Secret


C = TypeVar("C", bound=Credentials)


def read_credentials(file: str, kind: type[C]) -> C:
    """The credentials in a file. Raises `FeedError` CREDENTIALS, also if others than the owner may read it."""
    path = Path(file)
    try:
        if path.stat().st_mode & _OPEN_TO_OTHERS:
            raise FeedError(FeedFailure.CREDENTIALS, f"{path} is open to others; chmod it to 600")
        return msgspec.convert(tomllib.loads(path.read_text("utf-8")), kind)
    except OSError as error:
        raise FeedError(FeedFailure.CREDENTIALS, f"cannot read {path}: {error.strerror}") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError):
        # Without the cause: its text could quote the file.
        keys = ", ".join(kind.__struct_fields__)
        raise FeedError(FeedFailure.CREDENTIALS, f"{path} does not hold {keys} as TOML") from None
