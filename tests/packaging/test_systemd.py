"""The unit is one that systemd takes, confines the server, and gives it settings that exist."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hashmatch.service.config_loader import load

UNIT = Path(__file__).parents[2] / "deploy/systemd/hashmatch.service"
TEXT = UNIT.read_text("utf-8")

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed (Debian package systemd)"
)


@pytest.fixture
def unit(tmp_path):
    """The unit, with a program that is there."""
    unit = tmp_path / UNIT.name
    unit.write_text(TEXT.replace("/opt/hashmatch/bin/hashmatch-server", sys.executable), "utf-8")
    return unit


@needs_systemd
def test_systemd_finds_nothing_to_complain_about(unit):
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False, timeout=60)
    complaints = [line for line in done.stderr.splitlines() if UNIT.name in line]
    assert (done.returncode, complaints) == (0, [])


@needs_systemd
def test_the_server_is_exposed_to_little(unit):
    """From 0, exposed to nothing, to 100; what the kernels need (memory that is written and run) takes some."""
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=20", unit],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout


def test_every_setting_exists_and_names_a_credential_that_is_loaded():
    stated = dict(re.findall(r"(HASHMATCH_\w+)=(\S+)", TEXT))
    loaded = set(re.findall(r"^LoadCredential=([^:]+):", TEXT, re.MULTILINE))
    assert {value.removeprefix("%d/") for value in stated.values() if value.startswith("%d/")} == loaded
    config = Path(__file__).parents[2] / "deploy/hashmatch.toml"
    server = load(file=config, environ=stated).config
    assert server.sealing.key_file == "%d/sealing.key"
    assert server.server.grace_seconds < int(re.search(r"^TimeoutStopSec=(\d+)s", TEXT, re.MULTILINE)[1])
