"""The image's start command, probes and permissions, outside a container: its user, without privileges, and its tree,
which nobody can write to but for the one volume. What they are is read from the Containerfile.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import socket
import stat
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.waiting import eventually

ROOT = Path(__file__).parents[2]
PATIENCE = 300.0
VOLUME = "/var/lib/hashmatch"


def may_confine() -> bool:
    """Whether namespaces can be made here: some containers do not let even root make any."""
    if os.geteuid() != 0 or not shutil.which("unshare") or not shutil.which("setpriv"):
        return False
    return subprocess.run(["unshare", "--mount", "true"], check=False, capture_output=True).returncode == 0


needs_root = pytest.mark.skipif(
    not may_confine(), reason="takes root that may make namespaces, unshare and setpriv (Debian package util-linux)"
)
pytestmark = [pytest.mark.long, needs_root]

# In namespaces of its own: everything read-only, the volume as the image makes it, the installed tree beside it.
CONFINE = """
set -eu
mount --make-rprivate /
awk '{print $5}' /proc/self/mountinfo | grep -Ev '^/(proc|sys|dev)(/|$)' | while read -r place; do
  mount -o remount,ro,bind "$place"
done
python=$1
mount -t tmpfs -o mode=755 places /var/lib
mkdir /var/lib/python /var/lib/packages /var/lib/installed /var/lib/hashmatch
for place in python packages installed; do
  mount --bind "$1" "/var/lib/$place"
  mount -o remount,ro,bind "/var/lib/$place"
  shift
done
mount -o remount,ro /var/lib
if ! setpriv --reuid "$1" --regid "$2" --clear-groups test -x "$python/bin/python3"; then
  # An interpreter in somebody's home, which others cannot enter: it stays where it is, and nothing else of the home.
  home=/$(echo "$python" | cut -d / -f 2)
  mount -t tmpfs -o mode=755 home "$home"
  mkdir -p "$python"
  mount --bind /var/lib/python "$python"
  mount -o remount,ro,bind "$python"
  mount -o remount,ro "$home"
fi
mount -t tmpfs -o mode=700,uid=10001,gid=10001 volume /var/lib/hashmatch
cd /var/lib/hashmatch
exec setpriv --reuid "$1" --regid "$2" --clear-groups --no-new-privs --bounding-set=-all --inh-caps=-all -- \
  env --ignore-environment "${@:3}"
"""


class Image:
    """What the Containerfile states of its last stage."""

    def __init__(self) -> None:
        text = (ROOT / "deploy/container/Containerfile").read_text("utf-8")
        last = text[text.rindex("\nFROM ") :].replace("\\\n", " ")
        instructions = re.findall(r"^([A-Z]+) (.*)$", last, re.MULTILINE)
        stated = {name: value for name, value in instructions if name != "COPY"}
        self.environment = dict(each.split("=", 1) for each in shlex.split(stated["ENV"]))
        self.user, self.group = stated["USER"].split(":")
        self.entry = json.loads(stated["ENTRYPOINT"])
        self.check = json.loads(re.search(r"CMD (\[.*\])", stated["HEALTHCHECK"])[1])
        self.directory = stated["WORKDIR"]


IMAGE = Image()


def free_port() -> int:
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        return chosen.getsockname()[1]


class Container:
    """A process that runs as in the image, and others beside it."""

    def __init__(self, installed: Path, log: Path) -> None:
        self._log = log
        ports = {name: free_port() for name in ("SERVER__LISTEN", "SERVER__ADMIN_LISTEN", "METRICS__LISTEN")}
        self.administration = f"127.0.0.1:{ports['SERVER__ADMIN_LISTEN']}"
        settings = {f"HASHMATCH_{name}": f"127.0.0.1:{port}" for name, port in ports.items()}
        environment = IMAGE.environment | settings | {"PYTHONPATH": "/var/lib/installed:/var/lib/packages"}
        environment["PATH"] = f"{sys.base_prefix}/bin:{environment['PATH']}"
        self._environment = [f"{name}={value}" for name, value in environment.items()]
        # A script of pip's has the interpreter's own path in its first line, which this user need not see.
        command = ["python3", f"/var/lib/installed/bin/{IMAGE.entry[0]}", *IMAGE.entry[1:]]
        with log.open("wb") as output:
            places = (sys.base_prefix, sysconfig.get_path("purelib"), str(installed))
            user = (IMAGE.user, IMAGE.group)
            self.process = subprocess.Popen(
                ["unshare", "--mount", "bash", "-c", CONFINE, "confine", *places, *user, *self._environment, *command],
                stdout=output,
                stderr=output,
                cwd="/",
            )

    @property
    def log(self) -> str:
        return self._log.read_text("utf-8")

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run something in the same namespaces as the same user, as an engine runs health checks."""
        program, *rest = ["python3" if part == "python" else part for part in command]
        inside = ["nsenter", "--mount", f"--target={self.process.pid}", f"--wdns={VOLUME}", "setpriv"]
        user = ["--reuid", IMAGE.user, "--regid", IMAGE.group, "--clear-groups", "--no-new-privs", "--"]
        return subprocess.run(
            [*inside, *user, "env", "--ignore-environment", *self._environment, program, *rest],
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
            cwd="/",
        )


