"""What the faults share with the tests over the wire, and servers whose lists lie in the store as large ones do."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from tests.faults.harness.table import Outcome, as_text, write
from tests.faults.harness.trial import Trial, prepare
from tests.integration.conftest import background, make_server, own_valkey, scratch
from tests.integration.serving import Background
from tests.integration.world import small_limits

__all__ = ["background", "make_server", "own_valkey", "scratch"]

# What a test tells of itself reaches the summary also where tests run in several processes.
_OUTCOME = "outcome of a fault"
_BUILD = Path(__file__).resolve().parents[2] / "build"

# Of a row that failed, for whoever looks into it.
_LOG_TAIL = 6_000

Begin = Callable[..., Trial]


@pytest.fixture(autouse=True)
def _small_limits() -> Iterator[None]:
    with small_limits():
        yield


@pytest.fixture(scope="session")
def prepared(background: Background, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two lists, published: what the rows of the matrix begin with."""
    return prepare(background, tmp_path_factory.mktemp("prepared"))


@pytest.fixture
def trial(request: pytest.FixtureRequest, background: Background, scratch: Path) -> Iterator[Trial]:
    """The trial of a row, which still has to begin. Its outcome goes into the table."""
    trial = Trial(background, scratch, request.node.get_closest_marker("fault").args[0])
    try:
        yield trial
    finally:
        trial.close()
        if not trial.finished:
            for server in trial.servers.values():
                sys.stderr.write(f"---- the log of {server.name} ends\n{server.process.log[-_LOG_TAIL:]}\n")
        request.node.user_properties.append((_OUTCOME, asdict(trial.outcome())))


@pytest.fixture
def begin(trial: Trial, prepared: Path) -> Begin:
    """Begins the trial with servers of these settings, each with dots written as two underscores."""

    def begin(**settings: object) -> Trial:
        trial.begin(prepared, **settings)
        return trial

    return begin


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Iterator[None]:
    """Every answer of a trial is checked as part of the test."""
    result = yield
    trial = pyfuncitem.funcargs.get("trial")
    if trial is not None:
        trial.finish()
    return result


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The table of the faults that were tried."""
    reports = itertools.chain.from_iterable(terminalreporter.stats.values())
    outcomes = [
        Outcome(**told)
        for report in reports
        if isinstance(report, pytest.TestReport) and report.when == "teardown"
        for name, told in report.user_properties
        if name == _OUTCOME
    ]
    if outcomes:
        terminalreporter.section("faults")
        terminalreporter.write(as_text(outcomes))
        write(outcomes, _BUILD)
