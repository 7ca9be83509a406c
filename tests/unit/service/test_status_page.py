"""The page for people: what it tells, what it withholds, and that it needs nothing but itself."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from hashmatch.columns.placement import PlacementSecret
from hashmatch.index.refresher import Served
from hashmatch.index.snapshot import Snapshot
from hashmatch.model.algorithms import Algorithm
from hashmatch.model.lists import ListDefinition, ListNature
from hashmatch.model.verdicts import Verdict
from hashmatch.service.config import Config
from hashmatch.service.config_duties import MetricsSection
from hashmatch.service.config_serving import StoreSection
from hashmatch.service.listeners import MATCH_SERVICE
from hashmatch.service.metrics import Metrics
from hashmatch.service.recent_rates import MAXIMUM_SAMPLES, RecentRates, counters_of, quantile
from hashmatch.service.status_charts import Line, chart
from hashmatch.service.status_page import StatusPage
from hashmatch.store.manifest import Generation, ListState, Manifest, ManifestHeader

from .conftest import ManualClock

DIGEST = "0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0"
VOID = {"meta", "br"}


class Document(HTMLParser):
    """Reads a page, and fails if its elements are not nested."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.attributes: list[tuple[str, str | None]] = []
        self.text: list[str] = []
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def a_list(list_id: str, *, title: str = "", nature: ListNature = ListNature.ILLEGAL, as_of: float) -> ListState:
    generation = Generation(
        number=7,
        epoch=12,
        published_at=as_of,
        as_of=as_of,
        segments=(),
        counts={int(Algorithm.SHA256): 1_234},
        approvals=2,
        approvals_required=2,
    )
    definition = ListDefinition(list_id=list_id, body="A body", nature=nature, max_age=86_400, title=title)
    return ListState(definition=definition, generation=generation, last_number=7)


class World:
    """What a page tells about, set by a test."""

    def __init__(self, metrics: Metrics, clock: ManualClock) -> None:
        self.clock = clock
        self.metrics = metrics
        self.config = Config()
        self.components = {"store": "ok", "snapshot": "ok"}
        self.lists: list[ListState] = []
        self.approvals_required = 2
        self.loaded = True
        self.recent = RecentRates(counters_of(metrics, match_service=MATCH_SERVICE), clock)

    def served(self) -> Served | None:
        if not self.loaded:
            return None
        manifest = Manifest(
            store_id="s",
            epoch=4_711,
            published_at=self.clock.now(),
            expires_at=self.clock.now() + 1_000,
            placement=PlacementSecret(1, 2),
            approvals_required=self.approvals_required,
            lists={state.definition.list_id: state for state in self.lists},
        )
        header = ManifestHeader(epoch=4_711, renewals=0, key_id="", nonce=b"")
        return Served(Snapshot(manifest, {}, {}), header, self.clock.now(), self.clock.monotonic())

    def page(self) -> str:
        page = StatusPage(self.config, served=self.served, clock=self.clock, version="1.2.3")
        return page.render(self.components, self.recent.intervals())

    def text(self) -> str:
        return " ".join(Document(self.page()).text)


@pytest.fixture
def world(metrics: Metrics, clock: ManualClock) -> World:
    return World(metrics, clock)


def test_it_tells_version_epoch_and_lists(world: World, clock: ManualClock) -> None:
    world.lists = [a_list("hotline", title="Images", as_of=clock.now() - 7_500)]
    text = world.text()
    for expected in (
        "version 1.2.3",
        "epoch 4711",
        "hotline",
        "Images, A body",
        "illegal",
        "1,234 SHA256",
        "2 h 5 min",
    ):
        assert expected in text
    assert "stale" not in text


def test_a_list_past_its_maximum_age_is_called_stale(world: World, clock: ManualClock) -> None:
    world.lists = [a_list("old", as_of=clock.now() - 86_401)]
    assert "stale: gives no negatives" in world.text()


def test_a_corpus_and_a_list_without_a_generation_are_told_apart_from_what_is_served(
    world: World, clock: ManualClock
) -> None:
    unpublished = ListState(definition=a_list("new", as_of=0).definition)
    world.lists = [a_list("harmless", nature=ListNature.KNOWN_GOOD, as_of=clock.now()), unpublished]
    text = world.text()
    assert "known-good" in text
    assert "corpus, never matched" in text
    assert "not published" in text


def test_it_says_why_the_server_is_not_ready(world: World) -> None:
    world.components["store"] = "the store did not answer in time"
    text = world.text()
    assert "not ready" in text
    assert "the store did not answer in time" in text


def test_before_the_first_snapshot_it_is_a_page_all_the_same(world: World) -> None:
    world.loaded = False
    text = world.text()
    assert "no snapshot is loaded" in text
    assert "nothing yet" in text


