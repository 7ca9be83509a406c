"""Daily counts are exact, outlive process and store, and tell nobody anything."""

import asyncio
import json

import pytest
from prometheus_client import Gauge

from hashmatch.model.algorithms import Algorithm
from hashmatch.model.counts import Count, day_of, days_between, merged, seconds_left_of_day, total
from hashmatch.model.verdicts import Verdict
from hashmatch.service.config_duties import CountsSection
from hashmatch.service.daily_counts import CountKeeper, DailyCounts
from hashmatch.store.connection import Connection
from hashmatch.store.counts import KEPT_DAYS, CountError, CountFiles, CountStore
from hashmatch.store.keys import Keys

DAY = 86_400.0
MD5, PDQ = Algorithm.MD5, Algorithm.PDQ


@pytest.fixture
def files(tmp_path):
    return CountFiles(tmp_path / "counts")


@pytest.fixture
def server(store, clock):
    """Makes a process that counts; with files it is one with administration."""

    def server(files=None, counts_in=store.counts, **settings):
        counts = DailyCounts(clock)
        return counts, CountKeeper(
            counts, counts_in, files, CountsSection(**settings), clock, Gauge("kept", "", registry=None)
        )

    return server


def keep(keeper):
    asyncio.run(keeper.keep())


def counted(files, day):
    """What was counted on a day, over all runs."""
    result = {}
    for counts in files.runs(day).values():
        for each in counts:
            key = (each.list_id, each.algorithm, each.what)
            result[key] = result.get(key, 0) + each.count
    return result


def test_days_are_those_of_utc():
    assert day_of(1_800_000_000.0) == "2027-01-15"
    assert seconds_left_of_day(1_800_000_000.0) == 16 * 3_600
    assert list(days_between("2026-12-30", "2027-01-02")) == ["2026-12-30", "2026-12-31", "2027-01-01", "2027-01-02"]


def test_the_copy_that_has_got_further_wins_whichever_comes_first():
    less, more = (Count("", "md5", "match", 1),), (Count("", "md5", "match", 1), Count("a", "md5", "match", 2))
    assert total(more) == 3
    assert merged({"run": less}, {"run": more}) == merged({"run": more}, {"run": less}) == {"run": more}
    assert merged({"run": less}, {"other": more}) == {"run": less, "other": more}


def test_counts_of_all_servers_come_together_on_the_disk_of_the_one_that_administers(server, files, clock):
    counts, keeper = server()
    counts.count_verdict(MD5, Verdict.MATCH, 2)
    counts.count("alpha", MD5, "match", 2)
    counts.count_verdict(None, Verdict.NOT_DETERMINED, 1)
    keep(keeper)
    own, administering = server(files)
    own.count_verdict(MD5, Verdict.MATCH, 5)
    keep(administering)
    keep(administering)
    assert counted(files, day_of(clock.now())) == {
        ("", "md5", "match"): 7,
        ("alpha", "md5", "match"): 2,
        ("", "unknown", "not_determined"): 1,
    }


def test_a_restart_loses_nothing_that_was_kept_and_counts_nothing_twice(server, files, clock):
    for _ in range(3):
        counts, keeper = server(files)
        counts.count_verdict(MD5, Verdict.MATCH, 10)
        keep(keeper)
        counts.count_verdict(MD5, Verdict.MATCH, 1)
        keep(keeper)
        counts.count_verdict(MD5, Verdict.MATCH, 100)  # and is killed
    assert counted(files, day_of(clock.now())) == {("", "md5", "match"): 33}


def test_what_is_counted_is_kept_once_more_when_the_server_stops(server, files, clock):
    async def serve():
        counts, keeper = server(files)
        running = asyncio.create_task(keeper.run())
        await asyncio.sleep(0)
        counts.count_verdict(PDQ, Verdict.NO_KNOWN_MATCH, 4)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(serve())
    assert counted(files, day_of(clock.now())) == {("", "pdq", "no_known_match"): 4}


