"""The command as a process of its own: pipes, signals and terminals."""

import json
import os
import pty
import signal
import subprocess
import sys

from .conftest import hashed

COMMAND = [sys.executable, "-W", "error", "-m", "hashmatch_client.cli.main"]


def test_hashes_come_from_standard_input(server, files):
    lines = f"{hashed('known')}  known.jpg\n{hashed('unknown')}\n"
    done = subprocess.run(
        [*COMMAND, "check", "--hashes", "-", "--output", "jsonl"], input=lines, capture_output=True, text=True
    )
    assert done.returncode == 10
    assert [json.loads(line)["reference"] for line in done.stdout.splitlines()] == ["known.jpg", "stdin:2"]


def test_a_reader_that_goes_away_is_met_with_silence(server, files):
    (files / "list.txt").write_text("".join(f"{hashed(str(n))}\n" for n in range(3_000)))
    with subprocess.Popen(
        [*COMMAND, "check", "--hashes", "report/list.txt", "--output", "jsonl"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 1


def test_an_interruption_ends_it_with_130_and_silence(server):
    with subprocess.Popen(
        [*COMMAND, "watch", "--output", "jsonl"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130
        assert process.stderr.read() == b""


def test_on_a_terminal_a_bar_stands_on_standard_error_and_the_result_is_untouched(server, files):
    outer, inner = pty.openpty()
    try:
        done = subprocess.run([*COMMAND, "check", "report", "--output", "jsonl"], stdout=subprocess.PIPE, stderr=inner)
        os.close(inner)
        said = os.read(outer, 65_536).decode()
    finally:
        os.close(outer)
    assert "3 items" in said
    assert "19/19 bytes" in said
    assert [json.loads(line)["verdict"] for line in done.stdout.splitlines()] == ["MATCH", "MATCH", "NO_KNOWN_MATCH"]


def test_no_colour_and_no_bar_where_there_is_no_terminal(server, files):
    done = subprocess.run([*COMMAND, "check", "report"], capture_output=True)
    assert done.returncode == 10
    assert b"\x1b" not in done.stdout + done.stderr