def test_a_relaxed_policy_is_visible(world: World) -> None:
    assert "(relaxed)" not in world.text()
    world.approvals_required = 1
    assert "(relaxed)" in world.text()


def test_a_title_is_text_and_not_markup(world: World, clock: ManualClock) -> None:
    title = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'&"
    world.lists = [a_list("hotline", title=title, as_of=clock.now())]
    document = Document(world.page())
    assert not document.seen & {"script", "img"}
    assert title in "".join(document.text)


@pytest.mark.parametrize(
    "shape",
    [DIGEST, DIGEST.upper(), DIGEST[:32], " ".join(re.findall("..", DIGEST)), ":".join(re.findall("..", DIGEST))],
)
def test_what_could_be_a_digest_is_withheld(world: World, clock: ManualClock, shape: str) -> None:
    world.lists = [a_list(DIGEST[:60], title=f"of {shape}.", as_of=clock.now())]
    world.components["store"] = shape
    page = world.page()
    assert shape not in page
    assert DIGEST[:32] not in page
    assert "(withheld)" in page


def test_the_configuration_is_shown_without_passwords(world: World) -> None:
    world.config = Config(
        store=StoreSection(
            url="redis://user:hunter2@store:6379/0?password=hunter2", password_file="/run/secrets/store"
        ),
        metrics=MetricsSection(listen="127.0.0.1:9464"),
    )
    page = world.page()
    assert "hunter2" not in page
    assert "/run/secrets/store" in page
    assert "127.0.0.1:9464" in page


def test_it_loads_nothing_and_runs_nothing(world: World) -> None:
    document = Document(world.page())
    assert not document.seen & {"script", "link", "img", "iframe", "object", "embed", "form", "a"}
    assert not {name for name, _ in document.attributes} & {"src", "href", "onload", "onclick", "style"}
    assert ("content", "default-src 'none'; style-src 'unsafe-inline'") in document.attributes
    assert "url(" not in world.page()
    assert "://" not in world.page()


def test_rates_and_latencies_are_those_between_two_samples(world: World, metrics: Metrics, clock: ManualClock) -> None:
    metrics.answers.count_hashes(Algorithm.SHA256, Verdict.MATCH, 1_000)
    world.recent.take()
    clock.advance(5)
    metrics.answers.count_hashes(Algorithm.SHA256, Verdict.MATCH, 10)
    metrics.answers.count_hashes(Algorithm.MD5, Verdict.MATCH, 5)
    metrics.answers.count_hashes(None, Verdict.NOT_DETERMINED, 50)
    batch = metrics.method("unary", MATCH_SERVICE, "BatchMatch")
    for _ in range(9):
        batch.finish("OK", 0.004)
    batch.finish("INTERNAL", 0.2)
    metrics.method("bidi_stream", MATCH_SERVICE, "BulkMatch").sent += 20
    world.recent.take()
    clock.advance(5)
    world.recent.take()
    busy, idle = world.recent.intervals()
    assert busy.hashes == {"match": 3, "no_known_match": 0, "not_determined": 10}
    assert (busy.batches, busy.bulk_batches, busy.failed) == (2, 4, 0.2)
    assert busy.median is not None
    assert 0.0025 < busy.median <= 0.005
    assert busy.p99 is not None
    assert 0.1 < busy.p99 <= 0.25
    assert (idle.batches, idle.failed, idle.median, idle.p99) == (0, 0, None, None)
    assert "not determined: <b>0</b>" in world.page()


def test_what_is_kept_does_not_grow(world: World, clock: ManualClock) -> None:
    for _ in range(MAXIMUM_SAMPLES + 50):
        world.recent.take()
        clock.advance(5)
    assert len(world.recent.intervals()) == MAXIMUM_SAMPLES - 1


def test_a_quantile_lies_in_the_bucket_of_its_call() -> None:
    counts = [0] * 16
    assert quantile(0.99, counts) is None
    counts[2] = 100
    assert quantile(0.5, counts) == pytest.approx(0.00175)
    counts[15] = 900
    assert quantile(0.99, counts) == 30.0


def test_a_chart_stays_within_its_frame_and_leaves_gaps() -> None:
    figure = chart("A <title>", [Line("a&b", [0, None, 5, 10]), Line("other", [])], capacity=8, show="{:.0f}".format)
    root = ElementTree.fromstring(figure)
    lines = root.findall(".//polyline")
    assert [line.get("class") for line in lines] == ["line0", "line0"]
    points = [tuple(map(float, point.split(","))) for line in lines for point in line.get("points", "").split()]
    assert all(0 <= x <= 320 and 0 <= y <= 80 for x, y in points)
    assert points[-1][0] == 320
    assert "highest 10" in figure
    assert "".join(root.itertext()).endswith("a&b: 10other: –")
