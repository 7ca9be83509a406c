"""Tech Against Terrorism's hash list: JSON over HTTPS with a token that is good for five minutes.

`POST /token-auth/tcap/` trades a user and a password for the token. `GET /api/hash-list/v2/all?order=asc&after=...`
answers with records in the order of their last change, a link to the next page and a checkpoint: time and id of the
last record of the page.

The link is not followed. It counts records from the beginning, and a record that changes while we read moves to the
end: all that come after it slip forward by one, and the first of the next page is never seen. Going on after the
checkpoint of each page misses nothing.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator

import msgspec

from hashmatch.ingest.feeds.body import Page, PageLoop, decoded
from hashmatch.ingest.feeds.client import Answer, FeedClient
from hashmatch.ingest.feeds.credentials import UserCredentials, read_credentials
from hashmatch.ingest.feeds.definition import DAY, FeedDefinition
from hashmatch.ingest.feeds.errors import FeedError, FeedFailure
from hashmatch.model.clock import Clock
from hashmatch.model.prepared import prepared

AUTHENTICATE = "/token-auth/tcap/"
HASH_LIST = "/api/hash-list/v2/all"

_LONGEST_CHECKPOINT = 200


@prepared
class _Token(msgspec.Struct):
    token: str


@prepared
class _Page(msgspec.Struct):
    results: list[msgspec.Raw]
    next: str | None = None
    checkpoint: str | None = None


class TechAgainstTerrorismBody:
    """The client for Tech Against Terrorism. Positions are the body's checkpoints."""

    format = "tech-against-terrorism"
    # Not documented. A month is what a body of this size can be read anew after without harm.
    stale_after = 30 * DAY
    whole = False
    counted = True

    def connect(self, feed: FeedDefinition, clock: Clock) -> FeedClient:
        """A client; its credentials are traded for a token with the first page."""
        return FeedClient(feed, clock)

    async def pages(self, client: FeedClient, feed: FeedDefinition, since: str | None) -> AsyncGenerator[Page, None]:
        """The pages after a checkpoint."""
        loop = PageLoop(feed)
        session = _Session(client, feed)
        position = since or ""
        while True:
            loop.enter(position)
            answer = await session.get({"order": "asc", "after": position} if position else {"order": "asc"})
            found = decoded("hash-list", answer.content, _Page)
            if len(found.checkpoint or "") > _LONGEST_CHECKPOINT:
                raise FeedError(FeedFailure.MALFORMED, "hash-list: the checkpoint is too long")
            if found.results and not found.checkpoint:
                raise FeedError(FeedFailure.MALFORMED, "hash-list: a page with records has no checkpoint")
            reached = (found.checkpoint if found.results else None) or position
            if not found.next:
                yield Page(answer.content, len(found.results), reached)
                return
            yield Page(answer.content, len(found.results), None)
            position = reached


class _Session:
    """Requests with a token, which is drawn again when it has run out."""

    def __init__(self, client: FeedClient, feed: FeedDefinition) -> None:
        self._client = client
        self._feed = feed
        self._token = ""

    async def get(self, params: dict[str, str | int]) -> Answer:
        if self._token:
            try:
                return await self._get(params)
            except FeedError as error:
                if error.reason is not FeedFailure.CREDENTIALS:
                    raise
        await self._authenticate()
        return await self._get(params)

    async def _get(self, params: dict[str, str | int]) -> Answer:
        headers = {"Authorization": f"Bearer {self._token}"}
        return await self._client.get(self._client.url(HASH_LIST), params, headers)

    async def _authenticate(self) -> None:
        known = read_credentials(self._feed.credentials_file, UserCredentials)
        form = {"username": known.username, "password": known.password}
        answer = await self._client.send("POST", self._client.url(AUTHENTICATE), data=form)
        token = decoded("token-auth", answer.content, _Token).token
        if not token.isascii() or not token.isprintable():
            raise FeedError(FeedFailure.MALFORMED, "token-auth: the token cannot stand in a header")
        self._token = token
