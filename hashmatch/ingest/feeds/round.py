"""A round: everything that a body published since the list's checkpoint, as one delivery.

The rules:

* A round continues from the checkpoint of the generation that is **published**, and only on top of exactly that
  generation. What is staged and never published moves nothing.
* It is incremental where there is a checkpoint of the same source that the body can still continue from, and the whole
  list otherwise.
* It yields the pages as they come. If it ends in an error the delivery has no end, and nothing is staged.
* Its checkpoint is known when its last page was read, and travels with the delivery.
* What was staged counts only if the parser met every record that the pages have: what it passed over would be missing,
  and the checkpoint would lie behind it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from hashmatch.ingest.feeds.body import Body
from hashmatch.ingest.feeds.client import FeedClient
from hashmatch.ingest.feeds.definition import FeedDefinition
from hashmatch.ingest.feeds.errors import FeedError, FeedFailure
from hashmatch.ingest.staging import DeliveryHeader
from hashmatch.model.feeds import FeedCheckpoint
from hashmatch.model.vetting import DeliveryMode
from hashmatch.store.manifest import ListState

_PIECE = 1 << 18


class FeedRound:
    """One round of one feed. `pages` and `records` count what was read so far."""

    def __init__(
        self, feed: FeedDefinition, body: Body, client: FeedClient, state: ListState, *, now: float, full: bool = False
    ) -> None:
        """`state` is what is published of the list; `full` asks for everything whatever it says.

        Raises `FeedError` WRONG_NATURE if the list is of another nature than what the body publishes.
        """
        if not feed.fits(state.definition.nature):
            published = "" if feed.nature is None else feed.nature.title
            raise FeedError(FeedFailure.WRONG_NATURE, f"the body publishes {published} material, the list is for other")
        self._feed = feed
        self._body = body
        self._client = client
        self._state = state
        self._began = now
        self._since = None if full and not body.whole else self._continued()
        self._checkpoint: FeedCheckpoint | None = None
        self.pages = 0
        self.records = 0

    @property
    def full(self) -> bool:
        """Whether everything is read."""
        return self._since is None or self._body.whole

    @property
    def header(self) -> DeliveryHeader:
        """What the delivery is."""
        return DeliveryHeader(
            list_id=self._feed.list,
            format=self._body.format,
            mode=DeliveryMode.FULL if self.full else DeliveryMode.INCREMENTAL,
            staged_by=self._feed.actor,
            as_of=self._began,
            base_number=self._state.last_number,
        )

    def checkpoint(self) -> FeedCheckpoint:
        """Up to where the delivery goes. Raises `FeedError` unless it was read to its end."""
        if self._checkpoint is None:
            raise FeedError(FeedFailure.MALFORMED, "the round was not read to its end")
        return self._checkpoint

    def check_parsed(self, records: int) -> None:
        """Hold what the parser met against the pages. Raises `FeedError` RECORDS_LOST if it met fewer records."""
        if self._body.counted and records < self.records:
            raise FeedError(
                FeedFailure.RECORDS_LOST, f"the pages have {self.records} records, and the parser met {records}"
            )

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """The delivery's bytes. Raises `FeedError`."""
        since = None if self._since is None else self._since.position
        async with aclosing(self._body.pages(self._client, self._feed, since)) as pages:
            async for page in pages:
                if self._checkpoint is not None:
                    raise FeedError(FeedFailure.MALFORMED, "a page after the last one")
                self.pages += 1
                self.records += page.records
                for low in range(0, len(page.document), _PIECE):
                    yield page.document[low : low + _PIECE]
                yield b"\n"
                if page.position is not None:
                    self._checkpoint = FeedCheckpoint(
                        feed=self._feed.name,
                        source=self._feed.source,
                        position=page.position,
                        read_at=self._began,
                    )
        if self._checkpoint is None:
            raise FeedError(FeedFailure.MALFORMED, "the range ended without its last page")

    def _continued(self) -> FeedCheckpoint | None:
        generation = self._state.generation
        checkpoint = None if generation is None else generation.checkpoint
        if checkpoint is None or (checkpoint.feed, checkpoint.source) != (self._feed.name, self._feed.source):
            return None
        if self._began - checkpoint.read_at > self._body.stale_after:
            return None
        return checkpoint
