"""Meta's ThreatExchange: JSON over HTTPS with an app's token.

`GET /PRIVACY_GROUP/threat_updates/?start_time=...` answers with updates in the order of their time and, in
`paging.next`, a link to the next page. The body remembers what was removed for ninety days: whoever comes later has to
read everything.

The token goes into the `Authorization` header and not, as the body's examples have it, into the query, where it would
end in the logs of whatever lies between. The links to next pages repeat it in their query: it is taken out of them.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import msgspec

from hashmatch.ingest.feeds.body import Link, Page, PageLoop, decoded, number_in, reached
from hashmatch.ingest.feeds.client import FeedClient
from hashmatch.ingest.feeds.credentials import TokenCredentials, read_credentials
from hashmatch.ingest.feeds.definition import DAY, FeedDefinition
from hashmatch.model.clock import Clock
from hashmatch.model.prepared import prepared

_FIELDS = "id,indicator,type,last_updated,should_delete,descriptors{id,owner{id,name},status,tags,added_on,reactions}"
_TOKEN_PARAMETER = "access_token"  # noqa: S105  its name
_TIME = re.compile(r"[0-9]{1,12}", re.ASCII)
# Whether updates of the very second are sent again is not documented.
_OVERLAP = 1


class _Update(msgspec.Struct):
    last_updated: Any = None


class _Paging(msgspec.Struct):
    next: Link | None = None


@prepared
class _Page(msgspec.Struct):
    data: list[_Update]
    paging: _Paging | None = None


class ThreatExchangeBody:
    """The client for ThreatExchange. Positions are the times of updates."""

    format = "threatexchange"
    # Five days less than the body remembers removals for: a round takes time too.
    stale_after = 85 * DAY
    whole = False
    counted = True

    def connect(self, feed: FeedDefinition, clock: Clock) -> FeedClient:
        """A client with the credentials of the feed. Raises `FeedError`."""
        known = read_credentials(feed.credentials_file, TokenCredentials)
        return FeedClient(feed, clock, headers={"Authorization": f"Bearer {known.access_token}"})

    async def pages(self, client: FeedClient, feed: FeedDefinition, since: str | None) -> AsyncGenerator[Page, None]:
        """The pages from a time on."""
        path = f"/{feed.privacy_group}/threat_updates"
        position = 0 if since is None else int(number_in(since))
        params: dict[str, str | int] = {"fields": _FIELDS, "limit": feed.page_size}
        if since is not None:
            params["start_time"] = max(0, position - _OVERLAP)
        loop = PageLoop(feed)
        url = f"{client.url(path)}/?{urlencode(params)}"
        while True:
            loop.enter(url)
            answer = await client.get(url)
            found = decoded("threat_updates", answer.content, _Page)
            position = max([position, *(_time_of(update.last_updated) for update in found.data)])
            link = found.paging.next if found.paging else None
            if not link:
                yield Page(answer.content, len(found.data), str(reached(position, answer, client)))
                return
            yield Page(answer.content, len(found.data), None)
            url = _without_token(client.linked(link, below=path))


def _time_of(value: Any) -> int:
    """The time of an update; 0 for one that says none, which says nothing of how far the page goes."""
    text = str(value) if isinstance(value, int | str) else ""
    return int(text) if _TIME.fullmatch(text) else 0


def _without_token(url: str) -> str:
    parts = urlsplit(url)
    query = [(name, value) for name, value in parse_qsl(parts.query) if name != _TOKEN_PARAMETER]
    return parts._replace(query=urlencode(query)).geturl()
