"""StopNCII: JSON over HTTPS with two keys in headers.

`GET /FetchHashes?startTimestamp=...&pageSize=...` answers with records in the order of their last change, a token for
the next page, whether there is one, and the timestamp from which to go on the next time.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator

import msgspec

from hashmatch.ingest.feeds.body import Link, Page, PageLoop, decoded, number_in, reached
from hashmatch.ingest.feeds.client import FeedClient
from hashmatch.ingest.feeds.credentials import StopNciiCredentials, read_credentials
from hashmatch.ingest.feeds.definition import DAY, FeedDefinition
from hashmatch.ingest.feeds.errors import FeedError, FeedFailure
from hashmatch.model.clock import Clock
from hashmatch.model.prepared import prepared

FETCH = "/FetchHashes"

# What the public client of the open-source peer begins with; that zero is taken is not documented.
_BEGINNING = 10
# Whether records of the very second are sent again is not documented either.
_OVERLAP = 1


@prepared
class _Page(msgspec.Struct):
    hasMoreRecords: bool  # noqa: N815
    hashRecords: list[msgspec.Raw] | None = None  # noqa: N815
    nextPageToken: Link | None = None  # noqa: N815
    nextSetTimestamp: int | None = None  # noqa: N815


class StopNciiBody:
    """The client for StopNCII. Positions are the body's timestamps."""

    format = "stopncii"
    # Not documented. The peer, written by people who use the service, begins anew after thirty days.
    stale_after = 30 * DAY
    whole = False
    counted = True

    def connect(self, feed: FeedDefinition, clock: Clock) -> FeedClient:
        """A client with the credentials of the feed. Raises `FeedError`."""
        known = read_credentials(feed.credentials_file, StopNciiCredentials)
        return FeedClient(feed, clock, headers=keys_for(known.subscription_key, known.fetch_key))

    async def pages(self, client: FeedClient, feed: FeedDefinition, since: str | None) -> AsyncGenerator[Page, None]:
        """The pages from a timestamp on."""
        position = _BEGINNING if since is None else int(number_in(since))
        start = max(_BEGINNING, position - _OVERLAP)
        loop = PageLoop(feed)
        token = ""
        while True:
            loop.enter(token)
            params: dict[str, str | int] = {"startTimestamp": start, "pageSize": feed.page_size}
            if token:
                params["nextPageToken"] = token
            answer = await client.get(client.url(FETCH), params)
            found = decoded("FetchHashes", answer.content, _Page)
            records = len(found.hashRecords or ())
            position = max(position, found.nextSetTimestamp or 0)
            if not found.hasMoreRecords:
                yield Page(answer.content, records, str(reached(position, answer, client)))
                return
            if not found.nextPageToken:
                raise FeedError(FeedFailure.MALFORMED, "FetchHashes: there are more records but no token for them")
            yield Page(answer.content, records, None)
            token = found.nextPageToken


def keys_for(subscription_key: str, function_key: str) -> dict[str, str]:
    """The headers by which the body knows us and what we may do."""
    return {"x-functions-key": function_key, "Ocp-Apim-Subscription-Key": subscription_key}
