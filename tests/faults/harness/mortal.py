"""Runs a server that heeds the permissions of files, also if root starts it.

python tests/faults/harness/mortal.py [--set=...]
"""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

_SERVER = Path(__file__).resolve().parents[3] / "server.py"
_PR_CAPBSET_DROP = 24
_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH = 1, 2

if __name__ == "__main__":
    if os.geteuid() == 0:
        for capability in (_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH):
            # What is not in the bounding set root does not get when it becomes another program.
            if ctypes.CDLL(None, use_errno=True).prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0) != 0:
                sys.exit("cannot give up the right to pass over permissions")
    os.execv(sys.executable, [sys.executable, str(_SERVER), *sys.argv[1:]])
