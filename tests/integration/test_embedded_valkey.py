"""The embedded store, with the real server."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import redis

from hashmatch.store import embedded
from hashmatch.store.embedded import EmbeddedValkey, EmbeddedValkeyError


@contextmanager
def client_of(url: str) -> Iterator[redis.Redis]:
    with closing(redis.Redis.from_url(url, socket_timeout=5)) as client:
        yield client


def test_data_survive_a_restart(tmp_path: Path) -> None:
    with EmbeddedValkey(tmp_path) as valkey:
        with client_of(valkey.url) as client:
            client.set("key", b"\x00value")
        first = valkey.pid
        with client_of(valkey.restart()) as client:
            assert client.get("key") == b"\x00value"
        assert valkey.pid != first


def test_what_was_waited_for_survives_a_kill(tmp_path: Path) -> None:
    with EmbeddedValkey(tmp_path) as valkey:
        with client_of(valkey.url) as client:
            client.set("key", b"value")
            local, _ = client.execute_command("WAITAOF", 1, 0, 5_000)
            assert local == 1
        assert valkey.pid is not None
        os.kill(valkey.pid, signal.SIGKILL)
        with client_of(valkey.restart()) as client:
            assert client.get("key") == b"value"


def test_it_never_evicts_and_has_no_tcp_port(tmp_path: Path) -> None:
    with EmbeddedValkey(tmp_path) as valkey, client_of(valkey.url) as client:
        config = client.config_get("*")
    assert config["maxmemory-policy"] == "noeviction"
    assert config["port"] == "0"
    assert config["appendonly"] == "yes"
    assert config["save"] == ""


def test_nobody_else_can_enter_its_directory(tmp_path: Path) -> None:
    with EmbeddedValkey(tmp_path / "data") as valkey:
        socket = Path(valkey.url.removeprefix("unix://"))
        assert stat.S_IMODE((tmp_path / "data" / "valkey").stat().st_mode) == 0o700
        assert stat.S_IMODE(socket.parent.stat().st_mode) == 0o700
        assert stat.S_IMODE(socket.stat().st_mode) == 0o700


def test_a_long_path_gets_its_socket_elsewhere(tmp_path: Path) -> None:
    with EmbeddedValkey(tmp_path / ("d" * 120)) as valkey:
        socket = Path(valkey.url.removeprefix("unix://"))
        assert stat.S_IMODE(socket.parent.stat().st_mode) == 0o700
        with client_of(valkey.url) as client:
            assert client.ping()
    assert not socket.parent.exists()


def test_a_path_with_spaces_and_quotes_works(tmp_path: Path) -> None:
    with EmbeddedValkey(tmp_path / 'a "b" \\c é') as valkey:
        with client_of(valkey.url) as client:
            client.set("key", b"value")
        with client_of(valkey.restart()) as client:
            assert client.get("key") == b"value"


def test_two_cannot_share_a_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "_LOCK_PATIENCE", 0.0)
    with EmbeddedValkey(tmp_path) as valkey:
        with pytest.raises(EmbeddedValkeyError, match="in use by another server"):
            EmbeddedValkey(tmp_path).start()
        assert valkey.is_running


def test_a_socket_left_by_a_crash_does_not_matter(tmp_path: Path) -> None:
    valkey = EmbeddedValkey(tmp_path)
    valkey.start()
    assert valkey.pid is not None
    os.kill(valkey.pid, signal.SIGKILL)
    socket = Path(valkey.url.removeprefix("unix://"))
    assert socket.exists()
    valkey.restart()
    with client_of(valkey.url) as client:
        assert client.ping()
    valkey.stop()


def test_one_that_ended_by_itself_can_be_started_again(tmp_path: Path) -> None:
    with EmbeddedValkey(tmp_path) as valkey:
        with client_of(valkey.url) as client:
            client.shutdown()
        os.waitid(os.P_PID, valkey._process.pid, os.WEXITED | os.WNOWAIT)
        assert not valkey.is_running
        with client_of(valkey.start()) as client:
            assert client.ping()


def test_a_failed_start_shows_why_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "valkey").mkdir()
    # Valkey keeps its append-only files in a directory of this name.
    (tmp_path / "valkey" / "appendonlydir").write_text("in the way")
    valkey = EmbeddedValkey(tmp_path)
    with pytest.raises(EmbeddedValkeyError, match="appendonlydir"):
        valkey.start()
    assert valkey.pid is None
    (tmp_path / "valkey" / "appendonlydir").unlink()
    valkey.start()
    valkey.stop()


def test_stopping_twice_is_fine(tmp_path: Path) -> None:
    valkey = EmbeddedValkey(tmp_path)
    valkey.start()
    assert valkey.start() == valkey.url
    valkey.stop()
    valkey.stop()
    assert not valkey.is_running


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent's death")
def test_it_dies_with_its_parent_and_gives_the_directory_free(tmp_path: Path) -> None:
    program = textwrap.dedent(
        f"""
        import os, signal
        from hashmatch.store.embedded import EmbeddedValkey
        import redis
        url = EmbeddedValkey({str(tmp_path)!r}).start()
        redis.Redis.from_url(url).set("key", "value")
        os.kill(os.getpid(), signal.SIGKILL)
        """
    )
    parent = subprocess.run([sys.executable, "-c", program], check=False, timeout=60)
    assert parent.returncode == -signal.SIGKILL
    # Starting waits for the lock, which the orphan holds until it has written its data.
    with EmbeddedValkey(tmp_path) as valkey, client_of(valkey.url) as client:
        assert client.get("key") == b"value"
