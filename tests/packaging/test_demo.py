"""The demonstration when it goes wrong: it says so, and leaves nothing behind. `.ci/run` sees it go well."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PATIENCE = 120.0
FAILED, INTERRUPTED = 1, 130

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")


def server_of(demo):
    """The demonstration's server, once it is up."""
    give_up = time.monotonic() + PATIENCE
    for line in demo.stdout:
        if line.startswith("It is up"):
            break
        assert time.monotonic() < give_up
    children = Path(f"/proc/{demo.pid}/task/{demo.pid}/children").read_text("ascii").split()
    (server,) = [child for child in children if b"hashmatch-server" in Path(f"/proc/{child}/cmdline").read_bytes()]
    return int(server)


def place_of_the_newest():
    """Where a demonstration that runs has its files."""
    return max((ROOT / ".demo").glob("run-*"), key=lambda place: place.stat().st_mtime_ns)


@pytest.fixture
def demo():
    with subprocess.Popen(
        [sys.executable, "-m", "deploy.demo"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        yield process
        process.kill()


def has_ended(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interruption_stops_the_server(demo, number):
    server = server_of(demo)
    place = place_of_the_newest()
    demo.send_signal(number)
    output = demo.communicate(timeout=PATIENCE)[0]
    assert demo.returncode == INTERRUPTED, output
    assert "interrupted" in output
    assert "Traceback" not in output
    assert has_ended(server)
    assert not place.exists()


def test_a_server_that_dies_is_an_error_with_its_last_words(demo):
    server = server_of(demo)
    place = place_of_the_newest()
    os.kill(server, signal.SIGKILL)
    output = demo.communicate(timeout=PATIENCE)[0]
    assert demo.returncode == FAILED, output
    assert "the server ended with exit code -9" in output
    assert "server-started" in output
    assert "Traceback" not in output
    assert not place.exists()
