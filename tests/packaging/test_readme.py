"""What the README shows as a first real use is what happens."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
START_PATIENCE = 120.0
STOP_PATIENCE = 30.0
COMMANDS_PATIENCE = 300.0


def blocks(kind):
    return [text for each, text in BLOCK.findall((ROOT / "README.md").read_text("utf-8")) if each == kind]


@pytest.fixture(scope="module")
def environment():
    """The environment of somebody who follows the README, without settings of the tester's own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HASHMATCH_")}
    return kept | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


@pytest.fixture(scope="module")
def server(tmp_path_factory, environment):
    """The addresses of a server like that of `make run`, on free ports."""
    directory = tmp_path_factory.mktemp("server")
    free = [f"--{name}=127.0.0.1:0" for name in ("listen", "admin-listen", "metrics-listen")]
    log = directory / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(["hashmatch-server", *free], cwd=directory, env=environment, stderr=output)
    try:
        give_up = time.monotonic() + START_PATIENCE
        while not (started := [line for line in log.read_text("utf-8").splitlines() if '"server-started"' in line]):
            assert process.poll() is None, log.read_text("utf-8")
            assert time.monotonic() < give_up, log.read_text("utf-8")
            time.sleep(0.05)
        yield json.loads(started[0])
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(STOP_PATIENCE) == 0


@pytest.fixture(scope="module")
def first_use(server, environment, tmp_path_factory):
    """The commands of the first real use, run as they are but for the addresses."""
    if not Path("/usr/share/doc/make/copyright").is_file():
        pytest.skip("the README's example files are those of Debian")
    started, commands = blocks("sh")
    assert started == "make run\n"
    directory = tmp_path_factory.mktemp("reader")
    (directory / "README.md").write_bytes((ROOT / "README.md").read_bytes())
    return subprocess.run(
        ["bash", "-c", commands.replace("localhost:50051", server["matching"])],
        cwd=directory,
        env=environment | {"HASHMATCH_ADMIN_TARGET": server["administration"]},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=COMMANDS_PATIENCE,
        check=False,
    )


def test_the_first_real_use_publishes_a_list_and_finds_its_files(first_use):
    assert "in epoch 2" in first_use.stdout, first_use.stderr
    assert "/usr/share/doc/make/copyright" in first_use.stdout
    assert "MATCH (test)" in first_use.stdout
    # The last command asks about the README, which nobody lists.
    assert first_use.returncode == 0, first_use.stderr
    assert "no known match" in first_use.stdout


def test_the_python_example_prints_what_the_readme_says(first_use, server, environment):
    assert first_use.returncode == 0
    (example,), (shown,) = blocks("python"), blocks("text")
    example = example.replace("localhost:50051", server["matching"])
    ran = subprocess.run(
        [sys.executable, "-c", example], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.stdout == shown, ran.stderr
