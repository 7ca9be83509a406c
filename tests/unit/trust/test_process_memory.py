"""Nothing of a process's memory reaches a disk or another process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_DUMPABLE = """
import ctypes, resource
from hashmatch.trust.process_memory import keep_out_of_dumps
keep_out_of_dumps()
print(resource.getrlimit(resource.RLIMIT_CORE), ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))
"""
# The limit is raised by the program itself. A function run between fork and exec would make the tests' own process
# fork with the threads that gRPC has there, and a child that died of those would leave a core of its own.
_CRASH = """
import os, resource, signal
_, most = resource.getrlimit(resource.RLIMIT_CORE)
resource.setrlimit(resource.RLIMIT_CORE, (most, most))
{}
os.kill(os.getpid(), signal.SIGSEGV)
"""
_KEPT = "from hashmatch.trust.process_memory import keep_out_of_dumps; keep_out_of_dumps()"


def _left_by_a_crash(folder: Path, before: str) -> list[Path]:
    folder.mkdir()
    program = _CRASH.format(before)
    process = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, check=False)
    assert process.returncode < 0, process.stderr.decode()
    return list(folder.iterdir())


def test_no_core_and_nobody_attaches():
    assert subprocess.check_output([sys.executable, "-c", _DUMPABLE], text=True) == "(0, 0) 0\n"


def test_a_crash_leaves_no_core(tmp_path):
    # Without the call a core is left where the kernel writes them into the working directory.
    assert _left_by_a_crash(tmp_path / "kept", _KEPT) == []
