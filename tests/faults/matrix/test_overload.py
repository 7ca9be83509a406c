"""Far more is asked than can be answered."""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import grpc

from tests.faults.conftest import Begin
from tests.faults.harness.load import many_items
from tests.faults.harness.table import row
from tests.faults.harness.trial import Trial
from tests.integration.serving import TIMEOUT, Client
from tests.integration.waiting import eventually

_MODEST = ("modest-1", "modest-2")
# One for the greedy caller, which may have a quarter; one for each of the modest; one for the trial's own load.
_PLACES = 4
_SHARE = 0.25
_CALLS = 60
# Relative to the same question in the same run without overload; the machine may have other work.
_WORST_RATIO = 20.0


def ask_modestly(trial: Trial) -> tuple[list[float], list[str]]:
    """Two callers ask one question after the other. Returns how long the admitted took, and how others failed."""
    took: list[float] = []
    failures: list[str] = []
    request = many_items()

    def go_on(name: str) -> None:
        client = Client(trial.first.addresses)
        try:
            for _ in range(_CALLS):
                began = time.perf_counter()
                try:
                    client.matching.BatchMatch(request, timeout=TIMEOUT, metadata=(("hashmatch-operator", name),))
                except grpc.RpcError as error:
                    failures.append(error.code().name)
                else:
                    took.append(time.perf_counter() - began)
        finally:
            client.close()

    threads = [threading.Thread(target=go_on, args=(name,)) for name in _MODEST]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return took, failures


@contextmanager
def greedy(trial: Trial, calls_at_once: int) -> Iterator[dict[str, int]]:
    """Somebody else asks so much at once. At the end, how often with which outcome."""
    codes: dict[str, int] = {}
    command = [sys.executable, "-m", "tests.faults.harness.greedy", trial.first.addresses.matching, str(calls_at_once)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            yield codes
        finally:
            output, _ = process.communicate()
            codes |= json.loads(output)


@row("overload at ten times capacity", "what is too much is refused at once; who asks little is served as before")
def test_overload(begin: Begin) -> None:
    trial = begin(server__maximum_concurrent_requests=_PLACES, server__maximum_share_per_caller=_SHARE)
    unloaded, failures = ask_modestly(trial)
    assert not failures
    with greedy(trial, 10 * _PLACES - len(_MODEST)) as codes:
        shed_before(trial)
        loaded, failures = ask_modestly(trial)
    # The greedy caller gets its share of the places and no more, so that there is always one for each of the others.
    assert not failures
    assert set(codes) <= {"OK", "RESOURCE_EXHAUSTED", "UNAVAILABLE"}
    refused = sum(count for code, count in codes.items() if code != "OK")
    assert codes.get("OK", 0) > 0
    assert refused > codes["OK"]
    ratio = statistics.median(loaded) / statistics.median(unloaded)
    assert ratio < _WORST_RATIO
    trial.note(
        f"{refused} of {refused + codes['OK']} calls of the greedy caller refused, 0 of {len(loaded)} of the modest; "
        f"their median was {ratio:.1f} times that without overload ({statistics.median(unloaded) * 1e3:.0f} ms)"
    )
    trial.recover()


def shed_before(trial: Trial) -> None:
    """Wait until somebody is refused."""
    refused = re.compile(r'^hashmatch_shed_total\{listener="matching",reason="unary-.*\} [1-9]', re.MULTILINE)
    eventually(lambda: refused.search(trial.first.client.page("/metrics").text), "calls are refused")
