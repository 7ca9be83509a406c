"""NCMEC hash sharing v2: XML over HTTPS with a user and a password.

`GET /v2/entries?from=...&to=...` answers with a page and, in `paging/next`, the path of the next one, which is good for
twelve hours. Pages come in no order of time: only when the last page of a range was read is anything known up to `to`.

An entry that changes while a range is read leaves it, because its time is now later than `to`. It is in the next range;
but when everything is read anew, what is not seen counts as removed. So a second range follows that holds what changed
meanwhile.

How far a range reaches is the word of the body's clock, where it gives one: entries that it adds while ours runs ahead
would otherwise fall between two ranges. Ranges overlap a little as well, which costs nothing: an entry that comes again
in the state that it has is unchanged.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from typing import NamedTuple
from xml.parsers import expat

from hashmatch.ingest.feeds.body import LONGEST_LINK, Page, PageLoop, number_in
from hashmatch.ingest.feeds.client import FeedClient
from hashmatch.ingest.feeds.credentials import UserCredentials, read_credentials
from hashmatch.ingest.feeds.definition import FeedDefinition
from hashmatch.ingest.feeds.errors import FeedError, FeedFailure
from hashmatch.model.clock import Clock

NAMESPACE = "https://hashsharing.ncmec.org/hashsharing/v2"
ENTRIES = "/v2/entries"

_OVERLAP = 300.0
_ENTRIES = frozenset({"image", "video", "deletedimage", "deletedvideo"})
# As deep as the parser of the format goes: what is open is remembered, and a page may hold millions of tags.
_DEEPEST = 64
_PATH_NEXT = ("queryResult", "paging", "next")


class NcmecBody:
    """The client for NCMEC. Positions are seconds since 1970."""

    format = "ncmec"
    # The body does not forget: deleted entries stay visible as such.
    stale_after = float("inf")
    whole = False
    counted = True

    def connect(self, feed: FeedDefinition, clock: Clock) -> FeedClient:
        """A client with the credentials of the feed. Raises `FeedError`."""
        known = read_credentials(feed.credentials_file, UserCredentials)
        return FeedClient(feed, clock, auth=(known.username, known.password))

    async def pages(self, client: FeedClient, feed: FeedDefinition, since: str | None) -> AsyncGenerator[Page, None]:
        """The pages of one range, or of everything and then of what changed while that was read."""
        ranges = _Ranges(client, feed)
        if since is None:
            async for page in ranges.pages(0.0):
                yield page._replace(position=None)
            since = str(ranges.reached)
        async for page in ranges.pages(max(0.0, number_in(since) - _OVERLAP)):
            yield page


class _Ranges:
    """Reads ranges one after the other. `reached` is up to where the last one went, by the body's clock if possible."""

    def __init__(self, client: FeedClient, feed: FeedDefinition) -> None:
        self._client = client
        self._feed = feed
        self.reached = 0.0

    async def pages(self, start: float) -> AsyncGenerator[Page, None]:
        """The pages of the range from `start` until now."""
        now = self._client.now()
        self.reached = now
        loop = PageLoop(self._feed)
        loop.enter("")
        answer = await self._client.get(self._client.url(ENTRIES), {"from": _moment(start), "to": _moment(now)})
        if answer.date is not None:
            self.reached = min(now, answer.date)
        while True:
            # A page of a thousand entries keeps the interpreter busy for tens of milliseconds.
            found = await asyncio.to_thread(scan, answer.content)
            yield Page(answer.content, found.entries, None if found.next else f"{self.reached:.0f}")
            if not found.next:
                return
            loop.enter(found.next)
            answer = await self._client.get(self._client.linked(found.next, below=ENTRIES))


class Scanned(NamedTuple):
    """What a page says of itself."""

    entries: int
    next: str


def scan(document: bytes) -> Scanned:
    """The number of entries of a page and its link to the next one. Raises `FeedError` MALFORMED."""
    scanner = _Scanner()
    _read("a page", scanner.parser, document)
    return Scanned(scanner.entries, "".join(scanner.link).strip())


def refuse_document_type(document: bytes) -> None:
    """Raise `FeedError` MALFORMED for XML that has a document type or is nested without end, or is none."""
    depth = 0

    def start(*_: object) -> None:
        nonlocal depth
        depth += 1
        _check_depth(depth)

    def end(_: str) -> None:
        nonlocal depth
        depth -= 1

    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = _refuse
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    _read("the answer", parser, document)


def _read(what: str, parser: expat.XMLParserType, document: bytes) -> None:
    try:
        parser.Parse(document, True)
    except expat.ExpatError as error:
        fault = f"{expat.ErrorString(error.code)}, line {error.lineno}"
    except (ValueError, LookupError):
        # Of the encoding that a document names, the library says that it is none, or one of many bytes.
        fault = "unknown encoding"
    else:
        return
    raise FeedError(FeedFailure.MALFORMED, f"{what} is not XML: {fault}")


def _refuse(*_: object) -> None:
    # With a document type come entities, which can make much of little.
    raise FeedError(FeedFailure.MALFORMED, "a page has a document type")


def _check_depth(depth: int) -> None:
    if depth > _DEEPEST:
        raise FeedError(FeedFailure.MALFORMED, f"a page has more than {_DEEPEST} elements inside each other")


class _Scanner:
    def __init__(self) -> None:
        self.parser = expat.ParserCreate()
        self.parser.buffer_text = True
        self.parser.StartDoctypeDeclHandler = _refuse
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._text
        self.entries = 0
        self.link: list[str] = []
        self._path: list[str] = []

    def _start(self, name: str, _: dict[str, str]) -> None:
        name = name.rpartition(":")[2]
        if not self._path and name != _PATH_NEXT[0]:
            raise FeedError(FeedFailure.MALFORMED, "a page is no queryResult")
        self._path.append(name)
        _check_depth(len(self._path))
        # queryResult, images or videos, then the entries.
        if len(self._path) == 3 and name.lower() in _ENTRIES:
            self.entries += 1

    def _end(self, _: str) -> None:
        self._path.pop()

    def _text(self, text: str) -> None:
        if len(self._path) == 3 and tuple(self._path) == _PATH_NEXT:
            self.link.append(text)
            if sum(map(len, self.link)) > LONGEST_LINK:
                raise FeedError(FeedFailure.MALFORMED, "the link to the next page is too long")


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
