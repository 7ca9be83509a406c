"""What an operator states about a feed, and the file in which they stand.

```toml
[feed.ncmec-industry]
kind = "ncmec"
list = "ncmec-industry"
environment = "industry"
credentials_file = "/run/secrets/ncmec.toml"
```
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta, Struct

from hashmatch.model.errors import HashmatchError
from hashmatch.model.lists import ListNature, check_list_id

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,40}")
_TARGET = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}/[a-z0-9][a-z0-9._-]{0,62}\.bundle")
_PRIVACY_GROUP = re.compile(r"\d{1,20}")
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
HOUR = 3_600.0
DAY = 86_400.0

Kind = Literal["exchange", "ncmec", "stopncii", "tech-against-terrorism", "threatexchange"]


class Environment(Struct, frozen=True):
    """One of NCMEC's databases: a list of its own, with its own members and its own meaning."""

    url: str
    nature: ListNature


NCMEC_ENVIRONMENTS: Mapping[str, Environment] = MappingProxyType(
    {
        "industry": Environment("https://report.cybertip.org/hashsharing", ListNature.ILLEGAL),
        "industry-exploitative": Environment(
            "https://report.cybertip.org/exploitative-hashsharing", ListNature.EXPLOITATIVE
        ),
        "law-enforcement": Environment("https://lesp.ncmec.org/csam-hashsharing", ListNature.ILLEGAL),
        "npo": Environment("https://hashsharing.ncmec.org/npo", ListNature.ILLEGAL),
        "npo-exploitative": Environment("https://hashsharing.ncmec.org/exploitative", ListNature.EXPLOITATIVE),
        "npo-generative-ai": Environment("https://hashsharing.ncmec.org/generative-ai-csam", ListNature.ILLEGAL),
        "npo-generative-ai-exploitative": Environment(
            "https://hashsharing.ncmec.org/generative-ai-exploitative", ListNature.EXPLOITATIVE
        ),
    }
)
_DEFAULT_URLS: Mapping[str, str] = MappingProxyType(
    {
        "stopncii": "https://api.stopncii.org/v1",
        "tech-against-terrorism": "https://app.terrorismanalytics.org",
        "threatexchange": "https://graph.facebook.com/v21.0",
    }
)
_NATURES: Mapping[str, ListNature] = MappingProxyType(
    {"stopncii": ListNature.SELF_REPORTED, "tech-against-terrorism": ListNature.TERRORIST}
)


class FeedDefinitionError(Exception):
    """Feeds that cannot be run as they are stated. `problems` has one line each."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class FeedDefinition(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One feed. Spans are in seconds."""

    kind: Kind
    list: str
    credentials_file: str = ""
    name: str = ""
    environment: str = ""
    privacy_group: str = ""
    # Of another instance's repository: where it lies if not behind `url`, which list, and what is trusted of it.
    directory: str = ""
    target: str = ""
    trust_state: str = ""
    url: str = ""
    interval: Annotated[float, Meta(ge=60, le=30 * DAY)] = HOUR
    page_size: Annotated[int, Meta(ge=1, le=10_000)] = 1_000
    publish_automatically: bool = False
    ca_file: str = ""
    connect_timeout: Annotated[float, Meta(gt=0, le=60)] = 10.0
    request_timeout: Annotated[float, Meta(gt=0, le=600)] = 60.0
    attempts: Annotated[int, Meta(ge=1, le=20)] = 6
    first_pause: Annotated[float, Meta(gt=0, le=60)] = 0.5
    longest_pause: Annotated[float, Meta(gt=0, le=HOUR)] = 300.0
    maximum_page_bytes: Annotated[int, Meta(ge=1_024, le=1 << 30)] = 64 << 20
    maximum_pages: Annotated[int, Meta(ge=1, le=10_000_000)] = 200_000
    # NCMEC's links to a next page are good for twelve hours: a longer round could not end well.
    maximum_round: Annotated[float, Meta(gt=0, le=12 * HOUR)] = 11 * HOUR

    @property
    def base_url(self) -> str:
        """Where the body answers, without a slash at its end."""
        if self.url:
            return self.url.rstrip("/")
        if self.kind == "exchange":
            return Path(self.directory).absolute().as_uri()
        if self.kind == "ncmec":
            return NCMEC_ENVIRONMENTS[self.environment].url
        return _DEFAULT_URLS[self.kind]

    @property
    def source(self) -> str:
        """What identifies the data that are read: a checkpoint of another source says nothing here."""
        return f"{self.kind} {self.base_url} {self.environment}{self.privacy_group}{self.target}"

    @property
    def nature(self) -> ListNature | None:
        """What the body's data are; None if the operator has to know."""
        if self.kind == "ncmec":
            return NCMEC_ENVIRONMENTS[self.environment].nature
        return _NATURES.get(self.kind)

    @property
    def actor(self) -> str:
        """Who stages and publishes in the records."""
        return f"system:feed:{self.name}"

    def fits(self, nature: ListNature) -> bool:
        """Whether a list of that nature may carry these data."""
        return self.nature is None or nature.takes(self.nature)


