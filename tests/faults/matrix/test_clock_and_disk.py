"""The clock is wrong, or the server's own disk cannot be written to."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hashmatch.v1 import common_pb2
from tests.faults.conftest import Begin
from tests.faults.harness.history import MATCH, NEGATIVE, UNDETERMINED
from tests.faults.harness.load import ask_column
from tests.faults.harness.probes import NEVER, STAYING
from tests.faults.harness.stores import limit_files
from tests.faults.harness.table import row
from tests.faults.harness.trial import Trial
from tests.integration.errors import refused
from tests.integration.waiting import eventually

_DAYS = 86_400
_JUMP = 40 * _DAYS
STALE = common_pb2.UNDETERMINED_REASON_LIST_STALE


class Clock:
    """The clock of the servers of a trial."""

    def __init__(self, trial: Trial) -> None:
        self._file = trial.directory / "clock"
        self.jump(0)

    @property
    def entry_point(self) -> tuple[str, ...]:
        return ("-m", "tests.faults.harness.clocked", str(self._file))

    def jump(self, seconds: int) -> None:
        """Be ahead of the machine's clock by so much, at once."""
        scratch = self._file.with_suffix(".new")
        scratch.write_text(f"{seconds}")
        scratch.replace(self._file)


def verdicts(trial: Trial, places: range) -> set[int]:
    """What is said of probes."""
    _, _, said = ask_column(trial.first.client)
    return {said[place].verdict for place in places}


@row(
    "clock jumps 40 days ahead, and back",
    "no negative from lists that look too old; all well when it is right",
    short=True,
)
def test_clock_ahead(begin: Begin, trial: Trial) -> None:
    clock = Clock(trial)
    begin(entry_point=clock.entry_point)
    with trial.fault():
        clock.jump(_JUMP)
        eventually(lambda: verdicts(trial, NEVER) == {UNDETERMINED}, "the lists look old")
        # What is listed is a match however old the list is.
        assert verdicts(trial, STAYING) == {MATCH}
        trial.load.more(40)
        assert verdicts(trial, NEVER) == {UNDETERMINED}
        clock.jump(0)


@row("clock jumps 40 days back, and ahead", "answers stay exact, or negatives are held back")
def test_clock_back(begin: Begin, trial: Trial) -> None:
    clock = Clock(trial)
    begin(entry_point=clock.entry_point)
    with trial.acts.going_on(), trial.fault():
        clock.jump(-_JUMP)
        trial.load.more(60)
        assert MATCH in verdicts(trial, STAYING)
        clock.jump(0)


@row("clock jumps back and forth, with acts", "answers stay exact, or negatives are held back; epochs only grow")
def test_clock_to_and_fro(begin: Begin, trial: Trial) -> None:
    clock = Clock(trial)
    begin(entry_point=clock.entry_point)
    with trial.acts.going_on(), trial.fault():
        for _ in range(5):
            for seconds in (_JUMP, -_JUMP):
                clock.jump(seconds)
                trial.load.more(6)
        clock.jump(0)


@row("data directory full", "what is served stays; acts are refused until there is room", short=True)
def test_data_directory_full(begin: Begin) -> None:
    trial = begin()
    pid = trial.first.process.pid
    epoch = trial.history.newest
    with trial.fault():
        # The log goes to a file as well, which nothing must depend on.
        limit_files(pid, 1)
        for place in STAYING[:3]:
            refusal = refused(lambda place=place: trial.acts.suppress(place))
            assert refusal.reason in ("INTERNAL", "STORE_UNAVAILABLE")
        trial.load.more(40)
        named, _, said = ask_column(trial.first.client)
        assert named == epoch
        assert all(each.verdict != UNDETERMINED for each in said)
        limit_files(pid, None)
    trial.acts.one_succeeds()
    trial.settled()


@row("data directory full on a server that follows", "it keeps to the state before, says so, and catches up")
def test_data_directory_full_on_a_follower(begin: Begin) -> None:
    trial = begin(servers=2)
    follower = trial.servers["server-2"]
    epoch = trial.history.newest
    with trial.fault():
        limit_files(follower.process.pid, 1)
        trial.acts.one_succeeds()
        eventually(lambda: not follower.is_ready(), "readiness falls")
        assert "cannot be written" in follower.client.page("/readyz").text
        trial.load.more(40)
        named, _, said = ask_column(follower.client)
        assert named == epoch
        assert NEGATIVE in {each.verdict for each in said}
        limit_files(follower.process.pid, None)


@pytest.fixture
def mortal_root(trial: Trial) -> tuple[str, ...]:
    """What makes a server heed permissions, also if root runs it."""
    return (str(Path(__file__).parents[1] / "harness" / "mortal.py"),)


@row("data directory read-only", "what is served stays; acts are refused until it can be written to")
def test_data_directory_read_only(begin: Begin, trial: Trial, mortal_root: tuple[str, ...]) -> None:
    begin(entry_point=mortal_root)
    data = trial.first.process.data_dir
    directories = [data, *(each for each in data.rglob("*") if each.is_dir())]
    epoch = trial.history.newest
    with trial.fault():
        for each in directories:
            os.chmod(each, 0o500)  # noqa: PTH101
        trial.acts.attempt()
        trial.load.more(40)
        named, _, said = ask_column(trial.first.client)
        assert epoch <= named <= epoch + 1
        assert all(each.verdict != UNDETERMINED for each in said)
        for each in directories:
            each.chmod(0o700)
    trial.acts.one_succeeds()
    trial.settled()
