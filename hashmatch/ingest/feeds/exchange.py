"""Another instance's lists, from its repository: a directory or HTTPS.

What is pulled is the bundle of one list, whole each time. It counts only if everything that vouches for it verifies
(`hashmatch.trust.exchange_client`), and then goes through staging, gates and approvals as any delivery does. The
checkpoint holds the versions of what vouched for it: a trust state that was set back behind them is noticed.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator
from http import HTTPStatus
from pathlib import Path

from hashmatch.ingest.feeds.body import Page
from hashmatch.ingest.feeds.client import FeedClient
from hashmatch.ingest.feeds.credentials import UserCredentials, read_credentials
from hashmatch.ingest.feeds.definition import FeedDefinition
from hashmatch.ingest.feeds.errors import FeedError, FeedFailure
from hashmatch.model.clock import Clock
from hashmatch.trust.exchange_client import METADATA, Fetch, Pulled, from_directory, position_of, pull, versions_in
from hashmatch.trust.trust_state import ExchangeError, open_trust

_ROOT = re.compile(rf"{METADATA}[0-9]+\.root\.json")


class ExchangeBody:
    """The client for another instance. Positions are the versions of its roles."""

    format = "bundle"
    stale_after = float("inf")
    whole = True
    # Lines of a bundle, which ends with its own counts.
    counted = False

    def connect(self, feed: FeedDefinition, clock: Clock) -> FeedClient:
        """A client, which a directory does not need, with a password where there is one. Raises `FeedError`."""
        if not feed.credentials_file:
            return FeedClient(feed, clock)
        known = read_credentials(feed.credentials_file, UserCredentials)
        return FeedClient(feed, clock, auth=(known.username, known.password))

    async def pages(self, client: FeedClient, feed: FeedDefinition, since: str | None) -> AsyncGenerator[Page, None]:
        """One page: the bundle."""
        loop = asyncio.get_running_loop()

        def over_http(path: str) -> bytes | None:
            # On a thread: the library waits for each answer before it knows what to ask for next.
            return asyncio.run_coroutine_threadsafe(_get(client, path), loop).result()

        fetch = from_directory(Path(feed.directory)) if feed.directory else over_http
        pulled = await asyncio.to_thread(_pull, feed, since, fetch)
        # A round separates its pages; a bundle ends with its last line.
        document = pulled.bundle.removesuffix(b"\n")
        yield Page(document, document.count(b"\n"), position_of(pulled.versions))


def _pull(feed: FeedDefinition, since: str | None, fetch: Fetch) -> Pulled:
    try:
        with open_trust(Path(feed.trust_state)) as state:
            at_least = {} if since is None else versions_in(since)
            return pull(state, fetch, feed.target, at_least=at_least)
    except ExchangeError as error:
        raise FeedError(FeedFailure(str(error.reason)), str(error)) from error
    except OSError as error:
        raise FeedError(
            FeedFailure.STATE_DAMAGED, f"the trust state in {feed.trust_state} cannot be used: {error.strerror}"
        ) from error


async def _get(client: FeedClient, path: str) -> bytes | None:
    try:
        return (await client.get(client.url(f"/{path}"))).content
    except FeedError as error:
        if says_missing(path, error.status):
            return None
        raise


def says_missing(path: str, status: int) -> bool:
    """Whether a status of HTTP says that nothing lies under a path of a repository.

    Hosts that show nobody what they have, stores of objects for example, refuse what is not there. The next root is
    asked for in every round and hardly ever there, so that there a refusal says no more than that, as the framework's
    own client has it. Whoever is refused altogether is so for the timestamp too, which must be there.
    """
    return status == HTTPStatus.NOT_FOUND or (status == HTTPStatus.FORBIDDEN and _ROOT.fullmatch(path) is not None)