def test_a_day_that_is_over_gets_nothing_more(server, files, clock):
    counts, keeper = server(files)
    first = day_of(clock.now())
    counts.count_verdict(MD5, Verdict.MATCH, 1)
    clock.advance(DAY)
    keep(keeper)
    counts.count_verdict(MD5, Verdict.MATCH, 2)
    keep(keeper)
    assert counted(files, first) == {("", "md5", "match"): 1}
    assert counted(files, day_of(clock.now())) == {("", "md5", "match"): 2}
    assert list(counts.days()) == [day_of(clock.now())]


def test_while_the_store_is_down_counts_wait_and_an_own_disk_has_them_at_once(
    server, files, clock, store, sealing_key, tmp_path
):
    down = CountStore(Connection(f"unix://{tmp_path}/nobody.sock"), Keys("hashmatch"), sealing_key)
    counts, keeper = server(None, down)
    counts.count_verdict(MD5, Verdict.MATCH, 3)
    began = clock.now()
    keep(keeper)
    clock.advance(DAY)
    keep(keeper)
    assert keeper._gauge._value.get() == began
    keeper._store = store.counts
    keep(keeper)
    assert keeper._gauge._value.get() == clock.now()
    own, administering = server(files, down)
    own.count_verdict(MD5, Verdict.MATCH, 4)
    keep(administering)
    assert counted(files, day_of(clock.now())) == {("", "md5", "match"): 4}
    administering._store = store.counts
    keep(administering)
    assert counted(files, day_of(clock.now() - DAY)) == {("", "md5", "match"): 3}


def test_a_store_that_is_lost_takes_nothing_that_was_copied(server, files, clock, valkey):
    counts, keeper = server()
    counts.count_verdict(MD5, Verdict.MATCH, 3)
    keep(keeper)
    _, administering = server(files)
    keep(administering)
    valkey.flushall()
    keep(administering)
    assert counted(files, day_of(clock.now())) == {("", "md5", "match"): 3}


def test_days_are_copied_weeks_later_and_end_with_their_time(server, files, clock, valkey):
    counts, keeper = server()
    counts.count_verdict(MD5, Verdict.MATCH, 3)
    keep(keeper)
    (key,) = valkey.keys("hashmatch:c:*")
    assert 0 < valkey.ttl(key) <= KEPT_DAYS * DAY
    first = day_of(clock.now())
    clock.advance(39 * DAY)
    _, administering = server(files, retention_days=40)
    keep(administering)
    assert list(files.days()) == [first]
    clock.advance(2 * DAY)
    keep(administering)
    assert list(files.days()) == []


def test_the_store_learns_nothing(server, valkey, sealing_key):
    counts, keeper = server()
    counts.count("planted-list", MD5, "match", 3)
    keep(keeper)
    (key,) = valkey.keys("*")
    dumped = valkey.dump(key)
    for text in (b"planted", b"md5", b"match"):
        assert text not in dumped
    ((field, value),) = valkey.hgetall(key).items()
    valkey.hset(key, b"other", value)
    other_day = valkey.hset("hashmatch:c:2020-01-01", field, value)
    assert other_day
    store = keeper._store
    assert list(store.runs(key.decode().rpartition(":")[2])) == [counts.run]
    assert store.runs("2020-01-01") == {}


def test_a_file_that_is_damaged_is_said_and_left_as_it_is(server, files, clock, tmp_path):
    (tmp_path / "counts").mkdir()
    path = tmp_path / "counts" / f"{day_of(clock.now())}.json"
    path.write_text("{")
    with pytest.raises(CountError):
        files.runs(day_of(clock.now()))
    counts, keeper = server(files)
    counts.count_verdict(MD5, Verdict.MATCH, 3)
    keep(keeper)
    assert path.read_text() == "{"
    assert "cannot read" in keeper._failing


def test_files_hold_numbers_and_names_alone(server, files, clock, tmp_path):
    counts, keeper = server(files)
    counts.count("alpha", MD5, "match", 3)
    keep(keeper)
    content = json.loads((tmp_path / "counts" / f"{day_of(clock.now())}.json").read_text())
    assert content == {counts.run: [["alpha", "md5", "match", 3]]}