def load_definitions(file: Path) -> tuple[FeedDefinition, ...]:
    """The feeds of a file, in its order. Raises `FeedDefinitionError`."""
    try:
        content = tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        raise FeedDefinitionError([f"{file}: {error.strerror}"]) from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise FeedDefinitionError([f"{file}: is not TOML: {error}"]) from error
    tables = content.pop("feed", {})
    problems = [f"{file}: {key}: belongs into a table [feed.NAME]" for key in content]
    if not isinstance(tables, dict) or not all(isinstance(table, dict) for table in tables.values()):
        raise FeedDefinitionError([*problems, f"{file}: feed: expected tables [feed.NAME]"])
    feeds: list[FeedDefinition] = []
    for name, table in tables.items():
        where = f"{file}: feed.{name}"
        try:
            feed = msgspec.convert(table, FeedDefinition)
        except msgspec.ValidationError as error:
            # The library names field and range, never the value.
            problems.append(f"{where}: {error}")
            continue
        feeds.append(msgspec.structs.replace(feed, name=name))
        problems += [f"{where}: {problem}" for problem in _problems(feeds[-1])]
    lists: dict[str, str] = {}
    for feed in feeds:
        other = lists.setdefault(feed.list, feed.name)
        if other != feed.name:
            problems.append(f"{file}: feed.{feed.name}: {feed.list} is the list of feed.{other} already")
    if problems:
        raise FeedDefinitionError(problems)
    return tuple(feeds)


def _problems(feed: FeedDefinition) -> Iterator[str]:
    if not _NAME.fullmatch(feed.name):
        yield "a feed's name has 1 to 41 characters of a-z 0-9 -"
    try:
        check_list_id(feed.list)
    except HashmatchError as error:
        yield f"list: {error.fields['list_id']}"
    if feed.kind == "ncmec":
        if feed.environment not in NCMEC_ENVIRONMENTS:
            yield f"environment: one of {', '.join(NCMEC_ENVIRONMENTS)}"
    elif feed.environment:
        yield f"environment: {feed.kind} has none"
    if feed.kind == "threatexchange":
        if not _PRIVACY_GROUP.fullmatch(feed.privacy_group):
            yield "privacy_group: the number of the group whose data are read"
    elif feed.privacy_group:
        yield f"privacy_group: {feed.kind} has none"
    yield from _exchange_problems(feed)
    if feed.url:
        yield from _url_problems(feed.url)


def _exchange_problems(feed: FeedDefinition) -> Iterator[str]:
    if feed.kind != "exchange":
        if not feed.credentials_file:
            yield "credentials_file: is required"
        for key in ("directory", "target", "trust_state"):
            if getattr(feed, key):
                yield f"{key}: {feed.kind} has none"
        return
    if feed.credentials_file and feed.directory:
        yield "credentials_file: a directory asks for none"
    if bool(feed.url) == bool(feed.directory):
        yield "url: state either url or directory"
    if not _TARGET.fullmatch(feed.target):
        yield "target: expected BODY/LIST.bundle"
    if not feed.trust_state:
        yield "trust_state: the directory that `hashmatch-admin exchange subscribe` made"


def _url_problems(text: str) -> Iterator[str]:
    try:
        url = urlsplit(text)
        host, _ = url.hostname, url.port
    except ValueError:
        yield "url: is not a URL"
        return
    if url.username is not None or url.password is not None:
        yield "url: credentials belong into credentials_file"
    if url.query or url.fragment:
        yield "url: has a query or a fragment"
    if not host or url.scheme not in ("https", "http"):
        yield "url: expected https://HOST/PATH"
    elif url.scheme == "http" and host not in _LOOPBACK:
        yield "url: plain http is for loopback only"
