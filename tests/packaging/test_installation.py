"""What an installation gives: from a wheel, in an environment of its own, outside the checkout."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import tomllib
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STATED = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["dependencies"]
LIGHT = {each.partition(">")[0] for each in STATED}
# What the light dependencies bring along.
BROUGHT_ALONG = {"markdown-it-py", "mdurl", "pygments", "typing_extensions"}
# What an environment has from the start, and we ourselves.
THERE_ANYWAY = {"pip", "setuptools", "hashmatch"}
START_PATIENCE = 120.0
STOP_PATIENCE = 30.0

pytestmark = pytest.mark.long


def run(*command, cwd):
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HASHMATCH_", "PYTHON"))}
    arguments = [str(each) for each in command]
    done = subprocess.run(arguments, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from a copy: building leaves things in the tree."""
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copyfile(ROOT / name, source / name)
    for name in ("hashmatch", "client"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    built = tmp_path_factory.mktemp("built")
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", built, source, cwd=built)
    (wheel,) = built.glob("hashmatch-*.whl")
    return wheel


@pytest.fixture
def programs(tmp_path):
    """The programs of an empty environment."""
    venv.create(tmp_path / "environment", with_pip=True)
    return tmp_path / "environment" / "bin"


def install(programs, requirement, cwd):
    run(programs / "python", "-m", "pip", "install", "--quiet", requirement, cwd=cwd)


def test_the_client_alone_is_light_and_works(wheel, programs, tmp_path):
    install(programs, wheel, tmp_path)
    listed = json.loads(run(programs / "python", "-m", "pip", "list", "--format", "json", cwd=tmp_path))
    assert {each["name"].lower() for each in listed} - THERE_ANYWAY <= LIGHT | BROUGHT_ALONG
    run(programs / "python", "-c", "import hashmatch_client; hashmatch_client.HashmatchClient", cwd=tmp_path)
    assert "check files" in run(programs / "hashmatch", "--help", cwd=tmp_path)
    # The operator's command speaks the same contract, and needs no more.
    assert "define" in run(programs / "hashmatch-admin", "list", "--help", cwd=tmp_path)


def test_the_server_runs_outside_the_checkout(wheel, programs, tmp_path):
    install(programs, f"hashmatch[server] @ {wheel.as_uri()}", tmp_path)
    anywhere = ["--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--metrics-listen=127.0.0.1:0"]
    log = tmp_path / "server.log"
    with log.open("wb") as output:
        server = subprocess.Popen([programs / "hashmatch-server", *anywhere], cwd=tmp_path, stderr=output)
    try:
        give_up = time.monotonic() + START_PATIENCE
        while "server-started" not in log.read_text("utf-8"):
            assert server.poll() is None, log.read_text("utf-8")
            assert time.monotonic() < give_up, log.read_text("utf-8")
            time.sleep(0.1)
        started = next(map(json.loads, filter(lambda line: "server-started" in line, log.read_text().splitlines())))
        matching, administration = started["matching"], started["administration"]
        assert run(programs / "hashmatch-server", "--listen", matching, "healthcheck", cwd=tmp_path) == "ready\n"
        stated = ("--body=Demo", "--nature=test", "--max-age=1d", "--target", administration)
        assert "epoch 1" in run(programs / "hashmatch-admin", "list", "define", "demo", *stated, cwd=tmp_path)
    finally:
        server.send_signal(signal.SIGTERM)
        assert server.wait(STOP_PATIENCE) == 0
