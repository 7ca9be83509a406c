"""What a body is to a round: pages of its own format, and the position that the whole of them reaches."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager
from typing import Annotated, NamedTuple, Protocol, TypeVar

import msgspec
from msgspec import Meta

from hashmatch.ingest.feeds.client import Answer, FeedClient
from hashmatch.ingest.feeds.definition import FeedDefinition
from hashmatch.ingest.feeds.errors import FeedError, FeedFailure
from hashmatch.model.clock import Clock

# In characters. What leads to a next page is a link or a token, and no document.
LONGEST_LINK = 8_192
_DIGEST_BYTES = 16

Link = Annotated[str, Meta(max_length=LONGEST_LINK)]
T = TypeVar("T")


class Page(NamedTuple):
    """A document as the body sent it, with the number of its records.

    `position` is None on every page but the last: only the whole range moves a checkpoint.
    """

    document: bytes
    records: int
    position: str | None


class Body(Protocol):
    """The client for one body.

    `format` names the delivery format of its documents. `stale_after` is how many seconds a position can be continued
    from; after that the body may have forgotten what it removed. `whole` says that it publishes everything each time.
    `counted` says that the records of its pages are those that the parser of the format counts.
    """

    format: str
    stale_after: float
    whole: bool
    counted: bool

    def connect(self, feed: FeedDefinition, clock: Clock) -> AbstractAsyncContextManager[FeedClient]:
        """A client with the credentials of the feed. Raises `FeedError`."""
        ...

    def pages(self, client: FeedClient, feed: FeedDefinition, since: str | None) -> AsyncGenerator[Page, None]:
        """Everything since a position, or everything there is; the last page, and only that one, has a position.

        Raises `FeedError`.
        """
        ...


class PageLoop:
    """Remembers where pages were, and refuses to go there again.

    Of a place it keeps a digest: what a body says of its next page is up to the body, and pages are many.
    """

    def __init__(self, feed: FeedDefinition) -> None:
        self._seen: set[bytes] = set()
        self._maximum = feed.maximum_pages

    def enter(self, place: str) -> None:
        """Go on to a page. Raises `FeedError` PAGE_LOOP, also if there were too many."""
        seen = hashlib.blake2b(place.encode(), digest_size=_DIGEST_BYTES).digest()
        if seen in self._seen:
            raise FeedError(FeedFailure.PAGE_LOOP, f"page {len(self._seen) + 1} is one that was read before")
        if len(self._seen) >= self._maximum:
            raise FeedError(FeedFailure.PAGE_LOOP, f"more than {self._maximum} pages")
        self._seen.add(seen)


def number_in(position: str) -> float:
    """A position that is a number. Raises `FeedError` MALFORMED."""
    try:
        return float(position)
    except ValueError:
        raise FeedError(FeedFailure.MALFORMED, "the checkpoint's position is no number") from None


def reached(position: int, answer: Answer, client: FeedClient) -> int:
    """A position in seconds since 1970, but never one ahead of the body's clock (or ours, if it tells none).

    Whoever went on from a time that has not come would never read anything again, and not notice.
    """
    return min(position, int(client.now() if answer.date is None else answer.date))


def decoded(what: str, content: bytes, form: type[T]) -> T:
    """The JSON of an answer as the body documents it. Raises `FeedError` MALFORMED for anything else, whatever it is.

    `what` is the answer's name in the error. The library names fields and types there, and no values.
    """
    try:
        return msgspec.json.decode(content, type=form)
    except msgspec.ValidationError as error:
        problem = str(error)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        # Of text that is no UTF-8, and of what is nested too deeply, the library raises no error of its own.
        problem = "is not JSON"
    raise FeedError(FeedFailure.MALFORMED, f"{what}: {problem}")
