"""The store is gone, or might as well be: negatives stay exact, possible matches are in doubt, and all heals itself."""

from __future__ import annotations

import threading

import grpc

from tests.faults.conftest import Begin
from tests.faults.harness.acts import FULL
from tests.faults.harness.history import MATCH, NEGATIVE, UNDETERMINED
from tests.faults.harness.load import ask_column
from tests.faults.harness.probes import BASE, NEVER, SHARED, STAYING, base_digests
from tests.faults.harness.proxy import Gate
from tests.faults.harness.table import row
from tests.faults.harness.trial import Trial
from tests.integration.serving import hash_text
from tests.integration.waiting import eventually

IN_DOUBT = "negatives exact, possible matches not determined, no act half done"
HEALED = "as when it is away; the archive puts everything back"


def assert_in_doubt(trial: Trial) -> None:
    """What the filter rules out is still a negative, and what it lets through is no match and no negative."""
    _, _, said = ask_column(trial.first.client)
    # The second list is small enough to be in memory: its opinions are known, and that there may be more is said.
    assert all(said[place].reasons for place in STAYING)
    assert {said[place].verdict for place in STAYING if place not in SHARED} == {UNDETERMINED}
    # One in thousands of what is not listed comes through the filter.
    assert {said[place].verdict for place in NEVER} <= {NEGATIVE, UNDETERMINED}
    assert NEGATIVE in {said[place].verdict for place in NEVER}


@row("Redis paused (SIGSTOP)", IN_DOUBT, short=True)
def test_paused(begin: Begin) -> None:
    trial = begin()
    with trial.acts.going_on(), trial.fault():
        trial.store.pause()
        trial.unready()
        assert_in_doubt(trial)
        trial.load.more(40)
        trial.store.resume()


@row("Redis killed (SIGKILL) and started again", IN_DOUBT)
def test_killed(begin: Begin) -> None:
    trial = begin()
    with trial.acts.going_on(), trial.fault():
        trial.store.kill()
        trial.unready()
        assert_in_doubt(trial)
        trial.load.more(40)
        trial.store.start(wait=False)


@row("Redis killed while segments are written", "the delivery is refused; staged again it is published")
def test_killed_while_segments_are_written(begin: Begin) -> None:
    trial = begin()
    delivery = hash_text(base_digests()[:60_000])
    # Not the first: some of the segment is there, and some is not.
    gate = Gate(_nth_block(40))
    refusals: list[grpc.RpcError] = []

    def stage() -> None:
        try:
            trial.first.client.stage(delivery, BASE, mode=FULL)
        except grpc.RpcError as error:
            refusals.append(error)

    with trial.fault():
        trial.proxy.hold(gate)
        staging = threading.Thread(target=stage)
        staging.start()
        gate.wait()
        trial.store.kill()
        trial.proxy.release(died=False)
        staging.join()
        assert [error.code() for error in refusals] == [grpc.StatusCode.UNAVAILABLE]
        trial.load.more(40)
        trial.store.start(wait=False)
    staged = trial.first.client.stage(delivery, BASE, mode=FULL)
    trial.first.client.approve(staged)
    trial.acts.publish(staged, lambda before: before.lacking(BASE, [place for place in STAYING if place >= 60]))
    trial.settled()


def _nth_block(number: int):
    seen = iter(range(number))
    return lambda command: b":b:" in command.key and next(seen, None) is None


@row("Redis restarted empty", HEALED, short=True)
def test_restarted_empty(begin: Begin) -> None:
    trial = begin()
    with trial.acts.going_on(), trial.fault():
        trial.store.kill()
        trial.store.erase()
        trial.store.start()
        trial.load.more(40)


@row("Redis flushed", HEALED)
def test_flushed(begin: Begin) -> None:
    trial = begin()
    with trial.acts.going_on(), trial.fault():
        trial.store.run("FLUSHALL")
        trial.load.more(40)


@row("Redis flushed again and again", HEALED)
def test_flushed_again_and_again(begin: Begin) -> None:
    trial = begin()
    with trial.acts.going_on(), trial.fault():
        for _ in range(10):
            trial.store.run("FLUSHALL")
            trial.load.more(10)