@pytest.fixture(scope="module")
def container(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    """The started server, from a wheel of this checkout and the dependencies of this environment."""
    source, installed = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("installed")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copyfile(ROOT / name, source / name)
    for name in ("hashmatch", "client"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(installed), str(source)]
    subprocess.run(pip, check=True, capture_output=True)
    installed.chmod(0o755)
    container = Container(installed, tmp_path_factory.mktemp("log") / "server.log")
    try:

        def started() -> bool:
            assert container.process.poll() is None, container.log
            return container.run(*IMAGE.check).returncode == 0

        eventually(started, "the server is alive", patience=PATIENCE)
        yield container
    finally:
        container.process.kill()
        container.process.wait()


def test_the_user_has_no_privileges_and_the_tree_cannot_be_written(container: Container):
    status = Path(f"/proc/{container.process.pid}/status").read_text()
    assert re.search(r"^Uid:\s+10001\s+10001\s+10001\s+10001$", status, re.MULTILINE)
    for capabilities in ("CapPrm", "CapEff", "CapBnd"):
        assert re.search(rf"^{capabilities}:\s+0+$", status, re.MULTILINE)
    for place in ("/tmp", "/var/lib/installed", "/var/lib", "/"):
        assert "Read-only" in container.run("touch", f"{place}/written").stderr
    assert IMAGE.directory == IMAGE.environment["HASHMATCH_SERVER__DATA_DIR"] == VOLUME
    assert container.run("touch", f"{VOLUME}/written").returncode == 0
    assert container.run("rm", f"{VOLUME}/written").returncode == 0


@pytest.mark.parametrize("probe", ["healthz", "readyz", "startupz"])
def test_every_probe_is_well(container: Container, probe: str):
    assert IMAGE.check[:-1] == ["python", "-m", "hashmatch.service.probe"]
    eventually(lambda: container.run(*IMAGE.check[:-1], probe).returncode == 0, f"{probe} is well")


def test_it_can_be_administered_and_examined(container: Container):
    admin = ("python", "-m", "hashmatch.admin.main")
    stated = ("--body=Demo", "--nature=test", "--max-age=1d", "--target", container.administration)
    defined = container.run(*admin, "list", "define", "demo", *stated)
    assert (defined.returncode, defined.stderr) == (0, "")
    examined = container.run(*admin, "doctor", "--output", "json")
    errors = [each for each in json.loads(examined.stdout)["findings"] if each["severity"] == "error"]
    assert errors == []


def test_everything_in_the_volume_is_the_users_own_and_nobody_elses(container: Container):
    volume = Path(f"/proc/{container.process.pid}/root{VOLUME}")
    found = {path.relative_to(volume).as_posix(): path.lstat() for path in volume.rglob("*")}
    assert {"epoch.json", "audit.jsonl", "archive", "sealing.key", "kernels"} <= found.keys()
    for name, status in found.items():
        assert (status.st_uid, status.st_gid) == (10_001, 10_001), name
        assert not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) or stat.S_ISLNK(status.st_mode), name
    assert stat.S_IMODE(volume.stat().st_mode) == 0o700
    for secret in ("sealing.key", "audit.jsonl"):
        assert stat.S_IMODE(found[secret].st_mode) == 0o600


def test_it_stops_when_it_is_told_to(container: Container):
    container.process.send_signal(signal.SIGTERM)
    assert container.process.wait(PATIENCE) == 0, container.log
    assert "server-stopped" in container.log
    assert "Read-only file system" not in container.log
    assert '"level": "error"' not in container.log
