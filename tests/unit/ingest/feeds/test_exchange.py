"""Another instance's repository over HTTP, behind hosts that answer in their own ways for what is not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from hashmatch.ingest.feeds.bodies import BODIES
from hashmatch.ingest.feeds.body import Page
from hashmatch.ingest.feeds.definition import FeedDefinition, load_definitions
from hashmatch.ingest.feeds.errors import FeedError
from hashmatch.model.clock import SystemClock
from hashmatch.trust.trust_state import begin_trust
from tests.support.exchange import TARGET, Hotline
from tests.support.simulators.body import Body, Reply, Request

BUNDLE = b'{"the": "first"}\n{"and": "last"}\n'


class Host(Body):
    """Serves a directory; what it does not have it answers with `missing`."""

    kind = "exchange"
    path = "/repository"
    credentials = ""
    directory: Path
    missing = 404

    def answer(self, request: Request) -> Reply:
        place = self.directory / request.path.removeprefix(f"{self.path}/")
        return Reply(200, place.read_bytes()) if place.is_file() else Reply(self.missing)


@pytest.fixture
def host(simulate, tmp_path: Path) -> Host:
    hotline = Hotline(tmp_path / "repository")
    hotline.publish(BUNDLE)
    begin_trust(tmp_path / "trust", hotline.first_root)
    host = simulate(Host)
    host.directory = hotline.directory
    return host


def subscribed(host: Host, place: Path, **settings: object) -> FeedDefinition:
    file = place / "feeds.toml"
    stated = {"url": host.url, "target": TARGET, "trust_state": str(place / "trust")}
    lines = [f'{name} = "{value}"\n' for name, value in stated.items()]
    lines += [f"{name} = {value}\n" for name, value in settings.items()]
    file.write_text(f'[feed.theirs]\nkind = "exchange"\nlist = "theirs"\n{"".join(lines)}', "utf-8")
    (feed,) = load_definitions(file)
    return feed


async def pulled(feed: FeedDefinition) -> Page:
    body = BODIES["exchange"]
    async with body.connect(feed, SystemClock()) as client:
        (page,) = [page async for page in body.pages(client, feed, None)]
    return page


@pytest.mark.parametrize("missing", [404, 403])
async def test_a_host_may_refuse_what_is_not_there(missing, host: Host, tmp_path: Path):
    """Stores of objects answer so, and no next root is what there is nearly always."""
    host.missing = missing
    assert (await pulled(subscribed(host, tmp_path))).document + b"\n" == BUNDLE
    assert host.requests[0].path == "/repository/metadata/2.root.json"


@pytest.mark.parametrize("status", [401, 403])
async def test_a_host_that_refuses_everything_does_not_take_our_credentials(status, host: Host, tmp_path: Path):
    host.interfere = lambda _: Reply(status)
    with pytest.raises(FeedError) as caught:
        await pulled(subscribed(host, tmp_path))
    assert (caught.value.reason, caught.value.status) == ("credentials", status)


async def test_what_is_referred_to_and_refused_is_not_taken_for_absent(host: Host, tmp_path: Path):
    host.interfere = lambda request: Reply(403) if "/targets/" in request.path else None
    with pytest.raises(FeedError) as caught:
        await pulled(subscribed(host, tmp_path))
    assert caught.value.reason == "credentials"


async def test_a_bundle_is_bounded_as_a_page_is(host: Host, tmp_path: Path):
    limit = 64 << 10
    host.interfere = lambda request: Reply(200, bytes(limit + 1)) if "/targets/" in request.path else None
    with pytest.raises(FeedError) as caught:
        await pulled(subscribed(host, tmp_path, maximum_page_bytes=limit))
    assert caught.value.reason == "too-large"