@row("Redis slow beyond the deadline", IN_DOUBT)
def test_slow(begin: Begin) -> None:
    trial = begin()
    with trial.acts.going_on(), trial.fault():
        # Longer than callers wait.
        trial.proxy.suffer(delay=6.0)
        trial.unready()
        assert_in_doubt(trial)
        trial.load.more(40)
        trial.proxy.clear()


@row("Redis slow, within the deadline", "everything as always, only later")
def test_slow_within_the_deadline(begin: Begin) -> None:
    trial = begin()
    with trial.fault():
        trial.proxy.suffer(delay=0.1)
        trial.load.more(20)
        _, _, said = ask_column(trial.first.client)
        assert {said[place].verdict for place in STAYING} == {MATCH}
        trial.acts.suppress(STAYING[0])
        trial.proxy.clear()


@row("Redis cut off (connections closed)", IN_DOUBT)
def test_cut_off(begin: Begin) -> None:
    trial = begin()
    with trial.acts.going_on(), trial.fault():
        trial.proxy.cut()
        trial.unready()
        assert_in_doubt(trial)
        trial.load.more(40)
        trial.proxy.clear()


@row("Redis reset (connections end with RST)", IN_DOUBT)
def test_reset(begin: Begin) -> None:
    trial = begin()
    with trial.acts.going_on(), trial.fault():
        trial.proxy.cut(reset=True)
        trial.unready()
        assert_in_doubt(trial)
        trial.load.more(40)
        trial.proxy.clear()


@row("connections to Redis reset again and again", "retried; acts are done once or not at all")
def test_interrupted(begin: Begin) -> None:
    trial = begin()
    with trial.acts.going_on(interval=0.02), trial.fault():
        for _ in range(60):
            trial.proxy.interrupt()
            trial.load.more(2)


@row("Redis half-open (nothing comes, nothing is closed)", IN_DOUBT, short=True)
def test_half_open(begin: Begin) -> None:
    trial = begin()
    with trial.acts.going_on(), trial.fault():
        trial.proxy.suffer(silent=True)
        trial.unready()
        assert_in_doubt(trial)
        trial.load.more(40)
        trial.proxy.clear()


@row("Redis behind a line of 20 kB/s", "possible matches not determined where blocks come too late")
def test_throttled(begin: Begin) -> None:
    trial = begin()
    with trial.acts.going_on(), trial.fault():
        trial.proxy.suffer(bytes_per_second=20_000.0)
        trial.load.more(60)
        trial.proxy.clear()


@row("bits flipped in what Redis answers", "damage is noticed: not determined, or refused")
def test_corrupted_answers(begin: Begin) -> None:
    trial = begin()
    with trial.acts.going_on(), trial.fault():
        trial.proxy.suffer(corrupted_down=0.2)
        eventually(lambda: trial.proxy.corrupted > 200, "bits are flipped", patience=60)
        trial.proxy.clear()
    trial.note(f"{trial.proxy.corrupted} bits flipped")


@row("bits flipped in what Redis is told", "what is written is read back; damage is healed from the archive")
def test_corrupted_questions(begin: Begin) -> None:
    trial = begin()
    with trial.acts.going_on(interval=0.02), trial.fault():
        trial.proxy.suffer(corrupted_up=0.05)
        eventually(lambda: trial.proxy.corrupted > 60, "bits are flipped", patience=60)
        trial.proxy.clear()
    trial.note(f"{trial.proxy.corrupted} bits flipped")


@row("Redis loading", IN_DOUBT)
def test_loading(begin: Begin) -> None:
    trial = begin()
    with trial.acts.going_on(), trial.fault():
        trial.store.rewrite()
        trial.store.kill()
        # Microseconds for each key; between them it answers, if only that it is loading.
        trial.store.start(wait=False, key_load_delay="10000", loading_process_events_interval_bytes="1024")
        eventually(lambda: b"loading:1" in trial.store.information(), "it is loading")
        trial.unready()
        assert_in_doubt(trial)
        trial.load.more(40)
        assert b"loading:1" in trial.store.information()
        trial.store.kill()
        trial.store.start(wait=False)
